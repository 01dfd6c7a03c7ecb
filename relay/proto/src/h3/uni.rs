//! The peer's unidirectional streams (RFC 9114 §6.2): control, QPACK, and what is ignored.

use bytes::{Buf, Bytes, BytesMut};

use super::frame::{collect, take, unexpected};
use super::write::CONTROL_STREAM;
use super::{Peer, Settings, kind};
use crate::{Error, H3Code, varint, varint::Partial};

/// Stream types (RFC 9114 §6.2, RFC 9204 §4.2).
const PUSH_STREAM: u64 = 0x01;
const QPACK_ENCODER_STREAM: u64 = 0x02;
const QPACK_DECODER_STREAM: u64 = 0x03;

/// The most that is kept of a known frame on the control stream. The largest is SETTINGS: 64 pairs
/// of two 8-byte integers.
const MAX_CONTROL_FRAME_BYTES: u64 = 1024;

/// Which critical streams the peer has opened. One per connection.
#[derive(Debug)]
pub struct CriticalStreams {
    peer: Peer,
    control: bool,
    encoder: bool,
    decoder: bool,
    last_goaway: Option<u64>,
    last_max_push_id: Option<u64>,
}

/// What a unidirectional stream said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UniEvent {
    /// The peer's settings; comes once, before everything else of the control stream.
    Settings(Settings),
    /// The peer is going away. From a client the number is a push id.
    GoAway(u64),
    /// A client allows pushes up to this id. The relay never pushes.
    MaxPushId(u64),
    /// A push is not wanted.
    CancelPush(u64),
    /// The type of the stream is not known: stop reading it, with H3_STREAM_CREATION_ERROR, and
    /// forget it. A reserved type that a peer sends as grease comes here as well.
    Unknown,
}

/// Decoder of one unidirectional stream of the peer.
#[derive(Debug)]
pub struct UniStream {
    state: State,
}

#[derive(Debug)]
enum State {
    Type(Partial),
    Control(Control),
    QpackEncoder,
    QpackDecoder { cancelling: bool },
    Ignored,
}

#[derive(Debug)]
struct Control {
    settings_seen: bool,
    frame: Frame,
}

#[derive(Debug)]
enum Frame {
    Kind(Partial),
    Length(u64, Partial),
    Known { kind: u64, left: usize, payload: BytesMut },
    Skip { left: u64 },
}

impl CriticalStreams {
    /// None opened yet.
    pub const fn new(peer: Peer) -> Self {
        Self {
            peer,
            control: false,
            encoder: false,
            decoder: false,
            last_goaway: None,
            last_max_push_id: None,
        }
    }

    fn open(&mut self, kind: u64) -> Result<State, Error> {
        let refuse = |reason| Err(Error::connection(H3Code::STREAM_CREATION_ERROR, reason));
        let (seen, state) = match kind {
            CONTROL_STREAM => {
                let frame = Frame::Kind(Partial::NEW);
                (&mut self.control, State::Control(Control { settings_seen: false, frame }))
            }
            QPACK_ENCODER_STREAM => (&mut self.encoder, State::QpackEncoder),
            QPACK_DECODER_STREAM => (&mut self.decoder, State::QpackDecoder { cancelling: false }),
            PUSH_STREAM if self.peer == Peer::Client => {
                return refuse("a client opened a push stream");
            }
            // Nobody allowed the server to push (RFC 9114 §4.6).
            PUSH_STREAM => {
                return Err(Error::connection(H3Code::ID_ERROR, "a push was never allowed"));
            }
            _ => return Ok(State::Ignored),
        };
        if std::mem::replace(seen, true) {
            return refuse("a second stream of a type that comes once");
        }
        Ok(state)
    }

    fn control_frame(&mut self, kind: u64, payload: &[u8]) -> Result<UniEvent, Error> {
        if kind == kind::SETTINGS {
            return Settings::decode(payload).map(UniEvent::Settings);
        }
        let id = match varint::read(payload) {
            Some((id, len)) if len == payload.len() => id,
            _ => {
                return Err(Error::connection(
                    H3Code::FRAME_ERROR,
                    "GOAWAY, MAX_PUSH_ID or CANCEL_PUSH is not one integer",
                ));
            }
        };
        let wrong_id = |reason| Err(Error::connection(H3Code::ID_ERROR, reason));
        match kind {
            kind::GOAWAY => {
                if self.peer == Peer::Server && id % 4 != 0 {
                    return wrong_id("GOAWAY names a stream that is not a request");
                }
                if self.last_goaway.is_some_and(|last| id > last) {
                    return wrong_id("GOAWAY with a higher id than before");
                }
                self.last_goaway = Some(id);
                Ok(UniEvent::GoAway(id))
            }
            kind::MAX_PUSH_ID => {
                if self.last_max_push_id.is_some_and(|last| id < last) {
                    return wrong_id("MAX_PUSH_ID with a lower id than before");
                }
                self.last_max_push_id = Some(id);
                Ok(UniEvent::MaxPushId(id))
            }
            _ => Ok(UniEvent::CancelPush(id)),
        }
    }
}

impl Default for UniStream {
    fn default() -> Self {
        Self::new()
    }
}

impl UniStream {
    /// Before the first byte.
    pub const fn new() -> Self {
        Self { state: State::Type(Partial::NEW) }
    }

    /// Takes bytes off the front of `chunk` until it has an event or the chunk is used up (`None`).
    ///
    /// # Errors
    /// Always connection errors: these streams have no others.
    pub fn decode(
        &mut self,
        critical: &mut CriticalStreams,
        chunk: &mut Bytes,
    ) -> Result<Option<UniEvent>, Error> {
        loop {
            match &mut self.state {
                State::Type(partial) => {
                    let Some(kind) = partial.decode(chunk) else { return Ok(None) };
                    self.state = critical.open(kind)?;
                    if matches!(self.state, State::Ignored) {
                        chunk.clear();
                        return Ok(Some(UniEvent::Unknown));
                    }
                }
                State::Control(control) => return control.decode(critical, chunk),
                State::QpackEncoder => {
                    check_encoder_stream(chunk)?;
                    return Ok(None);
                }
                State::QpackDecoder { cancelling } => {
                    check_decoder_stream(cancelling, chunk)?;
                    return Ok(None);
                }
                State::Ignored => {
                    chunk.clear();
                    return Ok(None);
                }
            }
        }
    }

    /// Whether the stream may end, or be reset, here.
    ///
    /// # Errors
    /// H3_CLOSED_CRITICAL_STREAM for control and QPACK streams (RFC 9114 §6.2.1, RFC 9204 §4.2).
    /// A stream that ends before its type is complete is harmless (RFC 9114 §6.2).
    pub fn finish(&self) -> Result<(), Error> {
        match self.state {
            State::Type(_) | State::Ignored => Ok(()),
            _ => Err(Error::connection(
                H3Code::CLOSED_CRITICAL_STREAM,
                "the control stream or a QPACK stream was closed",
            )),
        }
    }
}

impl Control {
    fn decode(
        &mut self,
        critical: &mut CriticalStreams,
        chunk: &mut Bytes,
    ) -> Result<Option<UniEvent>, Error> {
        loop {
            match &mut self.frame {
                Frame::Kind(partial) => {
                    let Some(kind) = partial.decode(chunk) else { return Ok(None) };
                    self.frame = Frame::Length(kind, Partial::NEW);
                }
                Frame::Length(kind, partial) => {
                    let Some(length) = partial.decode(chunk) else { return Ok(None) };
                    let kind = *kind;
                    self.frame = self.begin(critical.peer, kind, length)?;
                }
                Frame::Known { kind, left, payload } => {
                    let Some(payload) = collect(chunk, left, payload) else { return Ok(None) };
                    let event = critical.control_frame(*kind, &payload)?;
                    self.frame = Frame::Kind(Partial::NEW);
                    return Ok(Some(event));
                }
                Frame::Skip { left: 0 } => self.frame = Frame::Kind(Partial::NEW),
                Frame::Skip { left } => {
                    if chunk.is_empty() {
                        return Ok(None);
                    }
                    *left -= take(chunk, *left).len() as u64;
                }
            }
        }
    }

    fn begin(&mut self, peer: Peer, kind: u64, length: u64) -> Result<Frame, Error> {
        if !self.settings_seen && kind != kind::SETTINGS {
            return Err(Error::connection(
                H3Code::MISSING_SETTINGS,
                "the control stream does not begin with SETTINGS",
            ));
        }
        match kind {
            kind::SETTINGS if self.settings_seen => Err(unexpected("a second SETTINGS")),
            kind::MAX_PUSH_ID if peer == Peer::Server => {
                Err(unexpected("a server sent MAX_PUSH_ID"))
            }
            kind::SETTINGS | kind::GOAWAY | kind::MAX_PUSH_ID | kind::CANCEL_PUSH => {
                if length > MAX_CONTROL_FRAME_BYTES {
                    return Err(Error::connection(
                        H3Code::EXCESSIVE_LOAD,
                        "a control frame is larger than 1024 bytes",
                    ));
                }
                self.settings_seen = true;
                Ok(Frame::Known { kind, left: length as usize, payload: BytesMut::new() })
            }
            kind::DATA | kind::HEADERS | kind::PUSH_PROMISE => {
                Err(unexpected("a request frame on the control stream"))
            }
            _ if kind::HTTP_2.contains(&kind) => Err(unexpected("a frame type of HTTP/2")),
            _ => Ok(Frame::Skip { left: length }),
        }
    }
}

/// With a table capacity of 0 the only instruction that an encoder may send is "Set Dynamic Table
/// Capacity" to 0 (RFC 9204 §3.2.3, §4.3.1).
fn check_encoder_stream(chunk: &mut Bytes) -> Result<(), Error> {
    const SET_CAPACITY_0: u8 = 0x20;
    if chunk.iter().any(|byte| *byte != SET_CAPACITY_0) {
        return Err(Error::connection(
            H3Code::QPACK_ENCODER_STREAM_ERROR,
            "the peer uses a dynamic table that it was not given",
        ));
    }
    chunk.clear();
    Ok(())
}

/// We never insert, so the only instruction that a decoder may send is Stream Cancellation
/// (RFC 9204 §4.4). Its stream id doesn't matter and is skipped.
fn check_decoder_stream(cancelling: &mut bool, chunk: &mut Bytes) -> Result<(), Error> {
    while chunk.has_remaining() {
        let byte = chunk.get_u8();
        *cancelling = if *cancelling {
            byte & 0x80 != 0
        } else if byte & 0xc0 == 0x40 {
            byte & 0x3f == 0x3f
        } else {
            return Err(Error::connection(
                H3Code::QPACK_DECODER_STREAM_ERROR,
                "the peer acknowledges what was never sent",
            ));
        };
    }
    Ok(())
}
