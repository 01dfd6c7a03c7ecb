//! Unidirectional streams: our control stream, and the client's (RFC 9114 section 6.2).

use std::collections::HashMap;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use quinn_proto::{Dir, StreamId};
use weir_proto::h3::{CriticalStreams, Peer, Settings, UniEvent, UniStream};
use weir_proto::h3::{write_control_preamble, write_goaway};
use weir_proto::{Error, H3Code};

use crate::core::Core;

use super::streams::{Read, read};
use super::{Connection, varint};

/// Bytes of one field section, decoded; told to clients in SETTINGS. Room for a long credential.
pub(super) const FIELD_SECTION_MAX: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Uni {
    /// Our control stream; no QPACK streams, because there is no dynamic table.
    control: Option<StreamId>,
    /// What the control stream didn't take yet: SETTINGS and GOAWAY, a few dozen bytes.
    unsent: BytesMut,
    critical: CriticalStreams,
    streams: HashMap<StreamId, UniStream>,
    peer: Option<Settings>,
    gone_away: bool,
}

impl Uni {
    pub(super) fn new() -> Self {
        let mut unsent = BytesMut::new();
        write_control_preamble(&Settings::relay(FIELD_SECTION_MAX as u64), &mut unsent);
        Uni {
            control: None,
            unsent,
            critical: CriticalStreams::new(Peer::Client),
            streams: HashMap::new(),
            peer: None,
            gone_away: false,
        }
    }

    /// Opens our control stream as soon as the client allows one.
    pub(super) fn open(&mut self, quic: &mut quinn_proto::Connection) {
        if self.control.is_none() {
            self.control = quic.streams().open(Dir::Uni);
        }
        self.flush(quic);
    }

    /// Streams that we opened.
    pub(super) fn opened(&self) -> usize {
        usize::from(self.control.is_some())
    }

    pub(super) fn flush(&mut self, quic: &mut quinn_proto::Connection) {
        let Some(id) = self.control else { return };
        while !self.unsent.is_empty() {
            match quic.send_stream(id).write(&self.unsent) {
                Ok(written) => drop(self.unsent.split_to(written)),
                Err(_) => return,
            }
        }
    }

    pub(super) fn accept(&mut self, id: StreamId) {
        self.streams.insert(id, UniStream::new());
    }

    /// Whether QUIC DATAGRAM frames may be sent: both sides have said SETTINGS_H3_DATAGRAM
    /// (RFC 9297 section 2.1.1). Ours goes out before anything else.
    pub(super) fn allows_datagrams(&self) -> bool {
        self.peer.is_some_and(|settings| settings.h3_datagram)
    }

    pub(super) fn go_away(&mut self, quic: &mut quinn_proto::Connection, requests: u64) {
        if !std::mem::replace(&mut self.gone_away, true) {
            write_goaway(requests * 4, &mut self.unsent);
            self.flush(quic);
        }
    }

    /// Whether GOAWAY was sent: requests from here on are rejected.
    pub(super) fn gone_away(&self) -> bool {
        self.gone_away
    }
}

impl Connection {
    pub(super) fn read_uni(&mut self, core: &mut Core, id: StreamId, now: Instant) {
        loop {
            let Some(stream) = self.uni.streams.get_mut(&id) else { return };
            let result = match read(&mut self.quic, id, usize::MAX) {
                Read::Data(chunk) => self.uni_data(id, chunk),
                Read::Blocked => return,
                Read::Finished | Read::Reset => {
                    let result = stream.finish();
                    self.uni.streams.remove(&id);
                    result
                }
                Read::Closed => return,
            };
            if let Err(error) = result {
                let (code, reason) = match error {
                    Error::Connection { code, reason } => (code, reason),
                    _ => (H3Code::GENERAL_PROTOCOL_ERROR, "unidirectional stream"),
                };
                return self.close(core, now, code, reason);
            }
        }
    }

    fn uni_data(&mut self, id: StreamId, mut chunk: Bytes) -> Result<(), Error> {
        let Some(stream) = self.uni.streams.get_mut(&id) else { return Ok(()) };
        while let Some(event) = stream.decode(&mut self.uni.critical, &mut chunk)? {
            match event {
                UniEvent::Settings(settings) => self.uni.peer = Some(settings),
                UniEvent::Unknown => {
                    // Already closed by the client: nothing to stop.
                    let code = varint(H3Code::STREAM_CREATION_ERROR);
                    let _ = self.quic.recv_stream(id).stop(code);
                    self.uni.streams.remove(&id);
                    return Ok(());
                }
                UniEvent::GoAway(_) | UniEvent::MaxPushId(_) | UniEvent::CancelPush(_) => {}
            }
        }
        Ok(())
    }
}
