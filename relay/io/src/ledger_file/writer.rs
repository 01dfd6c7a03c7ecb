//! The worker's side of the ledger file.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};

use weir_core::ledger::TunnelCounters;
use weir_core::port::{Ledger, LedgerEntry, SlotId};

use super::layout::*;
use super::map::Map;
use super::reader::LedgerReader;
use crate::error::Error;

/// Slots whose space is reserved at a time: about 52 KiB.
const CHUNK_SLOTS: u32 = 64;
/// Closed slots that one opening looks at in search of one that the exporter has freed. Opening
/// stays cheap while the exporter is away.
const SEARCH_MAX: usize = 256;

/// Writes one worker's ledger file. One writer per file; readers are any number.
#[derive(Debug)]
pub struct LedgerWriter {
    map: Arc<Map>,
    path: PathBuf,
    slot_count: u32,
    /// Slots that were ever opened.
    used: u32,
    /// Slots whose space is reserved in the file system.
    reserved: u32,
    /// Slots closed here and not yet seen free, oldest first.
    closed: VecDeque<u32>,
}

impl LedgerWriter {
    /// Creates the file; it must not exist. `slot_count` is the number of tunnels that may be open
    /// or waiting for export, at most [`SLOTS_MAX`]. The file is locked (flock) while the writer
    /// lives, so that a reader can tell a live file from one that a crash left behind.
    pub fn create(
        path: &Path,
        epoch: u64,
        worker: u16,
        slot_count: u32,
    ) -> Result<LedgerWriter, Error> {
        let at = |step: &'static str| {
            move |source| Error::LedgerIo { path: path.to_owned(), step, source }
        };
        if slot_count == 0 || slot_count > SLOTS_MAX {
            let problem = format!("{slot_count} slots asked for; 1 to {SLOTS_MAX} are possible");
            return Err(at("size")(io::Error::other(problem)));
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(at("create"))?;
        let words = file_words(slot_count);
        file.lock().map_err(at("lock"))?;
        file.set_len(words as u64 * 8).map_err(at("set size"))?;
        let map = Arc::new(Map::new(file, words).map_err(at("map"))?);
        let mut writer = LedgerWriter {
            map,
            path: path.to_owned(),
            slot_count,
            used: 0,
            reserved: 0,
            closed: VecDeque::with_capacity(slot_count as usize),
        };
        writer.reserve().map_err(at("reserve space"))?;
        for (index, value) in [
            (H_VERSION, VERSION),
            (H_SLOT_WORDS, SLOT_WORDS as u64),
            (H_SLOT_COUNT, u64::from(slot_count)),
            (H_EPOCH, epoch),
            (H_WORKER, u64::from(worker)),
        ] {
            writer.map.word(index).store(value, Relaxed);
        }
        // Last, so that a file with the magic has a whole header.
        writer.map.word(H_MAGIC).store(MAGIC, Release);
        Ok(writer)
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A reader for this process. It shares the mapping, whose pages would otherwise count, and be
    /// entered in page tables, twice; the file's lock lives as long as either.
    pub fn reader(&self) -> LedgerReader {
        LedgerReader::of(Arc::clone(&self.map), self.path.clone(), self.slot_count)
    }

    /// Slots that are open or closed and not known to be free.
    pub fn slots_used(&self) -> u32 {
        self.used
    }

    /// Reserves space for the header and the next chunk of slots. Without it, a full file system
    /// shows only as SIGBUS at the first store.
    fn reserve(&mut self) -> io::Result<()> {
        let end = (self.reserved + CHUNK_SLOTS).min(self.slot_count);
        let bytes = (file_words(end) * 8) as libc::off_t;
        // SAFETY: no pointers are passed. The standard library has no fallocate.
        let result = unsafe { libc::posix_fallocate(self.map.file().as_raw_fd(), 0, bytes) };
        if result != 0 {
            return Err(io::Error::from_raw_os_error(result));
        }
        self.reserved = end;
        Ok(())
    }

    /// A slot that nobody uses: the oldest closed one that was exported, or one never used.
    fn find_free(&mut self) -> Option<u32> {
        for _ in 0..self.closed.len().min(SEARCH_MAX) {
            let slot = self.closed.pop_front()?;
            // Acquire: the exporter's last reads of the slot come before our overwriting it.
            if self.state(slot).load(Acquire) & STATE_MASK == FREE {
                return Some(slot);
            }
            self.closed.push_back(slot);
        }
        if self.used == self.slot_count {
            return None;
        }
        if self.used == self.reserved {
            self.reserve().ok()?;
        }
        self.used += 1;
        Some(self.used - 1)
    }

    fn state(&self, slot: u32) -> &AtomicU64 {
        self.map.word(slot_start(slot) + S_STATE)
    }

    fn store(&self, slot: u32, counters: &TunnelCounters) {
        let start = slot_start(slot);
        let published = self.map.word(start + S_PUBLISHED);
        let next = published.load(Relaxed).wrapping_add(1);
        // Orders the previous `published` before the stores below for a reader that sees any of
        // them: it then also sees that `published` has moved on.
        fence(Release);
        let copy = self.map.words::<COUNTER_WORDS>(start + S_COPY[(next & 1) as usize]);
        for (word, value) in copy.iter().zip(encode_counters(counters)) {
            word.store(value, Relaxed);
        }
        published.store(next, Release);
    }

    /// True if the slot is open, which the engine guarantees for every slot that it names.
    fn is_open(&self, slot: SlotId) -> bool {
        let open = slot.0 < self.used && self.state(slot.0).load(Relaxed) & STATE_MASK == OPEN;
        debug_assert!(open, "{slot:?} is not open");
        open
    }
}

impl Ledger for LedgerWriter {
    fn open(&mut self, entry: &LedgerEntry) -> Option<SlotId> {
        let slot = self.find_free()?;
        let start = slot_start(slot);
        self.map.word(H_USED).store(u64::from(self.used), Release);
        // Orders the state `free` before the stores below for a reader that still copies the
        // slot's former tunnel.
        fence(Release);
        let identity = self.map.words::<IDENTITY_WORDS>(start + S_IDENTITY);
        for (word, value) in identity.iter().zip(encode_identity(entry)) {
            word.store(value, Relaxed);
        }
        self.store(slot, &TunnelCounters::default());
        let generation = (self.state(slot).load(Relaxed) & !STATE_MASK) + GENERATION_ONE;
        self.state(slot).store(generation | OPEN, Release);
        Some(SlotId(slot))
    }

    fn publish(&mut self, slot: SlotId, counters: &TunnelCounters) {
        if self.is_open(slot) {
            self.store(slot.0, counters);
        }
    }

    fn close(&mut self, slot: SlotId, counters: &TunnelCounters) {
        if self.is_open(slot) {
            self.store(slot.0, counters);
            let generation = self.state(slot.0).load(Relaxed) & !STATE_MASK;
            self.state(slot.0).store(generation | CLOSED, Release);
            self.closed.push_back(slot.0);
        }
    }
}
