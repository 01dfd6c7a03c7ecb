//! Lines of the journal: a JSON object, a space, and a hash over the hash before and the object.
//!
//! Each line is appended with one write and synced before the next, so a crash can tear only the
//! last one: its line feed never arrived, or parts of it did not, which then read as zeros. A bad
//! line that is whole, or has others after it, was damaged later, and what it says about money is
//! not guessed.

use weir_usage::{Digest, Keccak};

const HASH_DIGITS: usize = 64;

/// What the next hash goes on from; zero before the first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain(Digest);

/// The good lines of a file.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    pub(super) objects: Vec<&'a [u8]>,
    pub(super) chain: Chain,
    /// Bytes that they take.
    pub(super) end: usize,
    /// Bytes after them that a crash left behind.
    pub(super) torn: usize,
}

/// Where a file was damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// From 1.
    pub(super) line: usize,
    pub(super) offset: usize,
}

impl Chain {
    pub(super) const START: Chain = Chain(Digest::ZERO);

    fn next(self, object: &[u8]) -> Chain {
        Chain(Keccak::default().update(&self.0.0).update(object).finish())
    }

    /// Appends the line of an object and moves on.
    pub(super) fn write(&mut self, object: &[u8], out: &mut Vec<u8>) {
        *self = self.next(object);
        out.extend_from_slice(object);
        out.push(b' ');
        out.extend_from_slice(crate::hex::encode(&self.0.0).as_bytes());
        out.push(b'\n');
    }
}

/// Splits a file into its lines.
pub(super) fn split(bytes: &[u8]) -> Result<Lines<'_>, Damage> {
    let mut lines = Lines { objects: Vec::new(), chain: Chain::START, end: 0, torn: 0 };
    while lines.end < bytes.len() {
        let rest = &bytes[lines.end..];
        let feed = rest.iter().position(|byte| *byte == b'\n');
        let good = feed.and_then(|feed| check(lines.chain, &rest[..feed]));
        let (Some((object, chain)), Some(feed)) = (good, feed) else {
            let is_torn = feed.is_none_or(|feed| feed + 1 == rest.len() && rest.contains(&0));
            if !is_torn {
                return Err(Damage { line: lines.objects.len() + 1, offset: lines.end });
            }
            lines.torn = rest.len();
            return Ok(lines);
        };
        lines.objects.push(object);
        lines.chain = chain;
        lines.end += feed + 1;
    }
    Ok(lines)
}

/// The object of a line that is good where it stands.
fn check(chain: Chain, line: &[u8]) -> Option<(&[u8], Chain)> {
    let (object, hash) = line.split_at_checked(line.len().checked_sub(HASH_DIGITS)?)?;
    let object = object.strip_suffix(b" ")?;
    let next = chain.next(object);
    let hash = crate::hex::decode_array(std::str::from_utf8(hash).ok()?)?;
    (next.0.0 == hash).then_some((object, next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(objects: &[&str]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut chain, mut ends) = (Vec::new(), Chain::START, vec![0]);
        for object in objects {
            chain.write(object.as_bytes(), &mut bytes);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    #[test]
    fn every_cut_keeps_the_whole_lines() {
        let (bytes, ends) = file(&["{\"a\":1}", "{}", "{\"b\":\"c d\"}"]);
        for cut in 0..=bytes.len() {
            let lines = split(&bytes[..cut]).unwrap();
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            assert_eq!((lines.objects.len(), lines.end), (whole, ends[whole]), "{cut}");
            assert_eq!(lines.torn, cut - ends[whole]);
        }
    }

    #[test]
    fn damage_is_named_and_never_read_over() {
        let (bytes, ends) = file(&["{\"a\":1}", "{}", "{\"b\":2}"]);
        // Without its line feed, the last line looks torn.
        for at in 0..bytes.len() - 1 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            let line = ends.iter().filter(|end| **end <= at).count();
            let expected = Damage { line, offset: ends[line - 1] };
            assert_eq!(split(&damaged).unwrap_err(), expected, "{at}");
        }
        // A page of the last line that was never written.
        let mut hole = bytes.clone();
        hole[ends[2] + 3..ends[2] + 9].fill(0);
        let lines = split(&hole).unwrap();
        assert_eq!((lines.objects.len(), lines.end), (2, ends[2]));
        // Two good lines in another order are not a file.
        let swapped = [&bytes[ends[1]..ends[2]], &bytes[..ends[1]]].concat();
        assert_eq!(split(&swapped).unwrap_err(), Damage { line: 1, offset: 0 });
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            if let Ok(lines) = split(&bytes) {
                prop_assert_eq!(lines.end + lines.torn, bytes.len());
            }
        }
    }
}
