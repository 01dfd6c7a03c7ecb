//! Field compression (RFC 9204) with the static table and Huffman strings. The dynamic table is
//! not used: the relay advertises a capacity of 0, and a request has a dozen fields at most.

mod huffman;
mod integer;
mod static_table;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{Error, Field, H3Code, ProxyError};
use static_table::{Match, TABLE};

/// Decodes a field section. The fields are as the peer sent them: whether names and values are
/// allowed is for [`crate::request::parse`] to say.
///
/// # Errors
/// A connection error QPACK_DECOMPRESSION_FAILED for a wrong encoding or a reference to the dynamic
/// table; [`Error::Refused`] with 431 when the fields are larger than `max_section_bytes` in the
/// measure of [`Field::size`].
pub fn decode(mut section: Bytes, max_section_bytes: usize) -> Result<Vec<Field>, Error> {
    decode_prefix(&mut section)?;
    let mut fields = Vec::new();
    let mut left = max_section_bytes;
    while !section.is_empty() {
        let field = decode_line(&mut section, left)?;
        left = left.checked_sub(field.size()).ok_or(TOO_LARGE)?;
        fields.push(field);
    }
    Ok(fields)
}

/// Appends the encoded field section. Values of credentials are marked as never to be indexed
/// (RFC 9204 §7.1.3).
pub fn encode(fields: &[Field], out: &mut BytesMut) {
    out.put_slice(&[0, 0]);
    for field in fields {
        let never_indexed = field.name.ends_with(b"authorization");
        match static_table::find(&field.name, &field.value) {
            Some(Match::Field(index)) if !never_indexed => integer::encode(index, 6, 0xc0, out),
            Some(Match::Field(index) | Match::Name(index)) => {
                let flags = if never_indexed { 0x70 } else { 0x50 };
                integer::encode(index, 4, flags, out);
                encode_string(&field.value, 7, 0, out);
            }
            None => {
                let flags = if never_indexed { 0x30 } else { 0x20 };
                encode_string(&field.name, 3, flags, out);
                encode_string(&field.value, 7, 0, out);
            }
        }
    }
}

const TOO_LARGE: Error =
    Error::refused(431, ProxyError::HttpRequestError, "the field section is too large");

/// Required Insert Count and Base (RFC 9204 §4.5.1). With a table capacity of 0 the first has to be
/// 0; the second then has no meaning.
fn decode_prefix(section: &mut Bytes) -> Result<(), Error> {
    let required_insert_count = integer::decode(section, 8)?;
    if required_insert_count != 0 {
        return Err(failed("a field section needs the dynamic table"));
    }
    // With a Required Insert Count of 0 a negative Base can't be (RFC 9204 §4.5.1.2).
    let sign = section.first().is_some_and(|byte| byte & 0x80 != 0);
    integer::decode(section, 7)?;
    if sign {
        return Err(failed("a field section has a negative Base"));
    }
    Ok(())
}

/// One field line representation (RFC 9204 §4.5.2 to §4.5.6). `limit` bounds the decoded strings.
fn decode_line(section: &mut Bytes, limit: usize) -> Result<Field, Error> {
    let first = section[0];
    if first & 0x80 != 0 {
        if first & 0x40 == 0 {
            return Err(DYNAMIC);
        }
        let (name, value) = entry(integer::decode(section, 6)?)?;
        return Ok(Field { name: from_static(name), value: from_static(value) });
    }
    if first & 0x40 != 0 {
        if first & 0x10 == 0 {
            return Err(DYNAMIC);
        }
        let (name, _) = entry(integer::decode(section, 4)?)?;
        let value = decode_string(section, 7, limit)?;
        return Ok(Field { name: from_static(name), value });
    }
    if first & 0x20 != 0 {
        let name = decode_string(section, 3, limit)?;
        let value = decode_string(section, 7, limit)?;
        return Ok(Field { name, value });
    }
    // What is left refers to entries after the Base.
    Err(DYNAMIC)
}

const DYNAMIC: Error = failed("a field line refers to the dynamic table");

fn entry(index: usize) -> Result<(&'static str, &'static str), Error> {
    TABLE.get(index).copied().ok_or(failed("an index is beyond the static table"))
}

fn from_static(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// A string with an H bit before its `prefix_bits` of length (RFC 9204 §4.1.2).
fn decode_string(section: &mut Bytes, prefix_bits: u32, limit: usize) -> Result<Bytes, Error> {
    let first = *section.first().ok_or(CUT_SHORT)?;
    let is_huffman = first & (1 << prefix_bits) != 0;
    let len = integer::decode(section, prefix_bits)?;
    if len > section.remaining() {
        return Err(CUT_SHORT);
    }
    let raw = section.split_to(len);
    if !is_huffman {
        return Ok(raw);
    }
    // A symbol has 5 bits or more, so this is the most that can come out.
    let mut plain = BytesMut::with_capacity((raw.len() * 8 / 5).min(limit));
    huffman::decode(&raw, &mut plain).map_err(failed)?;
    Ok(plain.freeze())
}

fn encode_string(plain: &[u8], prefix_bits: u32, flags: u8, out: &mut BytesMut) {
    let coded_len = huffman::encoded_len(plain);
    if coded_len < plain.len() {
        integer::encode(coded_len, prefix_bits, flags | 1 << prefix_bits, out);
        huffman::encode(plain, out);
    } else {
        integer::encode(plain.len(), prefix_bits, flags, out);
        out.put_slice(plain);
    }
}

const CUT_SHORT: Error = failed("a field section is cut short");

const fn failed(reason: &'static str) -> Error {
    Error::connection(H3Code::QPACK_DECOMPRESSION_FAILED, reason)
}
