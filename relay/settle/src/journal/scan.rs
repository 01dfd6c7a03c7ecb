//! Reading a journal from its start, and telling a torn tail from damage.

use serde::{Deserialize, Serialize};
use sha3::{Digest, Keccak256};

use super::entry::Entry;
use super::format::{
    GROUP_HEAD_LEN, GROUP_MAGIC, GROUP_TAIL_LEN, GroupHead, HEADER_LEN, Header, decode_payload,
};
use crate::error::Error;
use crate::storage::Storage;

/// A place between two groups, and the hash of all that is before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Bytes before it.
    pub offset: u64,
    /// Groups before it.
    pub groups: u64,
    /// Entries before it.
    pub entries: u64,
    /// Hash over everything before it.
    #[serde(with = "hash")]
    pub tip: [u8; 32],
}

impl Found {
    /// The end.
    pub fn position(&self) -> Position {
        let (groups, entries) = (self.groups, self.entries);
        Position { offset: self.end, groups, entries, tip: self.tip }
    }
}

impl Position {
    /// Whether this journal had this position: the hash before it is the one that is named here. It
    /// covers everything from the header on, so that no other journal has it.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn is_in<S: Storage>(&self, storage: &S) -> Result<bool, Error> {
        let len = storage.len().map_err(Error::storage("measure the journal"))?;
        if self.offset < HEADER_LEN as u64 || self.offset > len {
            return Ok(false);
        }
        // Header and group alike end in their hash.
        let mut found = [0; GROUP_TAIL_LEN];
        storage
            .read_at(self.offset - GROUP_TAIL_LEN as u64, &mut found)
            .map_err(Error::storage("read a hash"))?;
        Ok(found == self.tip)
    }
}

/// Where a journal ends.
#[derive(Debug)]
pub struct Found {
    /// Whose journal it is.
    pub header: Header,
    /// Offset after the last readable group.
    pub end: u64,
    /// Bytes after `end` that a crash left behind.
    pub torn_bytes: u64,
    /// Groups read.
    pub groups: u64,
    /// Entries read.
    pub entries: u64,
    /// Hash over everything read.
    pub tip: [u8; 32],
}

/// Reads everything. `None` if there is no journal yet, which includes a file whose header was
/// torn: nothing can have been acked before the header was durable.
///
/// # Errors
/// [`Error::JournalCorrupt`] for damage before the last group, [`Error::Storage`], or what
/// `replay` returns.
pub fn scan<S: Storage>(
    storage: &S,
    replay: impl FnMut(&Header, u64, Entry) -> Result<(), Error>,
) -> Result<Option<Found>, Error> {
    scan_after(storage, None, replay)
}

/// As [`scan`], from a position on that is in the file.
///
/// # Errors
/// As [`scan`].
pub fn scan_after<S: Storage>(
    storage: &S,
    after: Option<Position>,
    mut replay: impl FnMut(&Header, u64, Entry) -> Result<(), Error>,
) -> Result<Option<Found>, Error> {
    let len = storage.len().map_err(Error::storage("measure the journal"))?;
    let Some(header) = read_header(storage)? else { return Ok(None) };
    let start = Position { offset: HEADER_LEN as u64, groups: 0, entries: 0, tip: header.hash() };
    let start = after.unwrap_or(start);
    let mut found = Found {
        header,
        end: start.offset,
        torn_bytes: 0,
        groups: start.groups,
        entries: start.entries,
        tip: start.tip,
    };
    while found.end < len {
        let Some((head, group)) = read_group(storage, found.end, len)? else {
            // Only the last group can be torn, so a whole group after this one means damage.
            if let Some(next) = find_group(storage, found.end + 1, len, found.groups)? {
                return Err(corrupt(found.end, format!("the next whole group is at {next}")));
            }
            found.torn_bytes = len - found.end;
            break;
        };
        if head.number != found.groups || head.previous != found.tip {
            return Err(corrupt(
                found.end,
                format!("group {} doesn't follow group {}", head.number, found.groups),
            ));
        }
        let payload = &group[GROUP_HEAD_LEN..group.len() - GROUP_TAIL_LEN];
        let entries = decode_payload(payload, head.entries)
            .map_err(|e| corrupt(found.end, format!("its entries can't be read: {e}")))?;
        for entry in entries {
            replay(&found.header, found.end, entry)?;
            found.entries += 1;
        }
        found.tip.copy_from_slice(&group[group.len() - GROUP_TAIL_LEN..]);
        found.groups += 1;
        found.end += group.len() as u64;
    }
    Ok(Some(found))
}

/// Whose journal it is; `None` as for [`scan`].
///
/// # Errors
/// As [`scan`].
pub fn read_header<S: Storage>(storage: &S) -> Result<Option<Header>, Error> {
    let len = storage.len().map_err(Error::storage("measure the journal"))?;
    let mut bytes = [0; HEADER_LEN];
    if len >= HEADER_LEN as u64 {
        storage.read_at(0, &mut bytes).map_err(Error::storage("read the header"))?;
        if let Some(header) = Header::decode(&bytes) {
            return Ok(Some(header));
        }
    }
    // A new file whose header was torn holds nothing else. More than that is somebody's data.
    if len <= HEADER_LEN as u64 {
        return Ok(None);
    }
    Err(corrupt(0, "the header is not one of a weir journal of this version".into()))
}

/// The group at `offset` if it is whole and its hash is right.
fn read_group<S: Storage>(
    storage: &S,
    offset: u64,
    len: u64,
) -> Result<Option<(GroupHead, Vec<u8>)>, Error> {
    let mut head = [0; GROUP_HEAD_LEN];
    if len - offset < (GROUP_HEAD_LEN + GROUP_TAIL_LEN) as u64 {
        return Ok(None);
    }
    storage.read_at(offset, &mut head).map_err(Error::storage("read a group"))?;
    let Some(head) = GroupHead::decode(&head) else { return Ok(None) };
    let total = GROUP_HEAD_LEN + head.payload_len + GROUP_TAIL_LEN;
    if len - offset < total as u64 {
        return Ok(None);
    }
    let mut group = vec![0; total];
    storage.read_at(offset, &mut group).map_err(Error::storage("read a group"))?;
    let (content, hash) = group.split_at(total - GROUP_TAIL_LEN);
    let computed: [u8; GROUP_TAIL_LEN] = Keccak256::digest(content).into();
    let whole = computed == hash;
    Ok(whole.then_some((head, group)))
}

/// Offset of the first whole group from `offset` on whose number is past `number`.
fn find_group<S: Storage>(
    storage: &S,
    offset: u64,
    len: u64,
    number: u64,
) -> Result<Option<u64>, Error> {
    // Read in pieces that overlap by three bytes, so that a magic across two pieces is seen.
    const PIECE: usize = 1 << 20;
    let mut at = offset;
    while at < len {
        let piece_len = PIECE.min((len - at) as usize);
        let mut piece = vec![0; piece_len];
        storage.read_at(at, &mut piece).map_err(Error::storage("search the journal"))?;
        for (i, window) in piece.windows(GROUP_MAGIC.len()).enumerate() {
            if window != GROUP_MAGIC {
                continue;
            }
            let candidate = at + i as u64;
            if let Some((head, _)) = read_group(storage, candidate, len)?
                && head.number > number
            {
                return Ok(Some(candidate));
            }
        }
        if piece_len < PIECE {
            break;
        }
        at += (PIECE - (GROUP_MAGIC.len() - 1)) as u64;
    }
    Ok(None)
}

/// A hash as text.
mod hash {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(hash: &[u8; 32], s: S) -> Result<S::Ok, S::Error> {
        weir_usage::Digest(*hash).serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 32], D::Error> {
        weir_usage::Digest::deserialize(d).map(|digest| digest.0)
    }
}

fn corrupt(offset: u64, detail: String) -> Error {
    Error::JournalCorrupt { offset, detail }
}
