//! The payer's journal: what was counted and signed, line by line, in one file that only grows.
//!
//! A line is written and synced before what it says is acted on. The file is opened by writing it
//! anew under another name, syncing and renaming it, as is done again after a write or sync that
//! failed: nobody knows then what of it is on the disk, only that what was acted on is. When the
//! file is large, a snapshot takes the place of its lines, and the old file is kept under another
//! name until the next time.

mod line;
mod record;

use std::io;

use tracing::{info, warn};
use weir_blind::spent::Disk;

use super::import;
use super::state::{Replay, State};
use line::Chain;

pub(crate) use record::{DayFields, Entry, Header, Record, Units, VoucherFields};

/// Some 20,000 vouchers: six hours of a busy client, or years of a quiet one.
pub(crate) const BYTES_MAX: usize = 8 << 20;

/// A file of that size is not one of ours: snapshots keep them far below.
pub(super) const READ_BYTES_MAX: usize = 64 << 20;

/// Why the journal can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The disk failed. Nothing is signed meanwhile; the next attempt may succeed.
    #[error("the payer's journal: can't {doing}: {source}")]
    Storage {
        /// What was to be done.
        doing: &'static str,
        /// What came of it.
        source: io::Error,
    },
    /// A line that is not the last, or not of a crash, is not what was written. Guessing would risk
    /// paying twice.
    #[error(
        "is damaged in line {line}, at byte {offset}: {detail}. Restore it from a backup, or move \
         it away to start from the exit's copy of the last voucher"
    )]
    Damaged {
        /// From 1.
        line: usize,
        /// In bytes.
        offset: usize,
        /// What is wrong with it.
        detail: String,
    },
    /// It is the journal of another lane.
    #[error("belongs to channel {channel} lane {lane} on chain {chain_id}; configure another file")]
    Foreign {
        /// Whose it is, `0x` hex.
        channel: String,
        /// Whose it is.
        lane: u32,
        /// Whose it is.
        chain_id: u64,
    },
    /// The last voucher in it is not signed with the configured key.
    #[error("holds a voucher of another key: {0}")]
    OtherKey(weir_usage::Error),
}

/// An open journal, positioned at its end.
#[derive(Debug)]
pub(crate) struct Journal<D> {
    disk: D,
    name: String,
    header: Header,
    replay: Replay,
    chain: Chain,
    len: usize,
    max: usize,
    /// What was written last is on the disk, and nothing else.
    is_open: bool,
}

/// What a file says.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) header: Header,
    pub(crate) replay: Replay,
    chain: Chain,
    /// Bytes that can be written again as they are; 0 for an older format.
    end: usize,
    torn: usize,
}

impl<D: Disk> Journal<D> {
    /// Reads the journal, or begins one if there is none. A snapshot is due beyond `max` bytes.
    pub(crate) fn open(
        mut disk: D,
        name: &str,
        header: Header,
        max: usize,
    ) -> Result<Self, JournalError> {
        let mut bytes = read(&mut disk, name)?;
        if bytes.is_none() {
            bytes = read(&mut disk, &old(name))?;
            if bytes.is_some() {
                warn!(
                    file = name,
                    "is missing, perhaps after a crash; going on with its predecessor"
                );
            }
        }
        let found = bytes.as_deref().map(parse).transpose()?;
        let mut journal = Journal {
            disk,
            name: name.to_owned(),
            header,
            replay: Replay::new(header),
            chain: Chain::START,
            len: 0,
            max,
            is_open: false,
        };
        let (Some(found), Some(bytes)) = (found, bytes) else { return Ok(journal) };
        let Header { chain_id, channel, lane, .. } = found.header;
        if found.header != header {
            return Err(JournalError::Foreign { channel: channel.to_string(), lane, chain_id });
        }
        if found.torn > 0 {
            warn!(
                file = name,
                offset = found.end,
                bytes = found.torn,
                "the last line was torn by a crash; nothing of it was sent; leaving it out"
            );
        }
        journal.replay = found.replay;
        if found.end == 0 {
            info!(file = name, "the payer's state becomes the begin of a journal");
            journal.snapshot(0, true)?;
        } else {
            journal.chain = found.chain;
            journal.replace(&bytes[..found.end], false)?;
        }
        Ok(journal)
    }

    /// What it says all in all.
    pub(crate) fn state(&self) -> &State {
        &self.replay.state
    }

    /// Appends a line. After `Ok` it survives a crash. After an error it may or may not; the caller
    /// must not act on it, and may call again.
    pub(crate) fn append(&mut self, at_ms: u64, record: Record) -> Result<(), JournalError> {
        let is_full = self.len > self.max;
        if !self.is_open || is_full {
            self.snapshot(at_ms, is_full)?;
        }
        let entry = Entry { at_ms, record };
        let (mut bytes, mut chain) = (Vec::new(), self.chain);
        chain.write(&object(&entry)?, &mut bytes);
        self.is_open = false;
        self.disk.append(&self.name, &bytes).map_err(storage("append to it"))?;
        self.disk.sync(&self.name).map_err(storage("sync it"))?;
        self.is_open = true;
        self.chain = chain;
        self.len += bytes.len();
        let taken = self.replay.take(&entry);
        // What this process writes follows from what it wrote.
        taken.map_err(|detail| damaged(0, self.len, detail))
    }

    /// Writes all that is known as one line in the place of the file.
    fn snapshot(&mut self, at_ms: u64, keep_old: bool) -> Result<(), JournalError> {
        let rows = self.replay.days.rows().cloned().collect();
        let record = Record::snapshot(&self.replay.state, &self.replay.exit, rows);
        let (mut bytes, mut chain) = (Vec::new(), Chain::START);
        chain.write(&object(&self.header)?, &mut bytes);
        chain.write(&object(&Entry { at_ms, record })?, &mut bytes);
        self.replace(&bytes, keep_old)?;
        self.chain = chain;
        Ok(())
    }

    /// Replaces the file as a whole: after a crash it is the old or the new one.
    fn replace(&mut self, bytes: &[u8], keep_old: bool) -> Result<(), JournalError> {
        self.is_open = false;
        let new = format!("{}.new", self.name);
        self.disk.create(&new).map_err(storage("create its successor"))?;
        self.disk.append(&new, bytes).map_err(storage("write its successor"))?;
        self.disk.sync(&new).map_err(storage("sync its successor"))?;
        if keep_old {
            match self.disk.rename(&self.name, &old(&self.name)) {
                // It was renamed before a crash.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed.map_err(storage("rename it"))?,
            }
        }
        self.disk.rename(&new, &self.name).map_err(storage("rename its successor"))?;
        self.disk.sync_dir().map_err(storage("sync its directory"))?;
        self.is_open = true;
        self.len = bytes.len();
        Ok(())
    }
}

/// Reads a file of any lane; what a crash tore off is left out.
pub(crate) fn parse(bytes: &[u8]) -> Result<Found, JournalError> {
    if let Some(imported) = import::parse(bytes) {
        let (header, state) = imported.map_err(|detail| damaged(1, 0, detail))?;
        let mut replay = Replay::new(header);
        let signed = state.paid;
        let own = (state.up_bytes, state.down_bytes);
        replay.state = state;
        if let Some(paid) = signed {
            replay.days.recover("", own, None, paid);
        }
        return Ok(Found { header, replay, chain: Chain::START, end: 0, torn: 0 });
    }
    let lines = line::split(bytes).map_err(|damage| {
        damaged(damage.line, damage.offset, "its hash does not follow from what is there")
    })?;
    let mut objects = lines.objects.iter().enumerate();
    let Some((_, first)) = objects.next() else {
        return Err(damaged(1, 0, "this is not a payer's journal"));
    };
    let unread = |at: usize, error: serde_json::Error| {
        let offset = lines.objects[..at].iter().map(|object| object.len() + 66).sum();
        damaged(at + 1, offset, format!("{error}; was it written by a newer client?"))
    };
    let header: Header = serde_json::from_slice(first).map_err(|error| unread(0, error))?;
    if header.weir_payer_journal != record::VERSION {
        let version = header.weir_payer_journal;
        return Err(damaged(1, 0, format!("version {version} is of a newer client")));
    }
    let mut replay = Replay::new(header);
    for (at, object) in objects {
        let entry: Entry = serde_json::from_slice(object).map_err(|error| unread(at, error))?;
        replay.take(&entry).map_err(|detail| {
            let offset = lines.objects[..at].iter().map(|object| object.len() + 66).sum();
            damaged(at + 1, offset, detail)
        })?;
    }
    let (chain, end, torn) = (lines.chain, lines.end, lines.torn);
    Ok(Found { header, replay, chain, end, torn })
}

fn read(disk: &mut impl Disk, name: &str) -> Result<Option<Vec<u8>>, JournalError> {
    disk.read(name, READ_BYTES_MAX).map_err(storage("read it"))
}

fn old(name: &str) -> String {
    format!("{name}.1")
}

fn object(value: &impl serde::Serialize) -> Result<Vec<u8>, JournalError> {
    serde_json::to_vec(value).map_err(io::Error::other).map_err(storage("write it as JSON"))
}

fn storage(doing: &'static str) -> impl FnOnce(io::Error) -> JournalError {
    move |source| JournalError::Storage { doing, source }
}

fn damaged(line: usize, offset: usize, detail: impl ToString) -> JournalError {
    JournalError::Damaged { line, offset, detail: detail.to_string() }
}
