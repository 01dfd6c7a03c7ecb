//! The file of one epoch.
//!
//! ```text
//! header  "WEIRSPT1", exit id (32), epoch (8)
//! group   count (2), its complement (2), count x nullifier (16), checksum (16)
//! ```
//!
//! Numbers are big-endian. A checksum is the first half of SHA-256 over the one before (of the
//! header for the first group), the count and the nullifiers: a group is good only where it stands.
//! Each group is appended and synced before the next, so at most one, the last, can be torn.

use crate::{Epoch, ExitId, Nullifier, sha256};

/// Nullifiers of a group.
pub const GROUP_MAX: usize = 1024;

const MAGIC: &[u8; 8] = b"WEIRSPT1";
const HEADER_BYTES: usize = 8 + 32 + 8;
const COUNT_BYTES: usize = 4;
const CHECKSUM_BYTES: usize = 16;

/// What the next checksum goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain([u8; 32]);

/// The begin of a file.
pub(super) fn header(exit: &ExitId, epoch: Epoch) -> (Vec<u8>, Chain) {
    let bytes = [&MAGIC[..], exit, &epoch.0.to_be_bytes()].concat();
    let chain = Chain(sha256(&[&bytes]));
    (bytes, chain)
}

/// A group, at most [`GROUP_MAX`] long.
pub(super) fn group(chain: &Chain, nullifiers: &[Nullifier]) -> (Vec<u8>, Chain) {
    let mut bytes = Vec::with_capacity(group_bytes(nullifiers.len()));
    let count = nullifiers.len() as u16;
    bytes.extend_from_slice(&count.to_be_bytes());
    bytes.extend_from_slice(&(!count).to_be_bytes());
    nullifiers.iter().for_each(|nullifier| bytes.extend_from_slice(&nullifier.0));
    let next = Chain(sha256(&[&chain.0, &bytes]));
    bytes.extend_from_slice(&next.0[..CHECKSUM_BYTES]);
    (bytes, next)
}

/// The nullifiers of a file, without a torn group at its end. Fails with the offset of damage that
/// no crash explains: a wrong header, or a bad group that isn't the last.
pub(super) fn parse(bytes: &[u8], exit: &ExitId, epoch: Epoch) -> Result<Vec<Nullifier>, usize> {
    let (wanted, mut chain) = header(exit, epoch);
    let mut rest = bytes.strip_prefix(&wanted[..]).ok_or(0usize)?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let offset = bytes.len() - rest.len();
        let count = match rest.first_chunk() {
            // Not written, or only partly, while the file grew already.
            None | Some([0, 0, 0, 0]) => 0,
            Some([a, b, c, d]) if [!a, !b] == [*c, *d] => u16::from_be_bytes([*a, *b]).into(),
            Some(_) => return Err(offset),
        };
        let length = match count {
            0 => group_bytes(GROUP_MAX),
            1..=GROUP_MAX => group_bytes(count),
            _ => return Err(offset),
        };
        if let Some((whole, after)) = rest.split_at_checked(length).filter(|_| count > 0) {
            let (body, checksum) = whole.split_at(length - CHECKSUM_BYTES);
            let next = Chain(sha256(&[&chain.0, body]));
            if next.0[..CHECKSUM_BYTES] == *checksum {
                let entries = body[COUNT_BYTES..].as_chunks::<16>().0;
                found.extend(entries.iter().copied().map(Nullifier));
                (chain, rest) = (next, after);
                continue;
            }
        }
        return if rest.len() > length { Err(offset) } else { Ok(found) };
    }
    Ok(found)
}

/// The largest file with so many nullifiers: one per group.
pub(super) const fn bytes_max(nullifiers: usize) -> usize {
    HEADER_BYTES + (nullifiers + 1) * group_bytes(1) + group_bytes(GROUP_MAX)
}

const fn group_bytes(count: usize) -> usize {
    COUNT_BYTES + 16 * count + CHECKSUM_BYTES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXIT: ExitId = [3; 32];
    const EPOCH: Epoch = Epoch(9);

    fn file(sizes: &[usize]) -> (Vec<u8>, Vec<usize>, Vec<Nullifier>) {
        let (mut bytes, mut chain) = header(&EXIT, EPOCH);
        let (mut ends, mut all) = (vec![bytes.len()], Vec::new());
        for size in sizes {
            let next = |at| Nullifier(((all.len() + at) as u128).to_be_bytes());
            let some: Vec<Nullifier> = (0..*size).map(next).collect();
            let (written, after) = group(&chain, &some);
            chain = after;
            bytes.extend_from_slice(&written);
            ends.push(bytes.len());
            all.extend(some);
        }
        (bytes, ends, all)
    }

    #[test]
    fn every_cut_keeps_the_whole_groups() {
        let sizes = [3, 1, 5];
        let (bytes, ends, all) = file(&sizes);
        assert_eq!(parse(&bytes, &EXIT, EPOCH).unwrap(), all);
        for cut in 0..bytes.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count();
            let Some(groups) = whole.checked_sub(1) else {
                assert_eq!(parse(&bytes[..cut], &EXIT, EPOCH), Err(0));
                continue;
            };
            let kept: usize = sizes[..groups].iter().sum();
            assert_eq!(parse(&bytes[..cut], &EXIT, EPOCH).unwrap(), all[..kept], "{cut}");
            // The file grew, but what is behind the cut was never written. A count that is torn is
            // not known for one: better no token of the epoch than one twice.
            let mut zeroed = bytes[..cut].to_vec();
            let end = ends.iter().find(|end| **end > cut).unwrap();
            zeroed.resize(*end, 0);
            match parse(&zeroed, &EXIT, EPOCH) {
                Ok(parsed) => assert_eq!(parsed, all[..kept], "{cut}"),
                Err(offset) => assert!(cut > offset && cut < offset + COUNT_BYTES, "{cut}"),
            }
        }
    }

    #[test]
    fn damage_before_the_last_group_closes_the_epoch() {
        let (bytes, ends, all) = file(&[3, 1, 5]);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            match parse(&damaged, &EXIT, EPOCH) {
                Err(offset) => assert!(offset <= at),
                // It looks like a torn last group, which was never granted.
                Ok(parsed) => assert!(at >= ends[2] && parsed == all[..4], "{at}"),
            }
        }
    }

    #[test]
    fn a_file_of_another_exit_or_epoch_is_refused() {
        let (bytes, ..) = file(&[1]);
        assert_eq!(parse(&bytes, &[4; 32], EPOCH), Err(0));
        assert_eq!(parse(&bytes, &EXIT, Epoch(8)), Err(0));
    }

    proptest! {
        #[test]
        fn nothing_panics(tail: Vec<u8>, groups in proptest::collection::vec(1usize..4, 0..4)) {
            let (mut bytes, _, all) = file(&groups);
            bytes.extend_from_slice(&tail);
            if let Ok(parsed) = parse(&bytes, &EXIT, EPOCH) {
                prop_assert_eq!(parsed, all);
            }
        }
    }
}
