//! Field sections (RFC 9204).

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use weir_proto::{Error, Field, H3Code, qpack};

const LIMIT: usize = 16_384;

fn decode(section: &[u8]) -> Result<Vec<Field>, Error> {
    qpack::decode(Bytes::copy_from_slice(section), LIMIT)
}

fn encode(fields: &[Field]) -> Vec<u8> {
    let mut out = BytesMut::new();
    qpack::encode(fields, &mut out);
    out.to_vec()
}

#[track_caller]
fn assert_failed(section: &[u8]) {
    let code = match decode(section) {
        Err(Error::Connection { code, .. }) => code,
        other => panic!("{section:02x?} gave {other:?}"),
    };
    assert_eq!(code, H3Code::QPACK_DECOMPRESSION_FAILED);
}

#[test]
fn rfc_9204_b1_literal_with_name_reference() {
    let section =
        [0, 0, 0x51, 0x0b, 0x2f, 0x69, 0x6e, 0x64, 0x65, 0x78, 0x2e, 0x68, 0x74, 0x6d, 0x6c];
    assert_eq!(decode(&section).unwrap(), [Field::new(":path", "/index.html")]);
}

#[test]
fn rfc_9204_b2_needs_the_dynamic_table() {
    assert_failed(&[0x03, 0x81, 0x10, 0x11]);
}

#[test]
fn every_reference_to_the_dynamic_table_fails() {
    for line in [
        &[0x80][..],      // indexed, dynamic
        &[0x10],          // indexed, post-base
        &[0x40, 1, b'x'], // name reference, dynamic
        &[0x00, 1, b'x'], // name reference, post-base
    ] {
        assert_failed(&[&[0, 0], line].concat());
    }
    assert_failed(&[1, 0]);
    assert_failed(&[0, 0x80]);
}

#[test]
fn sections_that_are_cut_short_fail() {
    for section in
        [&[][..], &[0], &[0, 0, 0xff], &[0, 0, 0x51], &[0, 0, 0x51, 2, b'x'], &[0, 0, 0x23, b'a']]
    {
        assert_failed(section);
    }
    assert_failed(&[0, 0, 0xff, 0x24]); // entry 99
    assert!(decode(&[0, 0, 0xff, 0x23]).is_ok()); // entry 98
    assert_failed(&[0, 0, 0x51, 0x84, 0xff, 0xff, 0xff, 0xff]); // EOS in a Huffman string
}

#[test]
fn an_empty_section_has_no_fields() {
    assert_eq!(decode(&[0, 0]).unwrap(), []);
    assert_eq!(decode(&[0, 0x7f, 0x05]).unwrap(), [], "a Delta Base without meaning");
}

#[test]
fn static_entries_are_one_or_two_bytes() {
    let fields = [Field::new(":method", "CONNECT"), Field::new(":status", "200")];
    assert_eq!(encode(&fields), [0, 0, 0xc0 | 15, 0xc0 | 25]);
    assert_eq!(decode(&encode(&fields)).unwrap(), fields);
    let last = [Field::new("x-frame-options", "sameorigin")];
    assert_eq!(encode(&last), [0, 0, 0xff, 98 - 63]);
}

#[test]
fn credentials_are_marked_as_never_indexed() {
    let known = encode(&[Field::new("authorization", "Bearer x")]);
    assert_eq!(known[2] & 0xf0, 0x70, "name reference with the N bit");
    let unknown = encode(&[Field::new("proxy-authorization", "Bearer x")]);
    assert_eq!(unknown[2] & 0xf0, 0x30, "literal name with the N bit");
    for section in [known, unknown] {
        assert_eq!(&decode(&section).unwrap()[0].value[..], b"Bearer x");
    }
}

#[test]
fn the_limit_counts_32_for_every_field() {
    let fields = vec![Field::new("a", "b"); 10];
    let section = Bytes::from(encode(&fields));
    assert!(qpack::decode(section.clone(), 340).is_ok());
    let refused = qpack::decode(section, 339);
    assert!(matches!(refused, Err(Error::Refused(refusal)) if refusal.status == 431));
}

#[test]
fn indexed_lines_cannot_outgrow_the_limit() {
    // One byte on the wire, 77 in the measure of SETTINGS_MAX_FIELD_SECTION_SIZE.
    let section = [&[0, 0][..], &[0xc0 | 31; 4000]].concat();
    assert!(matches!(decode(&section), Err(Error::Refused(_))));
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        fields in proptest::collection::vec(
            ("[a-z:-]{1,20}", proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
    ) {
        let fields: Vec<Field> = fields
            .into_iter()
            .map(|(name, value)| Field { name: name.into(), value: value.into() })
            .collect();
        prop_assert_eq!(decode(&encode(&fields)).unwrap(), fields);
    }

    #[test]
    fn no_section_makes_it_panic(section in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = decode(&section);
        let _ = decode(&[&[0, 0], &section[..]].concat());
    }
}
