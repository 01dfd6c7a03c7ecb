//! The one file that is the truth: append-only, hash-chained, synced before anything is acked.
//!
//! The unit of writing is the *group*: all entries that wait are written with one write and one
//! fsync (group commit), under one hash that also covers the hash of the group before. A group is
//! written only after the one before it is durable. So a group that can't be read is either the
//! last one, torn by a crash before anything in it was acked, and is cut off; or it has a readable
//! group after it, and then the file was damaged later, and the journal refuses to open.

pub mod entry;
pub mod format;
mod scan;

use tracing::warn;

pub use entry::Entry;
pub use format::Header;
pub use scan::{Found, Position, read_header, scan, scan_after};

use crate::error::Error;
use crate::storage::Storage;

/// Entries in one group; bounds the memory of a group and the time until its first ack.
pub const GROUP_ENTRIES_MAX: usize = 1024;

/// An open journal, positioned at its end.
#[derive(Debug)]
pub struct Journal<S> {
    storage: S,
    header: Header,
    /// Everything before this offset is durable.
    durable_len: u64,
    /// Groups written so far; the next group's number.
    groups: u64,
    entries: u64,
    tip: [u8; 32],
    /// A write or sync failed: bytes past `durable_len` may exist and must go first.
    dirty: bool,
}

impl<S: Storage> Journal<S> {
    /// Opens the journal or starts one, and hands every entry in it to `replay`, oldest first.
    ///
    /// `header` is used for a new file; an existing one must be of the same exit.
    ///
    /// # Errors
    /// [`Error::JournalCorrupt`] with the offset, [`Error::JournalForeign`], [`Error::Storage`], or
    /// what `replay` returns.
    pub fn open(
        storage: S,
        header: Header,
        replay: impl FnMut(&Header, u64, Entry) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        Self::open_after(storage, header, None, replay)
    }

    /// As [`Journal::open`], but hands on only what comes after a position that is in the file
    /// ([`Position::is_in`]); what is before it isn't read.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_after(
        mut storage: S,
        header: Header,
        after: Option<Position>,
        mut replay: impl FnMut(&Header, u64, Entry) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let is_ours = |found: &Header| {
            if found.exit == header.exit {
                return Ok(());
            }
            let (found, expected) = (hex(&found.exit), hex(&header.exit));
            Err(Error::JournalForeign { found, expected })
        };
        // Before its entries are looked at: replayed by another exit they make no sense.
        let found = scan_after(&storage, after, |header, offset, entry| {
            is_ours(header)?;
            replay(header, offset, entry)
        })?;
        let Some(found) = found else {
            let bytes = header.encode();
            storage.truncate(0).map_err(Error::storage("empty the new journal"))?;
            storage.write_at(0, &bytes).map_err(Error::storage("write the header"))?;
            storage.sync().map_err(Error::storage("sync the header"))?;
            return Ok(Self {
                storage,
                tip: header.hash(),
                header,
                durable_len: bytes.len() as u64,
                groups: 0,
                entries: 0,
                dirty: false,
            });
        };
        is_ours(&found.header)?;
        if found.torn_bytes > 0 {
            warn!(
                offset = found.end,
                bytes = found.torn_bytes,
                "the last group was torn by a crash; nothing in it was acked; cutting it off"
            );
            storage.truncate(found.end).map_err(Error::storage("cut off the torn tail"))?;
        }
        // Also after a clean read: the previous process may have died between write and sync, and
        // what is replayed now must not vanish after it was acted on.
        storage.sync().map_err(Error::storage("sync after recovery"))?;
        Ok(Self {
            storage,
            header: found.header,
            durable_len: found.end,
            groups: found.groups,
            entries: found.entries,
            tip: found.tip,
            dirty: false,
        })
    }

    /// Appends `entries` as one group. When this returns `Ok`, all of them survive a crash.
    ///
    /// After an error none of them counts as written, and the same call can be repeated: what a
    /// failed attempt left behind is cut off first.
    ///
    /// # Errors
    /// [`Error::Storage`], for example a full disk.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), Error> {
        for group in entries.chunks(GROUP_ENTRIES_MAX) {
            self.append_group(group)?;
        }
        Ok(())
    }

    /// Bytes in the file that are durable.
    pub fn len_bytes(&self) -> u64 {
        self.durable_len
    }

    /// Entries in the file.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The end of what is durable.
    pub fn position(&self) -> Position {
        let (groups, entries) = (self.groups, self.entries);
        Position { offset: self.durable_len, groups, entries, tip: self.tip }
    }

    /// Hash over everything so far.
    pub fn tip(&self) -> [u8; 32] {
        self.tip
    }

    /// What the file says about itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    fn append_group(&mut self, entries: &[Entry]) -> Result<(), Error> {
        if self.dirty {
            self.storage
                .truncate(self.durable_len)
                .map_err(Error::storage("cut off a failed write"))?;
        }
        let (bytes, tip) = format::encode_group(self.groups, &self.tip, entries);
        self.dirty = true;
        self.storage.write_at(self.durable_len, &bytes).map_err(Error::storage("append"))?;
        self.storage.sync().map_err(Error::storage("sync"))?;
        self.dirty = false;
        self.durable_len += bytes.len() as u64;
        self.groups += 1;
        self.entries += entries.len() as u64;
        self.tip = tip;
        Ok(())
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut out = String::from("0x");
    for byte in bytes {
        // Writing into a String can't fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}
