//! The bytes of the journal file.
//!
//! ```text
//! header  "WEIRJRNL" | version u16 | exit [32] | salt secret [32]
//!         | created unix ms u64 | keccak256 of the above [32]
//! group   "WGRP" | number u64 | payload bytes u32 | entries u32 | previous hash [32]
//!         | payload | keccak256 of everything in the group before this [32]
//! entry   kind u8 | unix ms u64 | body bytes u32 | body          (in the payload)
//! ```
//! Integers are big-endian. The previous hash of the first group is the header's.

use std::fmt;

use sha3::{Digest, Keccak256};

use super::entry::{Entry, EntryError};

const MAGIC: [u8; 8] = *b"WEIRJRNL";
/// Raised when old readers would misread new files.
pub const VERSION: u16 = 1;
/// Bytes of the file header.
pub const HEADER_LEN: usize = 8 + 2 + 32 + 32 + 8 + 32;
/// First bytes of a group; what a damaged file is searched for.
pub const GROUP_MAGIC: [u8; 4] = *b"WGRP";
/// Bytes of a group before its payload.
pub const GROUP_HEAD_LEN: usize = 4 + 8 + 4 + 4 + 32;
/// Bytes of a group after its payload.
pub const GROUP_TAIL_LEN: usize = 32;
/// 1024 entries of at most 64 KiB each; a larger length field is damage, not data.
pub const PAYLOAD_LEN_MAX: usize = 64 << 20;

/// The start of the file: whose journal it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// The exit whose usage this is.
    pub exit: [u8; 32],
    /// What the salts of usage heads are derived from; see [`crate::book::Book::salt`].
    pub secret: [u8; 32],
    /// When the file was created, milliseconds since 1970.
    pub created_ms: u64,
}

impl Header {
    /// The header's bytes, with their hash.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.content();
        out.extend_from_slice(&self.hash());
        out
    }

    /// Reads a header; `None` if the bytes aren't one of this version.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let (content, hash) = bytes.split_at(HEADER_LEN - 32);
        let header = Self {
            exit: content[10..42].try_into().ok()?,
            secret: content[42..74].try_into().ok()?,
            created_ms: u64::from_be_bytes(content[74..82].try_into().ok()?),
        };
        (header.content() == content && header.hash() == hash).then_some(header)
    }

    /// The first link of the hash chain.
    pub fn hash(&self) -> [u8; 32] {
        Keccak256::digest(self.content()).into()
    }

    fn content(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&self.exit);
        out.extend_from_slice(&self.secret);
        out.extend_from_slice(&self.created_ms.to_be_bytes());
        out
    }
}

// By hand, so that no log line can show the secret.
impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exit = weir_usage::ExitId(self.exit);
        f.debug_struct("Header").field("exit", &exit).finish_non_exhaustive()
    }
}

/// The first part of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupHead {
    /// Counts up by one from zero.
    pub number: u64,
    /// Bytes of the payload.
    pub payload_len: usize,
    /// Entries in the payload.
    pub entries: u32,
    /// Hash of the group before.
    pub previous: [u8; 32],
}

impl GroupHead {
    /// Reads a group head; `None` if these bytes can't start a group.
    pub fn decode(bytes: &[u8; GROUP_HEAD_LEN]) -> Option<Self> {
        if bytes[..4] != GROUP_MAGIC {
            return None;
        }
        let payload_len = u32::from_be_bytes(bytes[12..16].try_into().ok()?) as usize;
        if payload_len > PAYLOAD_LEN_MAX {
            return None;
        }
        Some(Self {
            number: u64::from_be_bytes(bytes[4..12].try_into().ok()?),
            payload_len,
            entries: u32::from_be_bytes(bytes[16..20].try_into().ok()?),
            previous: bytes[20..52].try_into().ok()?,
        })
    }
}

/// The bytes of a group and its hash.
pub fn encode_group(number: u64, previous: &[u8; 32], entries: &[Entry]) -> (Vec<u8>, [u8; 32]) {
    let mut out = vec![0; GROUP_HEAD_LEN];
    for entry in entries {
        entry.encode(&mut out);
    }
    let payload_len = (out.len() - GROUP_HEAD_LEN) as u32;
    out[..4].copy_from_slice(&GROUP_MAGIC);
    out[4..12].copy_from_slice(&number.to_be_bytes());
    out[12..16].copy_from_slice(&payload_len.to_be_bytes());
    out[16..20].copy_from_slice(&(entries.len() as u32).to_be_bytes());
    out[20..52].copy_from_slice(previous);
    let hash: [u8; 32] = Keccak256::digest(&out).into();
    out.extend_from_slice(&hash);
    (out, hash)
}

/// Splits a payload whose hash was checked into its entries.
///
/// # Errors
/// If the payload isn't `count` well-formed entries: written by a newer version, or by a bug.
pub fn decode_payload(mut payload: &[u8], count: u32) -> Result<Vec<Entry>, EntryError> {
    let mut entries = Vec::with_capacity((count as usize).min(super::GROUP_ENTRIES_MAX));
    while !payload.is_empty() {
        entries.push(Entry::decode(&mut payload)?);
    }
    if entries.len() != count as usize {
        return Err(EntryError::Count { expected: count, found: entries.len() });
    }
    Ok(entries)
}
