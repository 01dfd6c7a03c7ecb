//! Capsules (RFC 9297 §3).

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use weir_proto::capsule::{
    CapsuleDecoder, CapsuleEvent, DATAGRAM, MAX_DATAGRAM_BYTES, write_header, write_udp_header,
};
use weir_proto::datagram::{MAX_UDP_PAYLOAD_BYTES, UdpDatagram, decode_udp};
use weir_proto::{Error, H3Code};

fn capsule(kind: u64, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_header(kind, value.len(), &mut out);
    out.extend_from_slice(value);
    out
}

fn decode(decoder: &mut CapsuleDecoder, bytes: &[u8], piece: usize) -> Vec<CapsuleEvent> {
    let mut events = Vec::new();
    for chunk in bytes.chunks(piece) {
        let mut chunk = Bytes::copy_from_slice(chunk);
        while let Some(event) = decoder.decode(&mut chunk) {
            events.push(event);
        }
        assert!(chunk.is_empty());
    }
    events
}

fn datagram(value: &'static [u8]) -> CapsuleEvent {
    CapsuleEvent::Datagram(Bytes::from_static(value))
}

#[test]
fn c19_unknown_capsules_are_skipped() {
    let stream = [
        capsule(0xff_e600, &[1; 300]),
        capsule(DATAGRAM, b"\0a"),
        capsule(0x17, b""),
        capsule(DATAGRAM, b"\0b"),
    ]
    .concat();
    let mut decoder = CapsuleDecoder::new();
    assert_eq!(
        decode(&mut decoder, &stream, 7),
        [
            CapsuleEvent::Unknown { kind: 0xff_e600, len: 300 },
            datagram(b"\0a"),
            CapsuleEvent::Unknown { kind: 0x17, len: 0 },
            datagram(b"\0b"),
        ]
    );
    assert_eq!(decoder.finish(), Ok(()));
}

#[test]
fn c20_a_capsule_that_is_cut_short_is_malformed() {
    let stream = [capsule(0x41, b"xy"), capsule(DATAGRAM, b"\0abc")].concat();
    let boundaries = [0, 5, stream.len()];
    for cut in 0..=stream.len() {
        let mut decoder = CapsuleDecoder::new();
        decode(&mut decoder, &stream[..cut], stream.len());
        let malformed =
            matches!(decoder.finish(), Err(Error::Stream { code: H3Code::MESSAGE_ERROR, .. }));
        assert_eq!(malformed, !boundaries.contains(&cut), "cut at {cut}");
    }
}

#[test]
fn c22_one_byte_at_a_time_and_non_minimal_integers() {
    let mut stream = vec![0x80, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 3];
    stream.extend_from_slice(b"\0hi");
    stream.extend(capsule(DATAGRAM, b""));
    let mut decoder = CapsuleDecoder::new();
    assert_eq!(decode(&mut decoder, &stream, 1), [datagram(b"\0hi"), datagram(b"")]);
}

#[test]
fn c23_an_absurd_length_is_discarded_as_it_arrives() {
    let mut header = Vec::new();
    write_header(DATAGRAM, 1 << 40, &mut header);
    let mut decoder = CapsuleDecoder::new();
    assert_eq!(decode(&mut decoder, &header, 3), [CapsuleEvent::Oversize { len: 1 << 40 }]);
    // Every byte is taken, so the stream's flow control moves on.
    assert_eq!(decode(&mut decoder, &vec![0; 1 << 20], 1200), []);
    assert!(decoder.finish().is_err());
}

#[test]
fn c37_the_longest_datagram_is_kept_and_one_byte_more_is_an_error() {
    let longest = [&[0][..], &vec![7; MAX_UDP_PAYLOAD_BYTES]].concat();
    for (value, fits) in [(longest.clone(), true), ([&longest[..], &[7]].concat(), false)] {
        let events = decode(&mut CapsuleDecoder::new(), &capsule(DATAGRAM, &value), 1200);
        let [CapsuleEvent::Datagram(payload)] = &events[..] else { panic!("{events:?}") };
        assert_eq!(decode_udp(payload.clone()).is_ok(), fits);
    }
    let too_long = capsule(DATAGRAM, &vec![0; MAX_DATAGRAM_BYTES + 1]);
    let events = decode(&mut CapsuleDecoder::new(), &too_long, 1200);
    assert_eq!(events, [CapsuleEvent::Oversize { len: MAX_DATAGRAM_BYTES as u64 + 1 }]);
}

#[test]
fn a_capsule_within_one_chunk_is_a_slice_of_it() {
    let stream = Bytes::from(capsule(DATAGRAM, &[7; 1200]));
    let mut chunk = stream.clone();
    let event = CapsuleDecoder::new().decode(&mut chunk);
    let Some(CapsuleEvent::Datagram(payload)) = event else { panic!("{event:?}") };
    assert_eq!(payload.as_ptr(), stream[3..].as_ptr());
}

proptest! {
    #[test]
    fn c22_any_cutting_says_the_same(
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..8),
        piece in 1..50usize,
    ) {
        let mut stream = BytesMut::new();
        for payload in &payloads {
            write_udp_header(payload.len(), &mut stream);
            stream.extend_from_slice(payload);
        }
        let mut decoder = CapsuleDecoder::new();
        let decoded: Vec<Vec<u8>> = decode(&mut decoder, &stream, piece)
            .into_iter()
            .map(|event| match event {
                CapsuleEvent::Datagram(payload) => match decode_udp(payload) {
                    Ok(UdpDatagram::Payload(payload)) => payload.to_vec(),
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            })
            .collect();
        prop_assert_eq!(decoded, payloads);
        prop_assert_eq!(decoder.finish(), Ok(()));
    }
}
