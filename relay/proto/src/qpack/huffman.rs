//! The Huffman code of HPACK (RFC 7541 §5.2, Appendix B), which QPACK uses as well.
//!
//! The code is canonical: of the symbols sorted by length and then by value, each has the code that
//! follows its predecessor's. So the lengths are all that has to be known.

use bytes::{BufMut, BytesMut};

/// Bits of the code of every octet, and of EOS at the end.
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

const SYMBOLS: usize = 257;
const MAX_BITS: usize = 30;

/// What the lengths say, computed once at compile time.
struct Code {
    /// The code of every symbol, right-aligned.
    codes: [u32; SYMBOLS],
    /// Symbols in canonical order.
    order: [u16; SYMBOLS],
    /// For every length: the first code of that length, the position in `order` of its symbol, and
    /// how many there are.
    first: [u32; MAX_BITS + 1],
    offset: [u16; MAX_BITS + 1],
    count: [u16; MAX_BITS + 1],
}

const CODE: Code = derive();

const fn derive() -> Code {
    let mut code = Code {
        codes: [0; SYMBOLS],
        order: [0; SYMBOLS],
        first: [0; MAX_BITS + 1],
        offset: [0; MAX_BITS + 1],
        count: [0; MAX_BITS + 1],
    };
    let (mut next, mut position, mut bits) = (0u32, 0, 1);
    while bits <= MAX_BITS {
        next <<= 1;
        code.first[bits] = next;
        code.offset[bits] = position as u16;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == bits {
                code.codes[symbol] = next;
                code.order[position] = symbol as u16;
                next += 1;
                position += 1;
            }
            symbol += 1;
        }
        code.count[bits] = position as u16 - code.offset[bits];
        bits += 1;
    }
    code
}

/// Bytes that `plain` takes when encoded.
pub(super) fn encoded_len(plain: &[u8]) -> usize {
    let bits: usize = plain.iter().map(|byte| usize::from(LENGTHS[usize::from(*byte)])).sum();
    bits.div_ceil(8)
}

/// Appends the code of `plain`, filled up with the first bits of EOS.
pub(super) fn encode(plain: &[u8], out: &mut BytesMut) {
    let (mut window, mut bits) = (0u64, 0);
    for byte in plain {
        let symbol = usize::from(*byte);
        window = window << LENGTHS[symbol] | u64::from(CODE.codes[symbol]);
        bits += u32::from(LENGTHS[symbol]);
        while bits >= 8 {
            bits -= 8;
            out.put_u8((window >> bits) as u8);
        }
    }
    if bits > 0 {
        let fill = 8 - bits;
        out.put_u8((window << fill) as u8 | (0xff >> bits));
    }
}

/// Appends what `coded` stands for.
///
/// # Errors
/// The rule of RFC 7541 §5.2 that is broken: EOS, or a filling that is longer than 7 bits or not
/// all ones.
pub(super) fn decode(coded: &[u8], out: &mut BytesMut) -> Result<(), &'static str> {
    let (mut code, mut bits) = (0u32, 0);
    for byte in coded {
        for shift in (0..8).rev() {
            code = code << 1 | u32::from(byte >> shift & 1);
            bits += 1;
            // Codes of one length are consecutive and shorter ones come before them, so a code
            // below the end of its length is complete.
            let index = code.wrapping_sub(CODE.first[bits]);
            if index < u32::from(CODE.count[bits]) {
                let symbol = CODE.order[usize::from(CODE.offset[bits]) + index as usize];
                match u8::try_from(symbol) {
                    Ok(byte) => out.put_u8(byte),
                    Err(_) => return Err("a Huffman string has EOS inside"),
                }
                (code, bits) = (0, 0);
            }
        }
    }
    let is_prefix_of_eos = code == (1 << bits) - 1;
    if bits > 7 || !is_prefix_of_eos {
        return Err("a Huffman string is filled up wrongly");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(plain: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        encode(plain, &mut out);
        assert_eq!(out.len(), encoded_len(plain));
        out.to_vec()
    }

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, &'static str> {
        let mut out = BytesMut::new();
        decode(coded, &mut out).map(|()| out.to_vec())
    }

    /// Entries of RFC 7541 Appendix B at both ends of every few lengths.
    #[test]
    fn codes_are_those_of_the_rfc() {
        for (symbol, code, bits) in [
            (b'0' as usize, 0x0, 5),
            (b't' as usize, 0x9, 5),
            (b' ' as usize, 0x14, 6),
            (b'u' as usize, 0x2d, 6),
            (b':' as usize, 0x5c, 7),
            (b'z' as usize, 0x7b, 7),
            (b'&' as usize, 0xf8, 8),
            (b'Z' as usize, 0xfd, 8),
            (b'!' as usize, 0x3f8, 10),
            (0, 0x1ff8, 13),
            (b'\\' as usize, 0x7fff0, 19),
            (1, 0x7f_ffd8, 23),
            (255, 0x3ff_ffee, 26),
            (2, 0xfff_ffe2, 28),
            (249, 0xfff_fffe, 28),
            (22, 0x3fff_fffe, 30),
            (256, 0x3fff_ffff, 30),
        ] {
            assert_eq!((CODE.codes[symbol], LENGTHS[symbol]), (code, bits), "symbol {symbol}");
        }
        let kraft: u64 = LENGTHS.iter().map(|bits| 1 << (MAX_BITS - usize::from(*bits))).sum();
        assert_eq!(kraft, 1 << MAX_BITS, "the code is complete");
    }

    /// RFC 7541 §C.4 and §C.6.
    #[test]
    fn rfc_7541_strings() {
        let vectors: [(&[u8], &[u8]); 4] = [
            (
                b"www.example.com",
                &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff],
            ),
            (b"no-cache", &[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]),
            (b"custom-key", &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f]),
            (b"302", &[0x64, 0x02]),
        ];
        for (plain, coded) in vectors {
            assert_eq!(encoded(plain), coded);
            assert_eq!(decoded(coded).as_deref(), Ok(plain));
        }
    }

    #[test]
    fn wrong_ends_are_refused() {
        assert!(decoded(&[0xff]).is_err(), "8 bits of filling");
        assert!(decoded(&[0xff, 0xff, 0xff, 0xff]).is_err(), "EOS");
        assert!(decoded(&[0x00]).is_err(), "'0' and three zero bits of filling");
        assert!(decoded(&[0x07]).is_ok(), "'0' and three one bits");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(plain in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decoded(&encoded(&plain)), Ok(plain));
        }

        #[test]
        fn what_is_decoded_has_one_encoding(coded in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(plain) = decoded(&coded) {
                prop_assert_eq!(encoded(&plain), coded);
            }
        }
    }
}
