//! The peer's unidirectional streams and its settings.

use bytes::{Bytes, BytesMut};
use weir_proto::h3::{
    CriticalStreams, Peer, Settings, UniEvent, UniStream, write_control_preamble, write_goaway,
};
use weir_proto::{Error, H3Code, varint};

const CONTROL: u64 = 0;

fn integers(values: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|value| varint::write(*value, &mut out));
    out
}

fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    [integers(&[kind, payload.len() as u64]), payload.to_vec()].concat()
}

fn settings(pairs: &[u64]) -> Vec<u8> {
    frame(4, &integers(pairs))
}

/// Feeds one stream byte by byte.
fn feed(
    critical: &mut CriticalStreams,
    stream: &mut UniStream,
    bytes: &[u8],
) -> Result<Vec<UniEvent>, Error> {
    let mut events = Vec::new();
    for byte in bytes {
        let mut chunk = Bytes::copy_from_slice(&[*byte]);
        while let Some(event) = stream.decode(critical, &mut chunk)? {
            events.push(event);
        }
    }
    Ok(events)
}

fn open(peer: Peer, kind: u64, bytes: &[u8]) -> Result<Vec<UniEvent>, Error> {
    let stream = [integers(&[kind]), bytes.to_vec()].concat();
    feed(&mut CriticalStreams::new(peer), &mut UniStream::new(), &stream)
}

fn code(result: Result<Vec<UniEvent>, Error>) -> H3Code {
    match result {
        Err(Error::Connection { code, .. }) => code,
        other => panic!("not a connection error: {other:?}"),
    }
}

#[test]
fn c01_the_relay_announces_extended_connect_and_datagrams() {
    let mut out = BytesMut::new();
    write_control_preamble(&Settings::relay(16_384), &mut out);
    let mut critical = CriticalStreams::new(Peer::Server);
    let events = feed(&mut critical, &mut UniStream::new(), &out).unwrap();
    let [UniEvent::Settings(settings)] = events[..] else { panic!("{events:?}") };
    assert!(settings.enable_connect_protocol && settings.h3_datagram);
    assert_eq!(settings.qpack_max_table_capacity, 0);
    assert_eq!(settings.max_field_section_size, Some(16_384));
}

#[test]
fn c02_settings_out_of_range() {
    for pairs in [&[0x33, 2][..], &[0x08, 2], &[0x02, 0], &[0x03, 1], &[0x04, 0], &[0x05, 0]] {
        assert_eq!(code(open(Peer::Client, CONTROL, &settings(pairs))), H3Code::SETTINGS_ERROR);
    }
    let duplicate = settings(&[0x40, 1, 0x41, 1, 0x40, 1]);
    assert_eq!(code(open(Peer::Client, CONTROL, &duplicate)), H3Code::SETTINGS_ERROR);
    let cut_short = frame(4, &[0x33]);
    assert_eq!(code(open(Peer::Client, CONTROL, &cut_short)), H3Code::FRAME_ERROR);
}

#[test]
fn unknown_settings_are_ignored_up_to_a_number() {
    let some: Vec<u64> = (0..63).flat_map(|at| [0x100 + at, at]).chain([0x33, 1]).collect();
    let events = open(Peer::Client, CONTROL, &settings(&some)).unwrap();
    assert!(matches!(events[..], [UniEvent::Settings(Settings { h3_datagram: true, .. })]));
    let more: Vec<u64> = (0..65).flat_map(|at| [0x100 + at, at]).collect();
    assert_eq!(code(open(Peer::Client, CONTROL, &settings(&more))), H3Code::EXCESSIVE_LOAD);
}

#[test]
fn c05_early_data_needs_settings_that_did_not_shrink() {
    let old = Settings::relay(1000);
    assert!(old.allow_early_data_with(&old));
    assert!(old.allow_early_data_with(&Settings::relay(1001)));
    assert!(!old.allow_early_data_with(&Settings::relay(999)));
    assert!(!old.allow_early_data_with(&Settings { h3_datagram: false, ..old }));
    assert!(!old.allow_early_data_with(&Settings { enable_connect_protocol: false, ..old }));
    assert!(Settings { h3_datagram: false, ..old }.allow_early_data_with(&old));
}

#[test]
fn the_control_stream_has_its_rules() {
    let first = settings(&[]);
    let after = |more: Vec<u8>| open(Peer::Client, CONTROL, &[first.clone(), more].concat());
    assert_eq!(code(open(Peer::Client, CONTROL, &frame(7, &[0]))), H3Code::MISSING_SETTINGS);
    assert_eq!(code(open(Peer::Client, CONTROL, &frame(0x21, &[]))), H3Code::MISSING_SETTINGS);
    for kind in [0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x08, 0x09] {
        assert_eq!(code(after(frame(kind, &[0]))), H3Code::FRAME_UNEXPECTED, "{kind:#x}");
    }
    assert_eq!(code(after(frame(7, &[0, 0]))), H3Code::FRAME_ERROR);
    assert_eq!(code(after(frame(7, &[]))), H3Code::FRAME_ERROR);
    assert_eq!(code(after(integers(&[7, 1025]))), H3Code::EXCESSIVE_LOAD);
    assert_eq!(after(frame(0x21, &[0; 3000])).unwrap().len(), 1);
    let ids = [frame(0xd, &[5]), frame(3, &[1]), frame(7, &[9]), frame(7, &[9])].concat();
    assert_eq!(
        after(ids).unwrap()[1..],
        [UniEvent::MaxPushId(5), UniEvent::CancelPush(1), UniEvent::GoAway(9), UniEvent::GoAway(9)]
    );
    assert_eq!(code(after([frame(7, &[4]), frame(7, &[8])].concat())), H3Code::ID_ERROR);
    assert_eq!(code(after([frame(0xd, &[4]), frame(0xd, &[3])].concat())), H3Code::ID_ERROR);
}

#[test]
fn a_server_is_held_to_its_own_rules() {
    let after = |more: Vec<u8>| open(Peer::Server, CONTROL, &[settings(&[]), more].concat());
    assert_eq!(code(after(frame(0xd, &[0]))), H3Code::FRAME_UNEXPECTED);
    assert_eq!(code(after(frame(7, &[6]))), H3Code::ID_ERROR);
    assert_eq!(code(open(Peer::Server, 1, &[0])), H3Code::ID_ERROR);
    let mut goaway = BytesMut::new();
    write_goaway(400, &mut goaway);
    assert_eq!(after(goaway.to_vec()).unwrap()[1], UniEvent::GoAway(400));
}

#[test]
fn critical_streams_come_once_and_stay() {
    for kind in [0x00, 0x02, 0x03] {
        let mut critical = CriticalStreams::new(Peer::Client);
        let mut stream = UniStream::new();
        assert_eq!(stream.finish(), Ok(()), "before the type a stream may go");
        feed(&mut critical, &mut stream, &integers(&[kind])).unwrap();
        assert!(matches!(
            stream.finish(),
            Err(Error::Connection { code: H3Code::CLOSED_CRITICAL_STREAM, .. })
        ));
        let second = feed(&mut critical, &mut UniStream::new(), &integers(&[kind]));
        assert_eq!(code(second), H3Code::STREAM_CREATION_ERROR);
    }
    assert_eq!(code(open(Peer::Client, 1, &[])), H3Code::STREAM_CREATION_ERROR);
}

#[test]
fn unknown_streams_are_told_once_and_ignored() {
    assert_eq!(open(Peer::Client, 0x21, &[9; 500]).unwrap(), [UniEvent::Unknown]);
    let mut critical = CriticalStreams::new(Peer::Client);
    let mut stream = UniStream::new();
    feed(&mut critical, &mut stream, &integers(&[0x40])).unwrap();
    assert_eq!(stream.finish(), Ok(()));
}

#[test]
fn qpack_streams_carry_nothing_of_a_dynamic_table() {
    assert_eq!(open(Peer::Client, 2, &[0x20, 0x20]).unwrap(), []);
    for wrong in [&[0x21][..], &[0x3f, 1], &[0xc0, 0], &[0x41, b'a', 0], &[0x00]] {
        assert_eq!(code(open(Peer::Client, 2, wrong)), H3Code::QPACK_ENCODER_STREAM_ERROR);
    }
    assert_eq!(open(Peer::Client, 3, &[0x44, 0x7f, 0xff, 0x01, 0x40]).unwrap(), []);
    for wrong in [&[0x80][..], &[0x01], &[0x00], &[0x7f, 0x80, 0x00, 0x84]] {
        assert_eq!(code(open(Peer::Client, 3, wrong)), H3Code::QPACK_DECODER_STREAM_ERROR);
    }
}
