//! The header section of a classic CONNECT request.
//!
//! RFC 9114 section 4.4 forbids `:scheme` and `:path` there, and relays reset such requests as
//! malformed; h3 0.0.8 sends both with every request. So this one header section is encoded here,
//! and [`transport`](super::transport) sends it in place of h3's.

use bytes::{BufMut, Bytes, BytesMut};

/// HTTP/3 frame type (RFC 9114 section 7.2.2).
const HEADERS: u64 = 0x01;

/// Entries of the QPACK static table (RFC 9204 appendix A).
const STATIC_METHOD_CONNECT: u8 = 15;
const STATIC_AUTHORITY: u8 = 0;

/// A whole HEADERS frame: `CONNECT authority` and further fields.
pub(super) fn connect_frame(authority: &str, fields: &[(&str, &str)]) -> Bytes {
    let mut section = BytesMut::new();
    // Required Insert Count 0, Base 0: nothing refers to the dynamic table.
    section.put_slice(&[0, 0]);
    // Indexed Field Line, static table.
    section.put_u8(0xc0 | STATIC_METHOD_CONNECT);
    // Literal Field Line with Name Reference, static table.
    section.put_u8(0x50 | STATIC_AUTHORITY);
    put_string(&mut section, 0, 7, authority);
    for (name, value) in fields {
        // Literal Field Line with Literal Name: 001NHxxx, never indexed because of credentials.
        put_string(&mut section, 0x30, 3, name);
        put_string(&mut section, 0, 7, value);
    }
    let mut frame = BytesMut::with_capacity(section.len() + 16);
    put_varint(&mut frame, HEADERS);
    put_varint(&mut frame, section.len() as u64);
    frame.extend_from_slice(&section);
    frame.freeze()
}

/// A string without Huffman coding; its length has a prefix of `bits` bits (RFC 9204 4.1.2).
fn put_string(out: &mut BytesMut, pattern: u8, bits: u32, text: &str) {
    let full = (1 << bits) - 1;
    let mut rest = text.len();
    if rest < full {
        out.put_u8(pattern | rest as u8);
    } else {
        out.put_u8(pattern | full as u8);
        rest -= full;
        while rest >= 128 {
            out.put_u8((rest % 128) as u8 | 128);
            rest /= 128;
        }
        out.put_u8(rest as u8);
    }
    out.put_slice(text.as_bytes());
}

/// A QUIC variable-length integer (RFC 9000 section 16); values here are far below 2^62.
pub(super) fn put_varint(out: &mut BytesMut, value: u64) {
    match value {
        0..0x40 => out.put_u8(value as u8),
        0x40..0x4000 => out.put_u16(0x4000 | value as u16),
        0x4000..0x4000_0000 => out.put_u32(0x8000_0000 | value as u32),
        _ => out.put_u64(0xc000_0000_0000_0000 | value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_small_request() {
        let frame = connect_frame("a:1", &[("x", "y")]);
        assert_eq!(
            frame[..],
            [1, 12, 0, 0, 0xcf, 0x50, 3, b'a', b':', b'1', 0x31, b'x', 1, b'y'][..]
        );
    }

    #[test]
    fn lengths_beyond_the_prefix_go_on_in_the_next_bytes() {
        // RFC 7541 appendix C.1.2: 1337 with a 5-bit prefix is 31, 154, 10.
        let mut out = BytesMut::new();
        put_string(&mut out, 0, 5, &"z".repeat(1337));
        assert_eq!(out[..3], [31, 154, 10]);
        assert_eq!(out.len(), 3 + 1337);
    }
}
