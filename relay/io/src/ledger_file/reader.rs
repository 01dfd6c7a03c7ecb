//! The exporter's side of the ledger file.

use std::fs::{File, OpenOptions, TryLockError};
use std::hint;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};

use weir_core::ledger::TunnelCounters;
use weir_core::port::{LedgerEntry, SlotId};

use super::layout::*;
use super::map::Map;
use crate::error::Error;

/// Times that a slot is read again when the writer published meanwhile. It publishes once per
/// turn, some microseconds apart, and a read takes a fraction of one.
const ATTEMPTS_MAX: usize = 64;

/// What a slot is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// The tunnel is open, or was when the process died.
    Open,
    /// The counters are final.
    Closed,
}

/// One tunnel, consistent in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotSnapshot {
    pub slot: SlotId,
    pub state: SlotState,
    pub entry: LedgerEntry,
    pub counters: TunnelCounters,
}

/// The answer of [`LedgerReader::read`].
#[expect(
    clippy::large_enum_variant,
    reason = "returned and taken apart at once; a box would be an allocation per slot and export"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotRead {
    Free,
    Used(SlotSnapshot),
    /// The writer published on every attempt; read it again later.
    Busy,
}

/// Reads a ledger file, live or after a crash, and frees what was exported.
#[derive(Debug)]
pub struct LedgerReader {
    map: Arc<Map>,
    path: PathBuf,
    slot_count: u32,
}

impl LedgerReader {
    pub(super) fn of(map: Arc<Map>, path: PathBuf, slot_count: u32) -> LedgerReader {
        LedgerReader { map, path, slot_count }
    }

    /// Opens a file that [`super::LedgerWriter`] made. Anything else is an error that says where
    /// it is wrong.
    pub fn open(path: &Path) -> Result<LedgerReader, Error> {
        let at = |step: &'static str| {
            move |source| Error::LedgerIo { path: path.to_owned(), step, source }
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(at("open"))?;
        let length = file.metadata().map_err(at("stat"))?.len();
        let damage = |word: usize, problem: String| Error::Ledger {
            path: path.to_owned(),
            offset: word as u64 * 8,
            problem,
        };
        if length < HEADER_WORDS as u64 * 8 {
            return Err(damage(0, format!("{length} bytes are less than a header")));
        }
        let longest = file_words(SLOTS_MAX) as u64 * 8;
        if length > longest {
            return Err(damage(0, format!("{length} bytes are more than {longest}")));
        }
        let map = Map::new(file, (length / 8) as usize).map_err(at("map"))?;
        for (index, name, expected) in [
            (H_MAGIC, "magic", MAGIC),
            (H_VERSION, "layout version", VERSION),
            (H_SLOT_WORDS, "words per slot", SLOT_WORDS as u64),
        ] {
            let found = map.word(index).load(Acquire);
            if found != expected {
                let problem = format!("{name} is {found:#x}, expected {expected:#x}");
                return Err(damage(index, problem));
            }
        }
        let slots = map.word(H_SLOT_COUNT).load(Relaxed);
        let slot_count = u32::try_from(slots).ok().filter(|&n| n > 0 && n <= SLOTS_MAX);
        let slot_count =
            slot_count.filter(|&n| file_words(n) as u64 * 8 == length).ok_or_else(|| {
                let problem = format!("{slots} slots don't fit a file of {length} bytes");
                damage(H_SLOT_COUNT, problem)
            })?;
        if map.word(H_WORKER).load(Relaxed) > u64::from(u16::MAX) {
            return Err(damage(H_WORKER, "worker number out of range".to_owned()));
        }
        Ok(LedgerReader { map: Arc::new(map), path: path.to_owned(), slot_count })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The random number of the process that wrote it.
    pub fn epoch(&self) -> u64 {
        self.map.word(H_EPOCH).load(Relaxed)
    }

    /// The worker that wrote it.
    pub fn worker(&self) -> u16 {
        self.map.word(H_WORKER).load(Relaxed) as u16
    }

    /// Slots that the file can hold.
    pub fn slot_count(&self) -> u32 {
        self.slot_count
    }

    /// True while the writer lives. The kernel drops its lock with the process, however it died.
    pub fn writer_is_alive(&self) -> Result<bool, Error> {
        let at = |step| move |source| Error::LedgerIo { path: self.path.clone(), step, source };
        // A lock belongs to the open file, so the question needs a file of its own.
        let file = File::open(&self.path).map_err(at("open"))?;
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(source)) => Err(at("lock")(source)),
        }
    }

    /// All slots that aren't free, in order. A busy slot is left out; it comes next time.
    pub fn iter(&self) -> impl Iterator<Item = Result<SlotSnapshot, Error>> + '_ {
        (0..self.slots_used()).filter_map(|slot| match self.read(SlotId(slot)) {
            Ok(SlotRead::Used(snapshot)) => Some(Ok(snapshot)),
            Ok(SlotRead::Free | SlotRead::Busy) => None,
            Err(error) => Some(Err(error)),
        })
    }

    /// Slots from here on were never used.
    pub fn slots_used(&self) -> u32 {
        let used = self.map.word(H_USED).load(Acquire);
        u32::try_from(used).unwrap_or(u32::MAX).min(self.slot_count)
    }

    /// One slot. Panics if the file has no such slot.
    pub fn read(&self, slot: SlotId) -> Result<SlotRead, Error> {
        assert!(slot.0 < self.slot_count, "{slot:?} of {}", self.slot_count);
        let start = slot_start(slot.0);
        for _ in 0..ATTEMPTS_MAX {
            let state = self.map.word(start + S_STATE).load(Acquire);
            let tag = match state & STATE_MASK {
                FREE => return Ok(SlotRead::Free),
                OPEN => SlotState::Open,
                CLOSED => SlotState::Closed,
                other => return Err(self.damage(start + S_STATE, format!("state {other}"))),
            };
            let published = self.map.word(start + S_PUBLISHED).load(Acquire);
            let copy = start + S_COPY[(published & 1) as usize];
            let identity = load(self.map.words::<IDENTITY_WORDS>(start + S_IDENTITY));
            let counters = load(self.map.words::<COUNTER_WORDS>(copy));
            // Orders the loads above before those below: see the writer's fence.
            fence(Acquire);
            let after = self.map.word(start + S_STATE).load(Relaxed);
            let same_tunnel =
                after & STATE_MASK != FREE && after | STATE_MASK == state | STATE_MASK;
            if same_tunnel && self.map.word(start + S_PUBLISHED).load(Relaxed) == published {
                let entry = decode_identity(&identity)
                    .map_err(|(word, problem)| self.damage(start + S_IDENTITY + word, problem))?;
                let counters = decode_counters(&counters);
                return Ok(SlotRead::Used(SlotSnapshot { slot, state: tag, entry, counters }));
            }
            hint::spin_loop();
        }
        Ok(SlotRead::Busy)
    }

    /// Frees a closed slot whose counters were exported, so that the writer may use it again.
    /// `false`, and nothing happens, if the slot isn't closed or holds another tunnel.
    pub fn free(&self, slot: SlotId, tunnel: u128) -> bool {
        assert!(slot.0 < self.slot_count, "{slot:?} of {}", self.slot_count);
        let state = self.map.word(slot_start(slot.0) + S_STATE);
        // The generation in this word makes the exchange below fail if the slot has moved on.
        let seen = state.load(Acquire);
        let Ok(SlotRead::Used(snapshot)) = self.read(slot) else { return false };
        if seen & STATE_MASK != CLOSED || snapshot.entry.tunnel != tunnel {
            return false;
        }
        state.compare_exchange(seen, seen & !STATE_MASK | FREE, Release, Relaxed).is_ok()
    }

    fn damage(&self, word: usize, problem: String) -> Error {
        Error::Ledger { path: self.path.clone(), offset: word as u64 * 8, problem }
    }
}

fn load<const N: usize>(words: &[AtomicU64; N]) -> [u64; N] {
    std::array::from_fn(|i| words[i].load(Relaxed))
}
