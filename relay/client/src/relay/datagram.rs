//! HTTP Datagrams over QUIC DATAGRAM frames (RFC 9297 section 2.1, RFC 9298 section 5).
//!
//! They are encoded and decoded here and not by h3-datagram, whose version 0.0.2 writes a Quarter
//! Stream ID of zero whatever the stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Buf, Bytes, BytesMut};

use super::head::put_varint;
use crate::meter::TunnelMeter;

/// The Context ID of plain UDP payloads (RFC 9298 section 5).
const CONTEXT_UDP: u64 = 0;

/// Takes a UDP payload that arrived for a tunnel; must not block.
pub(crate) type Deliver = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// Which tunnel a stream's datagrams belong to.
#[derive(Default)]
pub(super) struct Routes {
    by_stream: Mutex<HashMap<u64, Route>>,
}

#[derive(Clone)]
struct Route {
    meter: Arc<TunnelMeter>,
    deliver: Deliver,
}

/// Why a QUIC DATAGRAM frame is a connection error of type H3_DATAGRAM_ERROR.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MalformedDatagram;

impl Routes {
    pub(super) fn insert(&self, stream: u64, meter: Arc<TunnelMeter>, deliver: Deliver) {
        self.lock().insert(stream, Route { meter, deliver });
    }

    pub(super) fn remove(&self, stream: u64) {
        self.lock().remove(&stream);
    }

    /// Hands one QUIC DATAGRAM frame to its tunnel. Frames of unknown streams and unknown
    /// contexts are dropped silently, as the RFCs say.
    pub(super) fn dispatch(&self, mut frame: Bytes) -> Result<(), MalformedDatagram> {
        let quarter = get_varint(&mut frame).ok_or(MalformedDatagram)?;
        if quarter >= 1 << 60 {
            return Err(MalformedDatagram);
        }
        let route = self.lock().get(&(quarter * 4)).cloned();
        if let Some(route) = route
            && get_varint(&mut frame) == Some(CONTEXT_UDP)
        {
            route.meter.down_datagram(frame.len());
            (route.deliver)(&frame);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Route>> {
        self.by_stream.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The QUIC DATAGRAM payload that carries `payload` on a request stream.
pub(super) fn encode(stream: u64, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(9 + payload.len());
    put_varint(&mut frame, stream / 4);
    put_varint(&mut frame, CONTEXT_UDP);
    frame.extend_from_slice(payload);
    frame.freeze()
}

/// A QUIC variable-length integer (RFC 9000 section 16), `None` if cut short.
pub(super) fn get_varint(bytes: &mut impl Buf) -> Option<u64> {
    let first = *bytes.chunk().first()?;
    let length = 1 << (first >> 6);
    if bytes.remaining() < length {
        return None;
    }
    let value = bytes.get_uint(length);
    Some(value & (u64::MAX >> (66 - 8 * length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Meters;
    use crate::usage::TunnelKind;
    use proptest::prelude::*;

    #[test]
    fn varints_of_rfc_9000_appendix_a() {
        for (bytes, value) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15293),
            (&[0x40, 0x25], 37),
            (&[0x25], 37),
        ] {
            assert_eq!(get_varint(&mut &bytes[..]), Some(value));
            assert_eq!(get_varint(&mut &bytes[..bytes.len() - 1]), None);
        }
    }

    #[test]
    fn datagrams_reach_their_tunnel_and_are_counted() {
        let meters = Arc::new(Meters::default());
        let routes = Routes::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let deliver: Deliver = Arc::new(move |payload| sink.lock().unwrap().push(payload.to_vec()));
        routes.insert(400, meters.open(TunnelKind::Udp, "t:1".into()), deliver);
        routes.dispatch(encode(400, b"hello")).unwrap();
        routes.dispatch(encode(400, b"")).unwrap();
        routes.dispatch(encode(404, b"other stream")).unwrap();
        let mut other_context = BytesMut::new();
        put_varint(&mut other_context, 100);
        put_varint(&mut other_context, 2);
        routes.dispatch(other_context.freeze()).unwrap();
        assert_eq!(*seen.lock().unwrap(), [b"hello".to_vec(), Vec::new()]);
        let udp = meters.snapshot().udp;
        assert_eq!((udp.down.bytes, udp.down.datagrams), (5, 2));
    }

    proptest! {
        #[test]
        fn any_frame_is_dispatched_or_malformed(frame in proptest::collection::vec(any::<u8>(), 0..40)) {
            let malformed = Routes::default().dispatch(Bytes::from(frame.clone())).is_err();
            let mut rest = &frame[..];
            let quarter = get_varint(&mut rest);
            prop_assert_eq!(malformed, quarter.is_none_or(|q| q >= 1 << 60));
        }

        #[test]
        fn encoding_round_trips(stream in (0u64..1 << 60).prop_map(|q| q * 4), size in 0usize..1500) {
            let mut frame = encode(stream, &vec![7; size]);
            prop_assert_eq!(get_varint(&mut frame), Some(stream / 4));
            prop_assert_eq!(get_varint(&mut frame), Some(0));
            prop_assert_eq!(frame.len(), size);
        }
    }
}
