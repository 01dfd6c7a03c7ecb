//! The frames of one request stream.

use bytes::{Buf, Bytes, BytesMut};

use super::{Peer, kind};
use crate::{Error, H3Code, ProxyError, varint::Partial};

/// What a request stream carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameEvent {
    /// An encoded field section, for [`crate::qpack::decode`].
    Headers(Bytes),
    /// Part of a DATA payload, never empty: a slice of the chunk that was fed. Where DATA frames
    /// begin and end has no meaning and is not told.
    Data(Bytes),
    /// An encoded field section after the content.
    Trailers(Bytes),
}

/// Decodes the frames of a request stream and checks their order (RFC 9114 §4.1, §7).
#[derive(Debug)]
pub struct FrameDecoder {
    peer: Peer,
    max_header_bytes: usize,
    phase: Phase,
    state: State,
}

/// Which known frames may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Start,
    /// After a field section and before DATA.
    Headed,
    Content,
    Trailed,
    Tunnel,
}

#[derive(Debug)]
enum State {
    Kind(Partial),
    Length(u64, Partial),
    Data { left: u64 },
    Headers { left: usize, section: BytesMut },
    Skip { left: u64 },
}

impl State {
    const BETWEEN: Self = Self::Kind(Partial::NEW);
}

impl FrameDecoder {
    /// A decoder for one stream. `max_header_bytes` bounds what is kept of an encoded field
    /// section.
    pub fn new(peer: Peer, max_header_bytes: usize) -> Self {
        Self { peer, max_header_bytes, phase: Phase::Start, state: State::BETWEEN }
    }

    /// From here on only DATA and unknown frames may come: the CONNECT has been answered with 2xx
    /// (RFC 9114 §4.4).
    pub fn enter_tunnel(&mut self) {
        self.phase = Phase::Tunnel;
    }

    /// Takes bytes off the front of `chunk` until it has an event or the chunk is used up (`None`).
    ///
    /// # Errors
    /// A connection error for broken framing; [`Error::Refused`] with 431 for a field section that
    /// is too large. The decoder is not to be used again after an error.
    pub fn decode(&mut self, chunk: &mut Bytes) -> Result<Option<FrameEvent>, Error> {
        loop {
            match &mut self.state {
                State::Data { left } if *left > 0 => {
                    if chunk.is_empty() {
                        return Ok(None);
                    }
                    let payload = take(chunk, *left);
                    *left -= payload.len() as u64;
                    return Ok(Some(FrameEvent::Data(payload)));
                }
                State::Skip { left } if *left > 0 => {
                    if chunk.is_empty() {
                        return Ok(None);
                    }
                    *left -= take(chunk, *left).len() as u64;
                }
                State::Data { .. } | State::Skip { .. } => self.state = State::BETWEEN,
                State::Headers { left, section } => {
                    let Some(section) = collect(chunk, left, section) else { return Ok(None) };
                    self.state = State::BETWEEN;
                    return Ok(Some(self.headers(section)));
                }
                State::Kind(partial) => {
                    let Some(kind) = partial.decode(chunk) else { return Ok(None) };
                    self.state = State::Length(kind, Partial::NEW);
                }
                State::Length(kind, partial) => {
                    let Some(length) = partial.decode(chunk) else { return Ok(None) };
                    let kind = *kind;
                    self.state = self.begin(kind, length)?;
                }
            }
        }
    }

    /// Whether the stream may end here.
    ///
    /// # Errors
    /// A connection error in the middle of a frame (RFC 9114 §7.1); a stream error before the
    /// field section (RFC 9114 §4.1).
    pub fn finish(&self) -> Result<(), Error> {
        match &self.state {
            State::Kind(partial) if !partial.is_started() => {}
            State::Data { left: 0 } | State::Skip { left: 0 } => {}
            _ => {
                return Err(Error::connection(
                    H3Code::FRAME_ERROR,
                    "the stream ended inside a frame",
                ));
            }
        }
        if self.phase == Phase::Start {
            let (code, reason) = match self.peer {
                Peer::Client => (H3Code::REQUEST_INCOMPLETE, "the stream ended before a request"),
                Peer::Server => (H3Code::MESSAGE_ERROR, "the stream ended before a response"),
            };
            return Err(Error::stream(code, reason));
        }
        Ok(())
    }

    fn begin(&mut self, kind: u64, length: u64) -> Result<State, Error> {
        match kind {
            kind::DATA => match self.phase {
                Phase::Start | Phase::Trailed => {
                    Err(unexpected("DATA before or after the message"))
                }
                Phase::Headed | Phase::Content => {
                    self.phase = Phase::Content;
                    Ok(State::Data { left: length })
                }
                Phase::Tunnel => Ok(State::Data { left: length }),
            },
            kind::HEADERS if !matches!(self.phase, Phase::Trailed | Phase::Tunnel) => {
                match usize::try_from(length) {
                    Ok(left) if left <= self.max_header_bytes => {
                        Ok(State::Headers { left, section: BytesMut::new() })
                    }
                    _ => Err(Error::refused(
                        431,
                        ProxyError::HttpRequestError,
                        "the field section is too large",
                    )),
                }
            }
            kind::HEADERS => Err(unexpected("HEADERS after trailers or inside a tunnel")),
            kind::PUSH_PROMISE if self.peer == Peer::Server => {
                Err(Error::connection(H3Code::ID_ERROR, "a push id that was never allowed"))
            }
            kind::CANCEL_PUSH
            | kind::SETTINGS
            | kind::PUSH_PROMISE
            | kind::GOAWAY
            | kind::MAX_PUSH_ID => Err(unexpected("a control frame on a request stream")),
            _ if kind::HTTP_2.contains(&kind) => Err(unexpected("a frame type of HTTP/2")),
            _ => Ok(State::Skip { left: length }),
        }
    }

    fn headers(&mut self, section: Bytes) -> FrameEvent {
        match (self.phase, self.peer) {
            // A server may send interim responses first (RFC 9114 §4.1).
            (Phase::Start, _) | (Phase::Headed, Peer::Server) => {
                self.phase = Phase::Headed;
                FrameEvent::Headers(section)
            }
            _ => {
                self.phase = Phase::Trailed;
                FrameEvent::Trailers(section)
            }
        }
    }
}

pub(super) fn unexpected(reason: &'static str) -> Error {
    Error::connection(H3Code::FRAME_UNEXPECTED, reason)
}

/// Takes at most `left` bytes off the front of `chunk`.
pub(super) fn take(chunk: &mut Bytes, left: u64) -> Bytes {
    let len = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
    chunk.split_to(len)
}

/// Gathers `left` bytes; copies only when they come in more than one chunk, and grows with what
/// has arrived rather than with what was announced.
pub(crate) fn collect(chunk: &mut Bytes, left: &mut usize, have: &mut BytesMut) -> Option<Bytes> {
    if have.is_empty() && chunk.len() >= *left {
        return Some(chunk.split_to(std::mem::take(left)));
    }
    let len = chunk.len().min(*left);
    have.extend_from_slice(&chunk[..len]);
    chunk.advance(len);
    *left -= len;
    (*left == 0).then(|| have.split().freeze())
}
