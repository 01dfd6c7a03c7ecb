//! Frames of request streams.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use weir_proto::h3::{FrameDecoder, FrameEvent, Peer, write_data_header, write_headers};
use weir_proto::{Error, Field, H3Code, qpack, varint};

const LIMIT: usize = 1024;

fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint::write(kind, &mut out);
    varint::write(payload.len() as u64, &mut out);
    out.extend_from_slice(payload);
    out
}

fn decode_with(decoder: &mut FrameDecoder, stream: &[u8]) -> Result<Vec<FrameEvent>, Error> {
    let mut chunk = Bytes::copy_from_slice(stream);
    let mut events = Vec::new();
    while let Some(event) = decoder.decode(&mut chunk)? {
        events.push(event);
    }
    assert!(chunk.is_empty());
    Ok(events)
}

fn decode(frames: &[Vec<u8>]) -> Result<Vec<FrameEvent>, Error> {
    decode_with(&mut FrameDecoder::new(Peer::Client, LIMIT), &frames.concat())
}

fn code(result: Result<Vec<FrameEvent>, Error>) -> H3Code {
    match result {
        Err(Error::Connection { code, .. }) => code,
        other => panic!("not a connection error: {other:?}"),
    }
}

#[test]
fn a_message_in_order() {
    let events = decode(&[
        frame(0x21, b"grease before"),
        frame(1, b"head"),
        frame(0, b""),
        frame(0, b"body"),
        frame(0x40, b"unknown"),
        frame(1, b"tail"),
    ]);
    assert_eq!(
        events.unwrap(),
        [
            FrameEvent::Headers(Bytes::from_static(b"head")),
            FrameEvent::Data(Bytes::from_static(b"body")),
            FrameEvent::Trailers(Bytes::from_static(b"tail")),
        ]
    );
}

#[test]
fn order_is_checked() {
    for frames in [
        vec![frame(0, b"x")],
        vec![frame(1, b"a"), frame(1, b"b"), frame(0, b"x")],
        vec![frame(1, b"a"), frame(1, b"b"), frame(1, b"c")],
    ] {
        assert_eq!(code(decode(&frames)), H3Code::FRAME_UNEXPECTED);
    }
}

#[test]
fn control_and_http_2_frames_are_unexpected() {
    for kind in [0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0d] {
        let result = decode(&[frame(1, b"head"), frame(kind, b"\0")]);
        assert_eq!(code(result), H3Code::FRAME_UNEXPECTED, "{kind:#x}");
    }
}

#[test]
fn c49_nothing_known_but_data_inside_a_tunnel() {
    let mut decoder = FrameDecoder::new(Peer::Client, LIMIT);
    decode_with(&mut decoder, &frame(1, b"head")).unwrap();
    decoder.enter_tunnel();
    let events = decode_with(&mut decoder, &[frame(0x21, b"?"), frame(0, b"x")].concat());
    assert_eq!(events.unwrap(), [FrameEvent::Data(Bytes::from_static(b"x"))]);
    let result = decode_with(&mut decoder, &frame(1, b"trailers"));
    assert_eq!(code(result), H3Code::FRAME_UNEXPECTED);
}

#[test]
fn a_server_may_send_interim_responses() {
    let mut decoder = FrameDecoder::new(Peer::Server, LIMIT);
    let stream = [frame(1, b"103"), frame(1, b"200"), frame(0, b"x"), frame(1, b"t")].concat();
    let events = decode_with(&mut decoder, &stream).unwrap();
    assert!(matches!(
        events[..],
        [
            FrameEvent::Headers(_),
            FrameEvent::Headers(_),
            FrameEvent::Data(_),
            FrameEvent::Trailers(_)
        ]
    ));
    let mut decoder = FrameDecoder::new(Peer::Server, LIMIT);
    let pushed = decode_with(&mut decoder, &frame(5, b"\0"));
    assert_eq!(code(pushed), H3Code::ID_ERROR);
}

#[test]
fn a_field_section_above_the_limit_is_refused_before_it_arrives() {
    let mut announced = Vec::new();
    varint::write(1, &mut announced);
    varint::write(LIMIT as u64 + 1, &mut announced);
    let refused = decode(&[announced]);
    assert!(matches!(refused, Err(Error::Refused(refusal)) if refusal.status == 431));
    assert!(decode(&[frame(1, &[0; LIMIT])]).is_ok());
}

#[test]
fn absurd_lengths_are_not_kept() {
    let mut decoder = FrameDecoder::new(Peer::Client, LIMIT);
    let mut stream = frame(1, b"head");
    varint::write(0x21, &mut stream);
    varint::write(varint::MAX, &mut stream);
    decode_with(&mut decoder, &stream).unwrap();
    for _ in 0..100 {
        assert_eq!(decode_with(&mut decoder, &[0; 10_000]).unwrap(), []);
    }
    assert!(decoder.finish().is_err());
}

#[test]
fn where_a_stream_may_end() {
    let mut decoder = FrameDecoder::new(Peer::Client, LIMIT);
    let code_at_end = |decoder: &FrameDecoder| match decoder.finish() {
        Ok(()) => None,
        Err(Error::Connection { code, .. } | Error::Stream { code, .. }) => Some(code),
        Err(other) => panic!("{other:?}"),
    };
    assert_eq!(code_at_end(&decoder), Some(H3Code::REQUEST_INCOMPLETE));
    decode_with(&mut decoder, &frame(0x21, b"grease")).unwrap();
    assert_eq!(code_at_end(&decoder), Some(H3Code::REQUEST_INCOMPLETE));
    for (at, byte) in frame(1, b"head").iter().enumerate() {
        decode_with(&mut decoder, &[*byte]).unwrap();
        let whole = at + 1 == frame(1, b"head").len();
        assert_eq!(code_at_end(&decoder), (!whole).then_some(H3Code::FRAME_ERROR));
    }
    decode_with(&mut decoder, &frame(0, b"body")[..4]).unwrap();
    assert_eq!(code_at_end(&decoder), Some(H3Code::FRAME_ERROR));
    decode_with(&mut decoder, b"dy").unwrap();
    assert_eq!(code_at_end(&decoder), None);
}

#[test]
fn data_comes_out_as_slices_of_what_went_in() {
    let mut decoder = FrameDecoder::new(Peer::Client, LIMIT);
    decode_with(&mut decoder, &frame(1, b"head")).unwrap();
    let stream = Bytes::from(frame(0, &[7; 5000]));
    let mut chunk = stream.clone();
    let Ok(Some(FrameEvent::Data(payload))) = decoder.decode(&mut chunk) else { panic!("no data") };
    assert_eq!(payload.as_ptr(), stream[3..].as_ptr());
    assert_eq!(payload.len(), 5000);
}

#[test]
fn what_is_written_is_read() {
    let fields = [Field::new(":status", "200"), Field::new("x", "y")];
    let mut out = BytesMut::new();
    write_headers(&fields, &mut out);
    write_data_header(4, &mut out);
    out.extend_from_slice(b"body");
    let events = decode(&[out.to_vec()]).unwrap();
    let [FrameEvent::Headers(section), FrameEvent::Data(body)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(qpack::decode(section.clone(), LIMIT).unwrap(), fields);
    assert_eq!(&body[..], b"body");
}

proptest! {
    #[test]
    fn c22_any_cutting_says_the_same(
        parts in proptest::collection::vec(
            (prop_oneof![Just(0u64), Just(0x21), 0x40..0x100u64],
             proptest::collection::vec(any::<u8>(), 0..40)), 0..12),
        cuts in proptest::collection::vec(1..9usize, 1..40),
    ) {
        let mut stream = frame(1, b"head");
        let mut content = Vec::new();
        for (kind, payload) in &parts {
            stream.extend(frame(*kind, payload));
            if *kind == 0 {
                content.extend_from_slice(payload);
            }
        }
        let mut decoder = FrameDecoder::new(Peer::Client, LIMIT);
        let mut rest = &stream[..];
        let mut got = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at((*cut).min(rest.len()));
            for event in decode_with(&mut decoder, chunk).unwrap() {
                match event {
                    FrameEvent::Headers(section) => prop_assert_eq!(&section[..], b"head"),
                    FrameEvent::Data(payload) => got.extend_from_slice(&payload),
                    FrameEvent::Trailers(_) => prop_assert!(false, "no trailers were sent"),
                }
            }
            rest = after;
        }
        prop_assert_eq!(got, content);
        prop_assert_eq!(decoder.finish(), Ok(()));
    }
}
