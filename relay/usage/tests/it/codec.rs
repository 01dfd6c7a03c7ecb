//! Every encoding: what goes in comes out, and nothing that comes from a socket can panic.

use crate::random::{co_signed, frame, record};
use proptest::collection::vec;
use proptest::prelude::*;
use weir_usage::{
    Amount, ChannelId, CoSigned, Digest, Direction, Error, ExitFlow, ExitId, FlowAmount, Frame,
    FrameReader, MAX_FRAME_BYTES, SignedSample, Transport, UsageRecord, keccak256,
};

proptest! {
    #[test]
    fn a_record_comes_back_and_its_encoding_is_fixed(record in record()) {
        let bytes = record.encode();
        prop_assert_eq!(bytes.len(), UsageRecord::ENCODED_BYTES);
        prop_assert_eq!(UsageRecord::decode(&bytes), Ok(record));
    }

    /// Two encodings of one record would have two hashes. Whatever decodes is the only encoding.
    #[test]
    fn a_changed_byte_is_an_error_or_another_record(
        record in record(),
        at in 0..UsageRecord::ENCODED_BYTES,
        flip in 1..=255u8,
    ) {
        let mut bytes = record.encode();
        bytes[at] ^= flip;
        if let Ok(other) = UsageRecord::decode(&bytes) {
            prop_assert_ne!(&other, &record);
            prop_assert_ne!(other.hash(), record.hash());
            prop_assert_eq!(other.encode(), bytes);
        }
    }

    #[test]
    fn a_cut_or_longer_record_is_refused(record in record(), cut in 0..UsageRecord::ENCODED_BYTES) {
        let mut bytes = record.encode();
        let truncated = UsageRecord::decode(&bytes[..cut]);
        prop_assert!(matches!(truncated, Err(Error::Truncated { .. })), "{truncated:?}");
        bytes.push(0);
        let offset = UsageRecord::ENCODED_BYTES;
        let trailing = UsageRecord::decode(&bytes);
        prop_assert_eq!(trailing, Err(Error::TrailingBytes { offset, left: 1 }));
    }

    #[test]
    fn samples_come_back_and_no_other_length_does(co_signed in co_signed(), more in 1..9usize) {
        let mut bytes = co_signed.encode();
        prop_assert_eq!(CoSigned::decode(&bytes), Ok(co_signed));
        let signed = SignedSample { sample: co_signed.sample, signature: co_signed.signature };
        prop_assert_eq!(signed.encode().len(), SignedSample::ENCODED_BYTES);
        prop_assert_eq!(SignedSample::decode(&signed.encode()), Ok(signed));
        prop_assert!(CoSigned::decode(&bytes[..bytes.len() - more]).is_err());
        bytes.resize(bytes.len() + more, 0);
        prop_assert!(CoSigned::decode(&bytes).is_err());
    }

    #[test]
    fn frames_come_back_from_any_chunks(frames in vec(frame(), 0..6), size in 1..700usize) {
        let mut stream = Vec::new();
        for frame in &frames {
            frame.encode_into(&mut stream);
        }
        let mut reader = FrameReader::new();
        let mut read = Vec::new();
        for chunk in stream.chunks(size) {
            reader.push(chunk);
            while let Some(frame) = reader.next_frame()? {
                read.push(frame);
            }
        }
        prop_assert_eq!(read, frames);
        prop_assert_eq!(reader.buffered_bytes(), 0);
    }

    #[test]
    fn a_cut_frame_is_waited_for_and_a_cut_body_refused(frame in frame(), cut in any::<prop::sample::Index>()) {
        let bytes = frame.encode();
        let cut = cut.index(bytes.len());
        let mut reader = FrameReader::new();
        reader.push(&bytes[..cut]);
        prop_assert_eq!(reader.next_frame(), Ok(None));
        reader.push(&bytes[cut..]);
        prop_assert_eq!(reader.next_frame(), Ok(Some(frame)));

        let body = &bytes[4..];
        let cut = cut.min(body.len() - 1);
        let truncated = Frame::decode(&body[..cut]);
        prop_assert!(matches!(truncated, Err(Error::Truncated { .. })), "{truncated:?}");
    }

    #[test]
    fn garbage_never_panics_and_never_piles_up(chunks in vec(vec(any::<u8>(), 0..2000), 0..20)) {
        let mut reader = FrameReader::new();
        for chunk in &chunks {
            let _ = UsageRecord::decode(chunk);
            let _ = Frame::decode(chunk);
            reader.push(chunk);
            loop {
                match reader.next_frame() {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(Error::FrameLength { .. }) => return Ok(()),
                    Err(_) => {}
                }
            }
            prop_assert!(reader.buffered_bytes() < MAX_FRAME_BYTES + 4);
        }
    }

    /// Garbage that gets past the header, which random bytes hardly ever do.
    #[test]
    fn a_frame_with_garbage_inside_is_skipped(
        kind in 0..16u8,
        body in vec(any::<u8>(), 0..600),
        next in frame(),
    ) {
        let mut stream = u32::try_from(body.len() + 2).unwrap().to_be_bytes().to_vec();
        stream.extend([1, kind]);
        stream.extend(&body);
        next.encode_into(&mut stream);
        let mut reader = FrameReader::new();
        reader.push(&stream);
        let _ = reader.next_frame();
        prop_assert_eq!(reader.next_frame(), Ok(Some(next)));
    }
}

/// Journals and vouchers outlive releases: the bytes of version 1 may never change.
#[test]
fn version_1_of_the_record_is_cast_in_stone() {
    let amount = |bytes| Amount { bytes, packets: bytes + 1 };
    let direction = |bytes| Direction {
        received: amount(bytes + 100),
        forwarded: amount(bytes),
        dropped: [amount(1), amount(2), amount(3), amount(4), amount(5), amount(6), amount(7)],
    };
    let flow = |packets| FlowAmount { packets, payload_bytes: 10, wire_bytes: 20 };
    let record = UsageRecord {
        exit: ExitId([0xe1; 32]),
        epoch: 0xe2,
        seq: 0xe3,
        prev_hash: Digest([0xe4; 32]),
        tunnel: 0xe5,
        session: 0xe6,
        channel: ChannelId([0xe7; 32]),
        lane: 0xe8,
        transport: Transport::Udp,
        is_final: true,
        t0_ms: 0xe9,
        t1_ms: 0xea,
        up: direction(1_000),
        down: direction(2_000),
        flow: Some(ExitFlow { up: flow(30), down: flow(40) }),
    };
    assert_eq!(UsageRecord::ENCODED_BYTES, 495);
    assert_eq!(record.encode()[..10], [1, 0xe1, 0xe1, 0xe1, 0xe1, 0xe1, 0xe1, 0xe1, 0xe1, 0xe1]);
    assert_eq!(record.encode()[488..], [0, 0, 0, 0, 0, 0, 20]);
    assert_eq!(
        keccak256(&record.encode()).to_string(),
        "0x3abfdc24f874cd91a9044f390b0c02e44c3c5e7590c9c69665ff18edaf9c7299"
    );
}

#[test]
fn a_frame_length_out_of_bounds_is_final() {
    for length in [0, 1, MAX_FRAME_BYTES as u32 + 1, u32::MAX] {
        let mut reader = FrameReader::new();
        reader.push(&length.to_be_bytes());
        let error = Err(Error::FrameLength { length, max: MAX_FRAME_BYTES });
        assert_eq!(reader.next_frame(), error);
        reader.push(&Frame::RecordAck { next_seq: 1 }.encode());
        assert_eq!(reader.next_frame(), error);
    }
}

#[test]
fn errors_name_the_field_and_its_offset() {
    let mut bytes = Frame::RecordAck { next_seq: 7 }.encode();
    bytes.truncate(bytes.len() - 3);
    let error = Frame::decode(&bytes[4..]).unwrap_err();
    assert_eq!(error.to_string(), "next_seq at offset 2 needs 8 bytes, 5 are left");

    assert_eq!(
        Frame::decode(&[1, 99]).unwrap_err().to_string(),
        "kind at offset 1 is 99: unknown frame kind"
    );
    assert_eq!(Frame::decode(&[2, 4]).unwrap_err(), Error::FrameVersion { found: 2, expected: 1 });
}
