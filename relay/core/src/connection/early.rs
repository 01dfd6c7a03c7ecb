//! HTTP Datagrams that overtook the request they belong to (RFC 9297 section 2.1).

use std::collections::VecDeque;

use bytes::Bytes;
use quinn_proto::StreamId;

/// Bytes kept per connection. The client is not authenticated yet, so it is little: a dozen full
/// datagrams, about what is sent in the first round trip.
const BYTES_MAX: usize = 16 << 10;

/// Datagrams kept per connection.
const DATAGRAMS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Early {
    datagrams: VecDeque<(StreamId, Bytes)>,
    bytes: usize,
}

impl Early {
    /// Keeps a copy of the payload; `false` when there is no room.
    pub(super) fn keep(&mut self, stream: StreamId, payload: &Bytes) -> bool {
        if self.bytes + payload.len() > BYTES_MAX || self.datagrams.len() >= DATAGRAMS_MAX {
            return false;
        }
        self.bytes += payload.len();
        self.datagrams.push_back((stream, Bytes::copy_from_slice(payload)));
        true
    }

    /// Takes the oldest one of a stream.
    pub(super) fn take(&mut self, stream: StreamId) -> Option<Bytes> {
        let position = self.datagrams.iter().position(|(id, _)| *id == stream)?;
        let (_, payload) = self.datagrams.remove(position)?;
        self.bytes -= payload.len();
        Some(payload)
    }

    /// The request they were for is over.
    pub(super) fn forget(&mut self, stream: StreamId) {
        while self.take(stream).is_some() {}
    }

    pub(super) fn clear(&mut self) {
        *self = Early::default();
    }
}
