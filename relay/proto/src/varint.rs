//! Variable-length integers (RFC 9000 §16): 1, 2, 4 or 8 bytes, 62 bits of value.

use bytes::BufMut;

/// The largest value that fits.
pub const MAX: u64 = (1 << 62) - 1;

/// Bytes of the longest encoding.
pub const MAX_LEN: usize = 8;

/// Bytes of the shortest encoding of `value`.
///
/// # Panics
/// If `value` is above [`MAX`].
pub const fn len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        0x4000_0000..=MAX => 8,
        _ => panic!("the value has more than 62 bits"),
    }
}

/// Writes the shortest encoding of `value`.
///
/// # Panics
/// If `value` is above [`MAX`]. What the relay writes are lengths, stream ids and constants, and
/// all of them are far below.
#[inline]
pub fn write(value: u64, out: &mut impl BufMut) {
    match len(value) {
        1 => out.put_u8(value as u8),
        2 => out.put_u16(0x4000 | value as u16),
        4 => out.put_u32(0x8000_0000 | value as u32),
        _ => out.put_u64(0xc000_0000_0000_0000 | value),
    }
}

/// Reads the integer that `bytes` begins with: its value and its length in bytes, or `None` when
/// there are too few bytes. Longer encodings than needed are valid (RFC 9000 §16).
#[inline]
pub fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let len = encoded_len(first);
    let encoded = bytes.get(..len)?;
    let value = encoded[1..]
        .iter()
        .fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte));
    Some((value, len))
}

/// An integer whose bytes may come in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Partial {
    value: u64,
    missing: u8,
}

impl Partial {
    pub(crate) const NEW: Self = Self { value: 0, missing: 0 };

    /// Takes bytes off the front of `chunk`; `None` when it is used up before the end.
    #[inline]
    pub(crate) fn decode(&mut self, chunk: &mut impl bytes::Buf) -> Option<u64> {
        while chunk.has_remaining() {
            let byte = chunk.get_u8();
            if self.missing == 0 {
                self.missing = encoded_len(byte) as u8;
                self.value = u64::from(byte & 0x3f);
            } else {
                self.value = self.value << 8 | u64::from(byte);
            }
            self.missing -= 1;
            if self.missing == 0 {
                return Some(self.value);
            }
        }
        None
    }

    /// Whether some but not all bytes of an integer were seen.
    pub(crate) fn is_started(&self) -> bool {
        self.missing != 0
    }
}

#[inline]
const fn encoded_len(first: u8) -> usize {
    1 << (first >> 6)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 9000 §A.1.
    const VECTORS: [(&[u8], u64); 5] = [
        (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
        (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
        (&[0x7b, 0xbd], 15_293),
        (&[0x25], 37),
        (&[0x40, 0x25], 37),
    ];

    #[test]
    fn rfc_9000_a1_vectors() {
        for (bytes, value) in VECTORS {
            assert_eq!(read(bytes), Some((value, bytes.len())));
        }
    }

    #[test]
    fn c22_non_minimal_encodings_are_valid() {
        assert_eq!(read(&[0x80, 0, 0, 7]), Some((7, 4)));
        assert_eq!(read(&[0xc0, 0, 0, 0, 0, 0, 0, 7]), Some((7, 8)));
    }

    #[test]
    #[should_panic(expected = "62 bits")]
    fn too_large_is_a_bug_of_the_caller() {
        write(MAX + 1, &mut Vec::new());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in prop_oneof![0..=MAX, 0..70_000u64]) {
            let mut bytes = Vec::new();
            write(value, &mut bytes);
            prop_assert_eq!(bytes.len(), len(value));
            prop_assert_eq!(read(&bytes), Some((value, bytes.len())));
            for cut in 0..bytes.len() {
                prop_assert_eq!(read(&bytes[..cut]), None);
            }
            let mut partial = Partial::NEW;
            for (at, byte) in bytes.iter().enumerate() {
                let got = partial.decode(&mut &[*byte][..]);
                prop_assert_eq!(got, (at + 1 == bytes.len()).then_some(value));
            }
            prop_assert!(!partial.is_started());
        }
    }
}
