//! The Capsule Protocol (RFC 9297 §3).

use bytes::{BufMut, Bytes, BytesMut};

use crate::Error;
use crate::datagram::{CONTEXT_UDP, MAX_UDP_PAYLOAD_BYTES};
use crate::h3::collect;
use crate::varint::{self, Partial};

/// Capsule Type of DATAGRAM (RFC 9297 §3.5).
pub const DATAGRAM: u64 = 0x00;

/// The longest DATAGRAM capsule that is kept: the longest UDP payload, one byte more so that
/// "too long" can be told from "long", and a Context ID in its longest form.
pub const MAX_DATAGRAM_BYTES: usize = MAX_UDP_PAYLOAD_BYTES + 1 + varint::MAX_LEN;

/// The most that [`write_udp_header`] writes.
pub const UDP_HEADER_MAX_BYTES: usize = 1 + varint::MAX_LEN + 1;

/// What a stream of capsules carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CapsuleEvent {
    /// The payload of an HTTP Datagram, for [`crate::datagram::decode_udp`].
    Datagram(Bytes),
    /// A DATAGRAM capsule of `len` bytes, more than [`MAX_DATAGRAM_BYTES`], begins; it is thrown
    /// away as it arrives.
    Oversize {
        /// Bytes of its value.
        len: u64,
    },
    /// A capsule of another type begins; it is skipped as it arrives (RFC 9297 §3.2).
    Unknown {
        /// Capsule Type.
        kind: u64,
        /// Bytes of its value.
        len: u64,
    },
}

/// Decodes capsules off the content of a stream, cut anywhere.
#[derive(Debug)]
pub struct CapsuleDecoder {
    state: State,
}

#[derive(Debug)]
enum State {
    Kind(Partial),
    Length(u64, Partial),
    Datagram { left: usize, payload: BytesMut },
    Skip { left: u64 },
}

impl Default for CapsuleDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl CapsuleDecoder {
    /// Before the first byte.
    pub const fn new() -> Self {
        Self { state: State::Kind(Partial::NEW) }
    }

    /// Takes bytes off the front of `chunk` until it has an event or the chunk is used up (`None`).
    /// A DATAGRAM capsule that lies within one chunk comes out as a slice of it; one that doesn't
    /// is gathered, up to [`MAX_DATAGRAM_BYTES`].
    ///
    /// There are no errors: every sequence of bytes is a beginning of some sequence of capsules.
    pub fn decode(&mut self, chunk: &mut Bytes) -> Option<CapsuleEvent> {
        loop {
            match &mut self.state {
                State::Kind(partial) => {
                    let kind = partial.decode(chunk)?;
                    self.state = State::Length(kind, Partial::NEW);
                }
                State::Length(kind, partial) => {
                    let len = partial.decode(chunk)?;
                    let kind = *kind;
                    if kind == DATAGRAM && len <= MAX_DATAGRAM_BYTES as u64 {
                        let left = len as usize;
                        self.state = State::Datagram { left, payload: BytesMut::new() };
                        continue;
                    }
                    self.state = State::Skip { left: len };
                    return Some(match kind {
                        DATAGRAM => CapsuleEvent::Oversize { len },
                        _ => CapsuleEvent::Unknown { kind, len },
                    });
                }
                State::Datagram { left, payload } => {
                    let payload = collect(chunk, left, payload)?;
                    self.state = State::Kind(Partial::NEW);
                    return Some(CapsuleEvent::Datagram(payload));
                }
                State::Skip { left: 0 } => self.state = State::Kind(Partial::NEW),
                State::Skip { left } => {
                    if chunk.is_empty() {
                        return None;
                    }
                    let len = usize::try_from(*left).map_or(chunk.len(), |l| l.min(chunk.len()));
                    let _ = chunk.split_to(len);
                    *left -= len as u64;
                }
            }
        }
    }

    /// Whether the stream may end here.
    ///
    /// # Errors
    /// A malformed message in the middle of a capsule (RFC 9297 §3.3).
    pub fn finish(&self) -> Result<(), Error> {
        match self.state {
            State::Kind(partial) if !partial.is_started() => Ok(()),
            State::Skip { left: 0 } => Ok(()),
            _ => Err(Error::malformed("the stream ended inside a capsule")),
        }
    }
}

/// Writes Capsule Type and Capsule Length; a value of `len` bytes follows.
#[inline]
pub fn write_header(kind: u64, len: usize, out: &mut impl BufMut) {
    varint::write(kind, out);
    varint::write(len as u64, out);
}

/// Writes the header of a DATAGRAM capsule and Context ID 0; a UDP payload of `payload_len` bytes
/// follows. Does not allocate when `out` has [`UDP_HEADER_MAX_BYTES`] to spare.
#[inline]
pub fn write_udp_header(payload_len: usize, out: &mut impl BufMut) {
    write_header(DATAGRAM, payload_len + varint::len(CONTEXT_UDP), out);
    varint::write(CONTEXT_UDP, out);
}
