//! One client-facing connection: QUIC by quinn-proto, HTTP/3 by the modules below.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use quinn_proto::{ConnectionError, ConnectionEvent, Dir, Event, StreamEvent, StreamId, VarInt};
use weir_proto::H3Code;

use crate::admission::Source;
use crate::core::Core;
use crate::deficit::Deficit;
use crate::timers::{Due, TimerId};

mod capsules;
mod datagrams;
mod early;
mod request;
mod resource;
mod send;
mod session;
mod streams;
mod tcp;
mod token;
mod uni;

use datagrams::AHEAD_MIN;
use early::Early;
use request::Request;
use session::Session;
use uni::Uni;

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) handle: usize,
    pub(crate) quic: quinn_proto::Connection,
    pub(crate) source: Source,
    timer: TimerId,
    /// When the handshake has to be over; `None` once it is.
    handshake_deadline: Option<Instant>,
    /// When a valid credential has to be shown; `None` before the handshake and while there
    /// is a session.
    login_deadline: Option<Instant>,
    /// Whether it is on the list of those that may have something to send.
    pub(crate) dirty: bool,
    /// Whether tunnels and requests are gone: nothing but closing is left to do.
    torn_down: bool,
    uni: Uni,
    requests: HashMap<StreamId, Request>,
    /// Request streams that the client opened so far.
    requests_opened: u64,
    sessions: Vec<Session>,
    /// Bytes of requests that came before the first session.
    stranger_bytes: usize,
    early: Early,
    /// UDP tunnels with something for the client, in the order of their turns.
    downlink: VecDeque<usize>,
    /// Bytes of QUIC DATAGRAM frames that may wait in QUIC, out of the tunnels' hands.
    ahead: usize,
    /// Bytes that it may still send in its turn.
    deficit: Deficit,
    /// Where the last HTTP Datagram went: a train is mostly for one tunnel.
    last_route: Option<(StreamId, usize)>,
}

impl Connection {
    pub(crate) fn new(
        core: &mut Core,
        handle: usize,
        quic: quinn_proto::Connection,
        source: Source,
        now: Instant,
    ) -> Self {
        core.sources.connected(source);
        core.stats.connections_accepted += 1;
        core.stats.connections_open += 1;
        core.stats.connections_handshaking += 1;
        Connection {
            handle,
            quic,
            source,
            timer: core.timers.add(Due::Connection(handle), now),
            handshake_deadline: Some(now + core.limits.handshake_timeout),
            login_deadline: None,
            dirty: false,
            torn_down: false,
            uni: Uni::new(),
            requests: HashMap::new(),
            requests_opened: 0,
            sessions: Vec::new(),
            stranger_bytes: 0,
            early: Early::default(),
            downlink: VecDeque::new(),
            ahead: AHEAD_MIN,
            deficit: Deficit::default(),
            last_route: None,
        }
    }

    /// The connection is drained: forgets it everywhere.
    pub(crate) fn remove(mut self, core: &mut Core) {
        self.tear_down(core);
        if self.dirty {
            // Another connection may get the handle before the line has moved on.
            core.dirty.retain(|handle| *handle != self.handle);
        }
        core.timers.remove(self.timer);
        core.sources.disconnected(self.source);
        core.stats.connections_open -= 1;
    }

    /// Puts it on the list of those that may have something to send.
    pub(crate) fn touch(&mut self, dirty: &mut VecDeque<usize>) {
        if !std::mem::replace(&mut self.dirty, true) {
            dirty.push_back(self.handle);
        }
    }

    /// It has sent a train: keeps its place in line until its turn is used up.
    pub(crate) fn sent_train(&mut self, bytes: usize, dirty: &mut VecDeque<usize>) {
        if self.deficit.spend(bytes) {
            dirty.push_front(self.handle);
        } else {
            dirty.push_back(self.handle);
        }
    }

    pub(crate) fn handle_event(&mut self, event: ConnectionEvent) {
        self.quic.handle_event(event);
    }

    pub(crate) fn handle_timeout(&mut self, core: &mut Core, now: Instant) {
        if self.handshake_deadline.is_some_and(|deadline| deadline <= now) {
            core.stats.handshakes_timed_out += 1;
            self.close(core, now, H3Code::NO_ERROR, "handshake takes too long");
        }
        if self.login_deadline.is_some_and(|deadline| deadline <= now) {
            core.stats.logins_timed_out += 1;
            self.close(core, now, H3Code::NO_ERROR, "no valid credential was shown");
        }
        self.quic.handle_timeout(now);
    }

    /// Sets the timer to what QUIC needs next, or to the deadline of the handshake or the login.
    pub(crate) fn set_timer(&mut self, core: &mut Core) {
        let own = self.handshake_deadline.or(self.login_deadline);
        let at = self.quic.poll_timeout().into_iter().chain(own).min();
        core.set_timer(self.timer, at);
    }

    /// Does what the events since the last call ask for.
    pub(crate) fn drive(&mut self, core: &mut Core, now: Instant) {
        let mut datagrams = false;
        while let Some(event) = self.quic.poll() {
            match event {
                Event::Connected => self.connected(core, now),
                Event::ConnectionLost { reason } => self.lost(core, &reason),
                Event::Stream(event) if !self.torn_down => self.stream_event(core, event, now),
                // Streams first: one packet may open a tunnel and carry payload for it.
                Event::DatagramReceived => datagrams = true,
                Event::Stream(_) | Event::HandshakeDataReady | Event::DatagramsUnblocked => {}
            }
        }
        if datagrams && !self.torn_down {
            self.receive_datagrams(core, now);
        }
        self.touch(&mut core.dirty);
    }

    /// Closes with an error of HTTP/3.
    pub(crate) fn close(
        &mut self,
        core: &mut Core,
        now: Instant,
        code: H3Code,
        reason: &'static str,
    ) {
        if code != H3Code::NO_ERROR && !self.torn_down {
            core.stats.h3_errors += 1;
        }
        self.quic.close(now, varint(code), Bytes::from_static(reason.as_bytes()));
        self.tear_down(core);
        self.touch(&mut core.dirty);
    }

    pub(crate) fn is_torn_down(&self) -> bool {
        self.torn_down
    }

    /// Whether every answer has reached the client and no request is open.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.requests.is_empty() && self.quic.streams().send_streams() <= self.uni.opened()
    }

    /// No more requests from here on (RFC 9114 section 5.2).
    pub(crate) fn go_away(&mut self, core: &mut Core) {
        self.uni.go_away(&mut self.quic, self.requests_opened);
        self.touch(&mut core.dirty);
    }

    /// Lets a client that uses what it has open more streams, up to the limit. Not all at once,
    /// because QUIC reserves memory for each of them; and not for a stranger.
    fn allow_more_requests(&mut self, core: &Core) {
        let allowed = self.quic.max_concurrent_streams(Dir::Bi);
        let most = u64::from(core.limits.requests_per_connection);
        let open = self.quic.streams().remote_open_streams(Dir::Bi);
        if self.sessions.is_empty() || allowed >= most || open * 2 < allowed {
            return;
        }
        // At most 2^16, as was checked at the start.
        let more = VarInt::from_u32((allowed * 2).min(most) as u32);
        self.quic.set_max_concurrent_streams(Dir::Bi, more);
    }

    fn connected(&mut self, core: &mut Core, now: Instant) {
        core.stats.connections_established += 1;
        core.stats.connections_handshaking -= 1;
        self.handshake_deadline = None;
        self.login_deadline = Some(now + core.limits.login_timeout);
        self.uni.open(&mut self.quic);
        if core.draining {
            self.close(core, now, H3Code::NO_ERROR, "draining");
        }
    }

    fn lost(&mut self, core: &mut Core, reason: &ConnectionError) {
        if !matches!(reason, ConnectionError::ApplicationClosed(_) | ConnectionError::LocallyClosed)
        {
            core.stats.connections_lost += 1;
        }
        self.tear_down(core);
    }

    /// Closes all tunnels and forgets all requests.
    fn tear_down(&mut self, core: &mut Core) {
        if std::mem::replace(&mut self.torn_down, true) {
            return;
        }
        if self.handshake_deadline.take().is_some() {
            core.stats.connections_handshaking -= 1;
        }
        self.login_deadline = None;
        for (_, request) in self.requests.drain() {
            request.abandon(core);
        }
        self.downlink.clear();
        self.last_route = None;
        self.early.clear();
    }

    fn stream_event(&mut self, core: &mut Core, event: StreamEvent, now: Instant) {
        match event {
            StreamEvent::Opened { dir: Dir::Bi } => {
                while let Some(id) = self.quic.streams().accept(Dir::Bi) {
                    self.requests_opened = self.requests_opened.max(id.index() + 1);
                    self.accept_request(core, id, now);
                }
                self.allow_more_requests(core);
            }
            StreamEvent::Opened { dir: Dir::Uni } => {
                while let Some(id) = self.quic.streams().accept(Dir::Uni) {
                    self.uni.accept(id);
                    self.read_uni(core, id, now);
                }
            }
            StreamEvent::Readable { id } if id.dir() == Dir::Uni => self.read_uni(core, id, now),
            StreamEvent::Readable { id } => self.readable(core, id, now),
            StreamEvent::Writable { id } if id.dir() == Dir::Uni => {
                self.uni.flush(&mut self.quic);
            }
            StreamEvent::Writable { id } => self.flush(core, id, now),
            StreamEvent::Stopped { id, .. } if id.dir() == Dir::Uni => {
                let reason = "the control stream was stopped";
                self.close(core, now, H3Code::CLOSED_CRITICAL_STREAM, reason);
            }
            StreamEvent::Stopped { id, .. } => self.stopped(core, id),
            StreamEvent::Available { dir: Dir::Uni } => self.uni.open(&mut self.quic),
            StreamEvent::Available { .. } | StreamEvent::Finished { .. } => {}
        }
    }
}

/// An error code as QUIC wants it. All codes in use are constants far below the limit.
pub(crate) fn varint(code: H3Code) -> VarInt {
    VarInt::from_u64(code.0).unwrap_or(VarInt::from_u32(0x0102))
}
