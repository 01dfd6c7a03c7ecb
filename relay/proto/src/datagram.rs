//! HTTP Datagrams in QUIC DATAGRAM frames (RFC 9297 §2.1) and what CONNECT-UDP puts in them
//! (RFC 9298 §4, §5). Nothing here allocates.

use bytes::{Buf, BufMut, Bytes};

use crate::{Error, H3Code, varint};

/// The longest payload of a UDP datagram inside a tunnel (RFC 9298 §5).
pub const MAX_UDP_PAYLOAD_BYTES: usize = 65_527;

/// The Context ID of UDP payloads (RFC 9298 §4).
pub const CONTEXT_UDP: u64 = 0;

/// Quarter Stream IDs are below 2^60, because stream ids are below 2^62 (RFC 9297 §2.1).
const MAX_QUARTER_STREAM_ID: u64 = (1 << 60) - 1;

/// An HTTP Datagram as it came in a QUIC DATAGRAM frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpDatagram {
    /// The request stream that it belongs to; always a client-initiated bidirectional one.
    pub stream_id: u64,
    /// For [`decode_udp`] when the stream is a CONNECT-UDP tunnel.
    pub payload: Bytes,
}

/// Splits the payload of a QUIC DATAGRAM frame.
///
/// # Errors
/// A connection error H3_DATAGRAM_ERROR when the Quarter Stream ID is cut short or too large.
#[inline]
pub fn decode(mut frame: Bytes) -> Result<HttpDatagram, Error> {
    let Some((quarter, len)) = varint::read(&frame) else {
        return Err(wrong("a QUIC DATAGRAM frame is too short for a Quarter Stream ID"));
    };
    if quarter > MAX_QUARTER_STREAM_ID {
        return Err(wrong("a Quarter Stream ID is above 2^60 - 1"));
    }
    frame.advance(len);
    Ok(HttpDatagram { stream_id: quarter * 4, payload: frame })
}

/// An HTTP Datagram of a CONNECT-UDP tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UdpDatagram {
    /// Context 0: the payload of a UDP datagram, which may be empty.
    Payload(Bytes),
    /// A context that was never registered: drop and count it (RFC 9298 §4).
    UnknownContext(u64),
    /// No whole Context ID: drop and count it.
    Malformed,
}

/// Splits the payload of an HTTP Datagram, from a QUIC DATAGRAM frame or from a capsule.
///
/// # Errors
/// A stream error when the UDP payload is longer than [`MAX_UDP_PAYLOAD_BYTES`] (RFC 9298 §5).
#[inline]
pub fn decode_udp(mut payload: Bytes) -> Result<UdpDatagram, Error> {
    let Some((context, len)) = varint::read(&payload) else { return Ok(UdpDatagram::Malformed) };
    if context != CONTEXT_UDP {
        return Ok(UdpDatagram::UnknownContext(context));
    }
    if payload.len() - len > MAX_UDP_PAYLOAD_BYTES {
        return Err(Error::stream(
            H3Code::DATAGRAM_ERROR,
            "a UDP payload is longer than 65527 bytes",
        ));
    }
    payload.advance(len);
    Ok(UdpDatagram::Payload(payload))
}

/// What stands before every UDP payload of one tunnel in a QUIC DATAGRAM frame: Quarter Stream ID
/// and Context ID 0. Made once per tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    bytes: [u8; Prefix::MAX_BYTES],
    len: u8,
}

impl Prefix {
    /// The longest prefix.
    pub const MAX_BYTES: usize = varint::MAX_LEN + 1;

    /// The prefix of the tunnel on `stream_id`.
    ///
    /// # Panics
    /// If `stream_id` is above [`varint::MAX`], which a stream id never is.
    pub fn new(stream_id: u64) -> Self {
        let mut bytes = [0; Self::MAX_BYTES];
        let mut rest = &mut bytes[..];
        varint::write(stream_id / 4, &mut rest);
        varint::write(CONTEXT_UDP, &mut rest);
        let left = rest.len();
        Self { bytes, len: (Self::MAX_BYTES - left) as u8 }
    }
}

impl std::ops::Deref for Prefix {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Writes Quarter Stream ID and Context ID 0; the UDP payload follows.
///
/// # Panics
/// As [`Prefix::new`].
#[inline]
pub fn write_prefix(stream_id: u64, out: &mut impl BufMut) {
    out.put_slice(&Prefix::new(stream_id));
}

const fn wrong(reason: &'static str) -> Error {
    Error::connection(H3Code::DATAGRAM_ERROR, reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(of: &'static [u8]) -> Bytes {
        Bytes::from_static(of)
    }

    #[test]
    fn c13_too_short_for_a_quarter_stream_id() {
        for frame in [&[][..], &[0x40], &[0xc0, 0, 0, 0, 0, 0, 0]] {
            assert!(matches!(
                decode(bytes(frame)),
                Err(Error::Connection { code: H3Code::DATAGRAM_ERROR, .. })
            ));
        }
    }

    #[test]
    fn c14_quarter_stream_id_out_of_range() {
        let largest = bytes(&[0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
        let decoded = decode(largest).unwrap();
        assert_eq!(decoded.stream_id, ((1 << 60) - 1) * 4);
        assert_eq!(&decoded.payload[..], [1]);
        assert!(matches!(
            decode(bytes(&[0xd0, 0, 0, 0, 0, 0, 0, 0])),
            Err(Error::Connection { code: H3Code::DATAGRAM_ERROR, .. })
        ));
    }

    #[test]
    fn c24_no_context_id_is_dropped() {
        assert_eq!(decode(bytes(&[1])).unwrap().payload.len(), 0);
        assert_eq!(decode_udp(bytes(&[])), Ok(UdpDatagram::Malformed));
        assert_eq!(decode_udp(bytes(&[0x40])), Ok(UdpDatagram::Malformed));
    }

    #[test]
    fn c35_context_0_is_the_payload_even_when_empty() {
        assert_eq!(decode_udp(bytes(&[0])), Ok(UdpDatagram::Payload(Bytes::new())));
        assert_eq!(decode_udp(bytes(&[0, 9, 8])), Ok(UdpDatagram::Payload(bytes(&[9, 8]))));
        assert_eq!(decode_udp(bytes(&[0x40, 0, 9])), Ok(UdpDatagram::Payload(bytes(&[9]))));
    }

    #[test]
    fn c36_unknown_context_is_not_an_error() {
        assert_eq!(decode_udp(bytes(&[2, 9])), Ok(UdpDatagram::UnknownContext(2)));
        assert_eq!(decode_udp(bytes(&[0x40, 0x41])), Ok(UdpDatagram::UnknownContext(65)));
    }

    #[test]
    fn c37_udp_payload_too_long() {
        let whole = Bytes::from(vec![0; 1 + MAX_UDP_PAYLOAD_BYTES]);
        assert!(matches!(decode_udp(whole), Ok(UdpDatagram::Payload(_))));
        let longer = Bytes::from(vec![0; 2 + MAX_UDP_PAYLOAD_BYTES]);
        assert!(matches!(decode_udp(longer), Err(Error::Stream { .. })));
    }

    proptest! {
        #[test]
        fn prefix_and_decode_agree(
            quarter in 0..=MAX_QUARTER_STREAM_ID,
            payload in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut frame = Vec::new();
            write_prefix(quarter * 4, &mut frame);
            prop_assert_eq!(&frame[..], &Prefix::new(quarter * 4)[..]);
            frame.extend_from_slice(&payload);
            let decoded = decode(frame.into()).unwrap();
            prop_assert_eq!(decoded.stream_id, quarter * 4);
            let udp = decode_udp(decoded.payload).unwrap();
            prop_assert_eq!(udp, UdpDatagram::Payload(payload.into()));
        }

        #[test]
        fn a_payload_is_a_slice_of_the_frame(payload in proptest::collection::vec(any::<u8>(), 1..64)) {
            let mut frame = Prefix::new(4).to_vec();
            frame.extend_from_slice(&payload);
            let frame = Bytes::from(frame);
            let Ok(UdpDatagram::Payload(out)) = decode_udp(decode(frame.clone()).unwrap().payload)
            else { panic!("not a payload") };
            prop_assert_eq!(out.as_ptr(), frame[2..].as_ptr());
        }
    }
}
