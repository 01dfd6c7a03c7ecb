//! Nothing but handshakes with a MASQUE relay. What is a tunnel elsewhere is a connection here: it
//! is open when the relay, too, is done with the handshake.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointEvent, Event,
    StreamEvent, VarInt,
};
use rustls::client::Resumption;
use weir_core::port::{EgressEvent, EgressId, EgressOp, Io};
use weir_io::Backend;

use super::{Happened, Relay, Sink, Tunnel};
use crate::arena::Arena;
use crate::quic::{self, Tickets, Timers, Transmitted, Trust};

/// H3_NO_ERROR (RFC 9114 section 8.1).
const NO_ERROR: u32 = 0x100;

/// Slots with one socket each, on which connections follow one another.
#[derive(Debug)]
pub(crate) struct Handshakes {
    endpoint: Endpoint,
    relay: SocketAddr,
    server_name: String,
    resumed: bool,
    slots: Vec<Slot>,
    by_handle: Vec<usize>,
    dirty: VecDeque<usize>,
    timers: Timers,
    arena: Arena,
    scratch: Vec<u8>,
    sockets_open: usize,
    failure: Option<String>,
    /// Finished handshakes, and those among them that were resumed.
    finished: u64,
    finished_resumed: u64,
}

#[derive(Debug)]
struct Slot {
    id: EgressId,
    config: ClientConfig,
    trust: Trust,
    tickets: Arc<Tickets>,
    quic: Option<(ConnectionHandle, Connection)>,
    /// Certificates that were shown before this connection.
    shown: u64,
    /// The relay has opened a stream of its own, which it does when its handshake is complete.
    heard: bool,
    told: bool,
    /// CONNECTION_CLOSE is to leave, and then the next may begin.
    closing: bool,
    wanted: bool,
    dirty: bool,
}

impl Handshakes {
    pub(super) fn new(relay: Relay, resumed: bool, seed: u64) -> anyhow::Result<Handshakes> {
        let slot = |index| -> anyhow::Result<Slot> {
            let trust = relay.trust.fresh();
            let tickets = Arc::new(Tickets::default());
            let resumption =
                if resumed { Resumption::store(tickets.clone()) } else { Resumption::disabled() };
            Ok(Slot {
                id: EgressId { index, epoch: 0 },
                config: quic::client(quic::tls_client(&trust, resumption))?,
                trust,
                tickets,
                quic: None,
                shown: 0,
                heard: false,
                told: false,
                closing: false,
                wanted: false,
                dirty: false,
            })
        };
        Ok(Handshakes {
            endpoint: quic::endpoint(seed),
            relay: relay.address,
            server_name: relay.server_name.clone(),
            resumed,
            slots: (0..relay.connections).map(slot).collect::<Result<_, _>>()?,
            by_handle: Vec::new(),
            dirty: VecDeque::new(),
            timers: Timers::default(),
            arena: Arena::default(),
            scratch: Vec::new(),
            sockets_open: 0,
            failure: None,
            finished: 0,
            finished_resumed: 0,
        })
    }

    pub(super) fn lanes(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn start(&mut self, io: &mut Backend) {
        for slot in &self.slots {
            let op = EgressOp::UdpOpen { id: slot.id, target: self.relay, source: None };
            io.egress(op, Vec::new());
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.sockets_open == self.slots.len()
    }

    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    pub(super) fn begin(&mut self) {
        (self.finished, self.finished_resumed) = (0, 0);
    }

    /// Starts a handshake in a slot, after the connection before it has said goodbye.
    pub(super) fn open(&mut self, lane: usize) -> Tunnel {
        self.slots[lane].wanted = true;
        self.touch(lane);
        Tunnel(lane as u32)
    }

    pub(super) fn close(&mut self, now: Instant, tunnel: Tunnel) {
        let slot = &mut self.slots[tunnel.index()];
        if let Some((_, quic)) = &mut slot.quic {
            quic.close(now, VarInt::from_u32(NO_ERROR), Bytes::new());
        }
        slot.closing = true;
        slot.wanted = false;
        self.touch(tunnel.index());
    }

    pub(super) fn flush(&mut self, now: Instant, io: &mut Backend) {
        while let Some(index) = self.dirty.pop_front() {
            if self.flush_slot(now, index, io) == Transmitted::NoBuffer {
                self.dirty.push_front(index);
                return;
            }
            self.slots[index].dirty = false;
        }
    }

    pub(super) fn handle<S: Sink + ?Sized>(
        &mut self,
        now: Instant,
        event: EgressEvent<'_>,
        sink: &mut S,
    ) {
        match event {
            EgressEvent::Opened { .. } => self.sockets_open += 1,
            EgressEvent::UdpReceived { id, train, segment_size } => {
                for packet in train.chunks(segment_size.max(1)) {
                    self.receive(now, packet);
                }
                self.drive(now, id.index as usize, sink);
            }
            EgressEvent::Failed { id, error } if self.slots[id.index as usize].quic.is_none() => {
                let why = format!("a socket towards the relay: {error:?}");
                self.failure.get_or_insert(why);
            }
            _ => {}
        }
    }

    pub(super) fn timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    pub(super) fn handle_timeout<S: Sink + ?Sized>(&mut self, now: Instant, sink: &mut S) {
        while let Some(index) = self.timers.expired(now) {
            if let Some((_, quic)) = &mut self.slots[index].quic
                && quic.poll_timeout().is_some_and(|due| due <= now)
            {
                quic.handle_timeout(now);
            }
            self.drive(now, index, sink);
        }
    }

    pub(super) fn notes(&self) -> Vec<String> {
        let Handshakes { finished, finished_resumed, .. } = self;
        vec![format!("{finished_resumed} of {finished} handshakes were resumed")]
    }

    fn touch(&mut self, index: usize) {
        if !std::mem::replace(&mut self.slots[index].dirty, true) {
            self.dirty.push_back(index);
        }
    }

    fn receive(&mut self, now: Instant, packet: &[u8]) {
        let data = self.arena.copy([packet, &[]]);
        self.scratch.clear();
        let event = self.endpoint.handle(now, self.relay, None, None, data, &mut self.scratch);
        // Late packets of connections that are gone ask for a stateless reset: never mind.
        if let Some(DatagramEvent::ConnectionEvent(handle, event)) = event
            && let Some((_, quic)) = &mut self.slots[self.by_handle[handle.0]].quic
        {
            quic.handle_event(event);
        }
    }

    /// Acts on what the connection of a slot says.
    fn drive<S: Sink + ?Sized>(&mut self, now: Instant, index: usize, sink: &mut S) {
        let tunnel = Tunnel(index as u32);
        let slot = &mut self.slots[index];
        let Some((_, quic)) = &mut slot.quic else { return };
        while let Some(event) = quic.poll() {
            match event {
                Event::Stream(StreamEvent::Opened { dir: Dir::Uni }) => slot.heard = true,
                Event::ConnectionLost { reason } if !slot.closing && !slot.told => {
                    slot.told = true;
                    sink.happened(now, Happened::Failed(tunnel, reason.to_string()));
                }
                _ => {}
            }
        }
        let has_ticket = !self.resumed || !slot.tickets.is_empty();
        if slot.heard && has_ticket && !slot.told && !quic.is_handshaking() {
            slot.told = true;
            self.finished += 1;
            self.finished_resumed += u64::from(slot.trust.shown() == slot.shown);
            sink.happened(now, Happened::Opened(tunnel));
        }
        self.touch(index);
    }

    /// Sends what a slot has to send, forgets its connection if that was its goodbye, and starts
    /// the next if one is wanted.
    fn flush_slot(&mut self, now: Instant, index: usize, io: &mut Backend) -> Transmitted {
        loop {
            let slot = &mut self.slots[index];
            if let Some((handle, quic)) = &mut slot.quic {
                while let Some(event) = quic.poll_endpoint_events() {
                    if !event.is_drained()
                        && let Some(event) = self.endpoint.handle_event(*handle, event)
                    {
                        quic.handle_event(event);
                    }
                }
                loop {
                    match quic::transmit(quic, slot.id, now, quic::TRAIN_PACKETS, io) {
                        Transmitted::Train => {}
                        Transmitted::Nothing => break,
                        Transmitted::NoBuffer => return Transmitted::NoBuffer,
                    }
                }
                self.timers.set(index, quic.poll_timeout());
                if !std::mem::take(&mut slot.closing) {
                    return Transmitted::Nothing;
                }
                self.endpoint.handle_event(*handle, EndpointEvent::drained());
                slot.quic = None;
            }
            slot.closing = false;
            if !std::mem::take(&mut slot.wanted) || !self.connect(now, index) {
                return Transmitted::Nothing;
            }
        }
    }

    fn connect(&mut self, now: Instant, index: usize) -> bool {
        let slot = &mut self.slots[index];
        let config = slot.config.clone();
        match self.endpoint.connect(now, config, self.relay, &self.server_name) {
            Ok((handle, quic)) => {
                if self.by_handle.len() <= handle.0 {
                    self.by_handle.resize(handle.0 + 1, usize::MAX);
                }
                self.by_handle[handle.0] = index;
                slot.shown = slot.trust.shown();
                (slot.heard, slot.told) = (false, false);
                slot.quic = Some((handle, quic));
                true
            }
            Err(error) => {
                self.failure.get_or_insert_with(|| format!("connect: {error}"));
                false
            }
        }
    }
}
