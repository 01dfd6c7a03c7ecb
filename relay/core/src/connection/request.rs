//! Request streams: from the first byte to the answer or the tunnel.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use quinn_proto::StreamId;
use weir_proto::capsule::CapsuleDecoder;
use weir_proto::h3::{FrameDecoder, FrameEvent, Peer, write_data_header, write_headers};
use weir_proto::request::{self, Kind};
use weir_proto::{Error, H3Code, Target, qpack, response};

use crate::answer::{self, Answer};
use crate::core::Core;
use crate::grants::Grant;
use crate::tunnel::open;
use crate::tunnel::tcp::Tcp;
use crate::tunnel::udp::{self, Udp};
use crate::tunnel::{Phase as TunnelPhase, Traffic};

use super::Connection;
use super::resource::Resource;
use super::send::SendQueue;
use super::session::{Admission, Denied};
use super::streams::{Read, abort, read, stop, was_reset};
use super::token::Admitting;
use super::uni::FIELD_SECTION_MAX;

/// Bytes of a message read at once. What follows the HEADERS of a tunnel is kept until the tunnel
/// is open, so it has to be little.
const MESSAGE_READ_MAX: usize = 4 << 10;

/// Bytes of requests that a connection may send before it has shown a credential: hundreds of usual
/// ones. Each stream may keep a field section in the making, and anybody can begin many.
const STRANGER_BYTES_MAX: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct Request {
    pub(super) phase: Phase,
    pub(super) decoder: FrameDecoder,
    pub(super) capsules: CapsuleDecoder,
    /// Read off the stream, but not decoded: what came along with the HEADERS of a tunnel.
    pub(super) rest: Bytes,
    pub(super) out: SendQueue,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// Before the end of the field section.
    Head,
    /// The control plane looks at its token.
    Admitting(Box<Admitting>),
    Resource(Box<Resource>),
    Tunnel(usize),
    /// Nothing but writing is left.
    Answered,
}

impl Request {
    fn new() -> Self {
        Request {
            phase: Phase::Head,
            decoder: FrameDecoder::new(Peer::Client, FIELD_SECTION_MAX),
            capsules: CapsuleDecoder::new(),
            rest: Bytes::new(),
            out: SendQueue::default(),
        }
    }

    /// The request is over, whatever it was doing.
    pub(super) fn abandon(self, core: &mut Core) {
        match self.phase {
            Phase::Tunnel(key) => core.close_tunnel(key, true),
            Phase::Resource(resource) => resource.abandon(core),
            Phase::Admitting(admitting) => admitting.abandon(core),
            Phase::Head | Phase::Answered => {}
        }
    }
}

impl Connection {
    /// The client opened a request stream.
    pub(super) fn accept_request(&mut self, core: &mut Core, id: StreamId, now: Instant) {
        if self.torn_down {
            return;
        }
        core.stats.requests += 1;
        if core.draining || self.uni.gone_away() {
            core.stats.requests_rejected_draining += 1;
            abort(&mut self.quic, id, H3Code::REQUEST_REJECTED);
            return;
        }
        self.requests.insert(id, Request::new());
        self.readable(core, id, now);
    }

    /// A request stream has something to read, or was reset.
    pub(super) fn readable(&mut self, core: &mut Core, id: StreamId, now: Instant) {
        let Some(request) = self.requests.get(&id) else { return };
        match &request.phase {
            Phase::Head => self.read_message(core, id, now),
            Phase::Resource(resource) if !resource.is_complete() => {
                self.read_message(core, id, now);
            }
            Phase::Tunnel(key) => {
                let key = *key;
                if was_reset(&mut self.quic, id) {
                    return self.cancelled(core, id);
                }
                let tunnel = &core.tunnels[key];
                match (&tunnel.phase, &tunnel.traffic) {
                    (TunnelPhase::Open(_), Traffic::Udp(_)) => {
                        self.read_capsules(core, id, key, now);
                    }
                    (TunnelPhase::Open(_), Traffic::Tcp(_)) => core.mark_ready(key),
                    // Until it is open the client is held back by flow control.
                    _ => {}
                }
            }
            // Flow control holds the client back until it is admitted.
            Phase::Admitting(_) | Phase::Resource(_) | Phase::Answered => {
                if was_reset(&mut self.quic, id) {
                    self.cancelled(core, id);
                }
            }
        }
    }

    /// The client stopped reading an answer or a tunnel.
    pub(super) fn stopped(&mut self, core: &mut Core, id: StreamId) {
        if self.requests.contains_key(&id) {
            self.cancelled(core, id);
        }
    }

    /// The client gave up a request: so does the relay, and a TCP target sees RST.
    pub(super) fn cancelled(&mut self, core: &mut Core, id: StreamId) {
        self.end(core, id, H3Code::REQUEST_CANCELLED);
    }

    /// Ends a request and what belongs to it with an error on both directions of its stream.
    pub(super) fn end(&mut self, core: &mut Core, id: StreamId, code: H3Code) {
        abort(&mut self.quic, id, code);
        self.forget(core, id);
    }

    /// Ends a tunnel of this connection with an error on its stream.
    pub(crate) fn end_tunnel(&mut self, core: &mut Core, key: usize, code: H3Code) {
        let id = core.tunnels[key].stream;
        self.end(core, id, code);
    }

    /// Ends a tunnel in good order: what is written still reaches the client.
    pub(crate) fn finish_tunnel(&mut self, core: &mut Core, key: usize, now: Instant) {
        let id = core.tunnels[key].stream;
        core.close_tunnel(key, false);
        stop(&mut self.quic, id, H3Code::NO_ERROR);
        self.unroute(key);
        if let Some(request) = self.requests.get_mut(&id) {
            request.phase = Phase::Answered;
            request.out.finish();
        }
        self.flush(core, id, now);
    }

    /// Forgets a request; its stream ends by itself.
    pub(super) fn forget(&mut self, core: &mut Core, id: StreamId) {
        self.early.forget(id);
        if let Some(request) = self.requests.remove(&id) {
            if let Phase::Tunnel(key) = request.phase {
                self.unroute(key);
            }
            request.abandon(core);
        }
        self.touch(&mut core.dirty);
    }

    /// Does with a request what an error of it calls for.
    pub(super) fn fail(&mut self, core: &mut Core, id: StreamId, error: Error, now: Instant) {
        match error {
            Error::Connection { code, reason } => self.close(core, now, code, reason),
            Error::Stream { code, .. } => {
                core.stats.requests_malformed += 1;
                self.end(core, id, code);
            }
            Error::Refused(refusal) => {
                match refusal.error {
                    Some(weir_proto::ProxyError::DestinationIpProhibited) => {
                        core.stats.requests_prohibited += 1;
                    }
                    _ => core.stats.requests_malformed += 1,
                }
                let answer = Answer::empty(response::refused(&refusal, &core.name));
                self.answer(core, id, answer, now);
            }
            // Only the operator's configuration can have it.
            Error::Template { .. } => self.end(core, id, H3Code::INTERNAL_ERROR),
        }
    }

    /// Writes a whole response and ends the request.
    pub(crate) fn answer(&mut self, core: &mut Core, id: StreamId, answer: Answer, now: Instant) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let previous = std::mem::replace(&mut request.phase, Phase::Answered);
        let mut out = BytesMut::new();
        write_headers(&answer.fields, &mut out);
        if !answer.body.is_empty() {
            write_data_header(answer.body.len(), &mut out);
        }
        request.out.push(out.freeze());
        if !answer.body.is_empty() {
            request.out.push(answer.body);
        }
        request.out.finish();
        match previous {
            Phase::Tunnel(key) => {
                core.close_tunnel(key, true);
                self.unroute(key);
            }
            Phase::Resource(resource) => resource.abandon(core),
            Phase::Admitting(admitting) => admitting.abandon(core),
            Phase::Head | Phase::Answered => {}
        }
        // The rest of the request is of no interest (RFC 9114 section 4.1).
        stop(&mut self.quic, id, H3Code::NO_ERROR);
        self.flush(core, id, now);
    }

    /// Writes what waits for a stream, and does what follows from how far that came.
    pub(super) fn flush(&mut self, core: &mut Core, id: StreamId, now: Instant) {
        let Some(mut request) = self.requests.get_mut(&id) else { return };
        let tunnel = match request.phase {
            Phase::Tunnel(key) => Some(key),
            _ => None,
        };
        let written = loop {
            // What came from the target but isn't covered waits for the payer.
            let mut room = u64::MAX;
            if let Some(key) = tunnel
                && request.out.payload_bytes() > 0
            {
                let Some(covered) = core.stream_room(key) else { return };
                room = covered;
            }
            let written = request.out.write(&mut self.quic, id, room);
            self.touch(&mut core.dirty);
            if let Some(key) = tunnel
                && (written.payload > 0 || written.pieces > 0)
            {
                self.forwarded(core, key, written.payload, written.pieces);
            }
            // Ends: every round writes something, and the gate doesn't move within a turn.
            if !written.uncovered {
                break written;
            }
            let Some(more) = self.requests.get_mut(&id) else { return };
            request = more;
        };
        if written.stopped {
            self.stopped(core, id);
        } else if written.finished {
            match tunnel {
                Some(key) => self.tcp_finished(core, key, now),
                None => self.forget(core, id),
            }
        }
    }

    fn read_message(&mut self, core: &mut Core, id: StreamId, now: Instant) {
        loop {
            let result = match read(&mut self.quic, id, MESSAGE_READ_MAX) {
                Read::Data(chunk) => {
                    if self.sessions.is_empty() {
                        self.stranger_bytes += chunk.len();
                    }
                    if self.stranger_bytes > STRANGER_BYTES_MAX {
                        let reason = "too much without a credential";
                        return self.close(core, now, H3Code::EXCESSIVE_LOAD, reason);
                    }
                    self.message_data(core, id, chunk, now)
                }
                Read::Blocked | Read::Closed => return,
                Read::Finished => {
                    let result = self.message_ended(core, id, now);
                    if let Err(error) = result {
                        self.fail(core, id, error, now);
                    }
                    return;
                }
                Read::Reset => return self.cancelled(core, id),
            };
            if let Err(error) = result {
                return self.fail(core, id, error, now);
            }
            match self.requests.get(&id).map(|request| &request.phase) {
                Some(Phase::Head | Phase::Resource(_)) => {}
                _ => return,
            }
        }
    }

    pub(super) fn message_data(
        &mut self,
        core: &mut Core,
        id: StreamId,
        mut chunk: Bytes,
        now: Instant,
    ) -> Result<(), Error> {
        while let Some(request) = self.requests.get_mut(&id) {
            match &mut request.phase {
                Phase::Head | Phase::Resource(_) => {}
                Phase::Tunnel(_) | Phase::Admitting(_) => {
                    request.rest = chunk;
                    return Ok(());
                }
                Phase::Answered => return Ok(()),
            }
            match request.decoder.decode(&mut chunk)? {
                None => return Ok(()),
                Some(FrameEvent::Headers(section)) => self.head(core, id, section, now)?,
                Some(FrameEvent::Data(data)) => self.resource_data(core, id, &data, now),
                // They say nothing that a resource of the relay wants to know.
                Some(FrameEvent::Trailers(_)) => {}
            }
        }
        Ok(())
    }

    fn message_ended(&mut self, core: &mut Core, id: StreamId, now: Instant) -> Result<(), Error> {
        let Some(request) = self.requests.get_mut(&id) else { return Ok(()) };
        request.decoder.finish()?;
        self.resource_complete(core, id, now)
    }

    /// The field section of a request.
    fn head(
        &mut self,
        core: &mut Core,
        id: StreamId,
        section: Bytes,
        now: Instant,
    ) -> Result<(), Error> {
        let fields = qpack::decode(section, FIELD_SECTION_MAX)?;
        let request = request::parse(&fields, &core.templates)?;
        let (session, grant) = match self.authenticate(core, request.credential.as_ref(), now) {
            Admission::Granted(session, grant) => (session, grant),
            Admission::Token(digest) => {
                self.ask_for_token(core, id, digest, request, now);
                return Ok(());
            }
            Admission::Denied(denied) => {
                let answer = match denied {
                    Denied::Challenge => {
                        let status = request.challenge_status();
                        let mut fields = response::challenge(status, &core.name);
                        fields.extend(answer::token_challenges(&core.token_challenges));
                        Answer::empty(fields)
                    }
                    Denied::RateLimited => answer::rate_limited(&core.name),
                };
                self.answer(core, id, answer, now);
                return Ok(());
            }
        };
        self.admitted(core, id, (session, grant), request.kind, now);
        Ok(())
    }

    /// A request may do what it asks for.
    pub(super) fn admitted(
        &mut self,
        core: &mut Core,
        id: StreamId,
        (session, grant): (u64, std::sync::Arc<Grant>),
        kind: Kind,
        now: Instant,
    ) {
        match kind {
            Kind::Connect(target) => {
                let traffic = Traffic::Tcp(Tcp::new(core.limits.tcp_window));
                self.open_tunnel(core, id, session, grant, &target, traffic, now);
            }
            Kind::ConnectUdp(target) => {
                let traffic = Traffic::Udp(Udp::new(id.into(), now));
                self.open_tunnel(core, id, session, grant, &target, traffic, now);
            }
            Kind::Resource { method, path, content_length } => {
                let resource = Resource::new(grant, method, path, content_length);
                self.begin_resource(core, id, resource, now);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "they are what a tunnel is made of")]
    fn open_tunnel(
        &mut self,
        core: &mut Core,
        id: StreamId,
        session: u64,
        grant: std::sync::Arc<Grant>,
        target: &Target,
        traffic: Traffic,
        now: Instant,
    ) {
        let refusal = if grant.allowance.as_ref().is_some_and(|line| line.exhausted()) {
            Some(answer::token_used_up(&core.name, &core.token_challenges))
        } else if grant.stopped() {
            Some(answer::out_of_credit(&core.name))
        } else if !core.grant_has_room(&grant) {
            Some(answer::too_many_tunnels(&core.name))
        } else {
            None
        };
        if let Some(answer) = refusal {
            core.stats.requests_over_limit += 1;
            return self.answer(core, id, answer, now);
        }
        let Some(request) = self.requests.get_mut(&id) else { return };
        let is_udp = matches!(traffic, Traffic::Udp(_));
        let key = core.add_tunnel(now, (self.handle, id), session, grant, target.port, traffic);
        request.phase = Phase::Tunnel(key);
        while let Some(payload) = self.early.take(id) {
            if is_udp {
                let _ = self.http_datagram(core, id, key, payload, now);
            }
        }
        match open::start(core, key, target, now) {
            Ok(()) => {}
            Err(failure) => open::refuse(self, core, key, failure, now),
        }
    }

    /// A tunnel has its socket and its ledger slot: say so, and let payload flow.
    pub(crate) fn tunnel_opened(
        &mut self,
        core: &mut Core,
        key: usize,
        next_hop: std::net::IpAddr,
        now: Instant,
    ) {
        let tunnel = &core.tunnels[key];
        let id = tunnel.stream;
        let Some(request) = self.requests.get_mut(&id) else { return };
        let mut out = BytesMut::new();
        let transport = tunnel.traffic.transport();
        write_headers(&answer::opened(&core.name, transport, next_hop), &mut out);
        request.out.push(out.freeze());
        request.decoder.enter_tunnel();
        match tunnel.traffic {
            Traffic::Udp(_) => {
                core.stats.tunnels_udp += 1;
                udp::opened(core, key, now);
            }
            Traffic::Tcp(_) => core.stats.tunnels_tcp += 1,
        }
        core.mark_ready(key);
        self.flush(core, id, now);
        self.readable(core, id, now);
    }
}
