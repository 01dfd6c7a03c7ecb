//! The journal's disk: names every step by what is being written, and fails where the plan says.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use weir_settle::journal::entry::{Action, Item, Step};
use weir_settle::journal::format::{GROUP_HEAD_LEN, GROUP_TAIL_LEN, GroupHead, decode_payload};
use weir_settle::storage::Storage;

use crate::cache::PageCache;
use crate::points::{Fault, Points, Reached};
use crate::rng::Rng;

/// Shared between the sidecars of one run, one after the other.
#[derive(Debug, Clone)]
pub struct Disk {
    cache: Arc<Mutex<PageCache>>,
    points: Points,
    /// Shows what the page cache has to whoever only reads the journal.
    file: Arc<File>,
    /// What was written since the last sync.
    writing: Vec<String>,
}

impl Disk {
    /// An empty file, at this path for those who only read.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn new(points: Points, path: &Path) -> io::Result<Self> {
        let file = fs::OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Self { cache: Arc::default(), points, file: Arc::new(file), writing: Vec::new() })
    }

    /// What a crash of this kind leaves.
    pub fn crash(&mut self, fault: Fault, rng: &mut Rng) {
        self.writing.clear();
        if fault == Fault::Power {
            let mut cache = self.lock();
            cache.power_cut(rng);
            let shown =
                self.file.set_len(0).and_then(|()| self.file.write_all_at(cache.bytes(), 0));
            shown.expect("a file beside the model takes what the model has");
        }
    }

    fn lock(&self) -> MutexGuard<'_, PageCache> {
        self.cache.lock().expect("no holder of this lock panics")
    }

    fn reach(&self, verb: &str, what: &[String]) -> Reached {
        let names: Vec<String> = what.iter().map(|kind| format!("{verb} {kind}")).collect();
        self.points.reach(&names, true)
    }
}

impl Storage for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().bytes().len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.lock().read(offset as usize, buffer)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.writing = kinds(bytes);
        let count = match self.reach("write", &self.writing.clone()) {
            Reached::Go => bytes.len(),
            Reached::Dead => return Err(full()),
            Reached::Dies | Reached::Full => self.points.below(bytes.len() as u64 + 1) as usize,
        };
        self.lock().write(offset as usize, &bytes[..count]);
        self.file.write_all_at(&bytes[..count], offset)?;
        if count < bytes.len() || self.points.down().is_some() { Err(full()) } else { Ok(()) }
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let what = if len == 0 { "new file" } else { "torn tail" };
        if self.reach("cut", &[what.to_owned()]) != Reached::Go {
            return Err(full());
        }
        self.lock().truncate(len as usize);
        self.file.set_len(len)?;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut what = std::mem::take(&mut self.writing);
        if what.is_empty() {
            what.push("recovered".into());
        }
        if self.reach("sync", &what) != Reached::Go {
            return Err(full());
        }
        self.lock().sync();
        // Durable, and nobody was told yet.
        match self.reach("synced", &what) {
            Reached::Go => Ok(()),
            _ => Err(full()),
        }
    }
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

/// What these bytes of the journal say.
fn kinds(bytes: &[u8]) -> Vec<String> {
    let entries =
        bytes.first_chunk::<GROUP_HEAD_LEN>().and_then(GroupHead::decode).and_then(|head| {
            let payload = bytes.get(GROUP_HEAD_LEN..bytes.len().checked_sub(GROUP_TAIL_LEN)?)?;
            decode_payload(payload, head.entries).ok()
        });
    let Some(entries) = entries else { return vec!["header".into()] };
    let mut kinds: Vec<String> = entries.iter().map(|e| kind(&e.item).to_owned()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

fn kind(item: &Item) -> &'static str {
    match item {
        Item::Record(_) => "record",
        Item::Voucher(_) => "voucher",
        Item::Lane(_) => "lane",
        Item::Anchor(_) => "root",
        Item::Note(_) => "note",
        Item::Sample(_) => "sample",
        Item::Statement(_) => "statement",
        Item::Vouched(_) => "vouched",
        Item::Uncarried(_) => "uncarried",
        Item::Outbox(step) => match &step.step {
            Step::Planned { action: Action::Claim { .. } } => "planned claim",
            Step::Planned { action: Action::Settle { .. } } => "planned settle",
            Step::Planned { action: Action::Anchor { .. } } => "planned anchor",
            Step::Planned { action: Action::AnchorDay { .. } } => "planned day",
            Step::Planned { action: Action::Answer { .. } } => "planned answer",
            Step::Planned { action: Action::Fees { .. } } => "planned fees",
            Step::Signed { .. } => "signed",
            Step::Broadcast { .. } => "broadcast",
            Step::Mined { .. } => "mined",
            Step::Unmined => "unmined",
            Step::Final { success: true, .. } => "final",
            Step::Final { .. } => "reverted",
            Step::Abandoned { .. } => "abandoned",
            Step::Replaced => "replaced",
        },
    }
}
