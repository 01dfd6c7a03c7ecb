//! Prefixed integers (RFC 9204 §4.1.1).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{CUT_SHORT, failed};
use crate::Error;

/// The largest integer accepted: no length or index of a bounded field section is near it.
const MAX: usize = 1 << 30;

/// Reads an integer whose first `prefix_bits` are in the low bits of the first byte.
pub(super) fn decode(section: &mut Bytes, prefix_bits: u32) -> Result<usize, Error> {
    if section.is_empty() {
        return Err(CUT_SHORT);
    }
    let mask = prefix_mask(prefix_bits);
    let mut value = usize::from(section.get_u8()) & mask;
    if value < mask {
        return Ok(value);
    }
    let mut shift = 0;
    loop {
        if section.is_empty() {
            return Err(CUT_SHORT);
        }
        let byte = section.get_u8();
        // Zeros may follow for ever in a legal encoding; five bytes are enough for MAX.
        if shift > 28 {
            return Err(failed("an integer is too long"));
        }
        value += usize::from(byte & 0x7f) << shift;
        if value > MAX {
            return Err(failed("an integer is too large"));
        }
        if byte & 0x80 == 0 {
            return Ok(value);
        }
        shift += 7;
    }
}

/// Writes an integer; `flags` are the bits above its prefix.
pub(super) fn encode(value: usize, prefix_bits: u32, flags: u8, out: &mut BytesMut) {
    let mask = prefix_mask(prefix_bits);
    if value < mask {
        out.put_u8(flags | value as u8);
        return;
    }
    out.put_u8(flags | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

const fn prefix_mask(prefix_bits: u32) -> usize {
    (1 << prefix_bits) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 7541 §C.1.
    #[test]
    fn rfc_7541_integers() {
        for (value, prefix_bits, bytes) in
            [(10, 5, &[0x0a][..]), (1337, 5, &[0x1f, 0x9a, 0x0a]), (42, 8, &[0x2a])]
        {
            let mut out = BytesMut::new();
            encode(value, prefix_bits, 0, &mut out);
            assert_eq!(out, bytes);
            assert_eq!(decode(&mut out.freeze(), prefix_bits), Ok(value));
        }
    }

    #[test]
    fn integers_without_end_are_refused() {
        for bytes in [&[0x1f][..], &[0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0], &[0x1f, 0x80, 0x80]] {
            assert!(decode(&mut Bytes::from_static(bytes), 5).is_err());
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(value in 0..=MAX, prefix_bits in 3..=8u32) {
            let mut out = BytesMut::new();
            encode(value, prefix_bits, 0, &mut out);
            let mut bytes = out.freeze();
            prop_assert_eq!(decode(&mut bytes, prefix_bits), Ok(value));
            prop_assert!(bytes.is_empty());
        }
    }
}
