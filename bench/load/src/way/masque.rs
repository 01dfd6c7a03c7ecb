//! Through a MASQUE relay: CONNECT-UDP (RFC 9298) and CONNECT tunnels of HTTP/3 connections, each
//! with a UDP socket of its own, as clients on different hosts have.

mod link;
mod request;

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use quinn_proto::{ClientConfig, ConnectionHandle, DatagramEvent, Endpoint, SendDatagramError};
use rustls::client::Resumption;
use slab::Slab;
use weir_core::port::{EgressEvent, EgressId, EgressOp, Io};
use weir_io::Backend;
use weir_proto::datagram::Prefix;

use super::{Happened, Kind, Relay, Sent, Sink, Tunnel};
use crate::arena::Arena;
use crate::quic::{self, Timers, Transmitted};

use link::Link;
use request::{Requests, Stream};

/// Handshakes under way at once while connections open: few enough that no relay asks for proofs
/// of the address (Retry) or takes them for an attack.
const HANDSHAKES_MAX: usize = 32;

/// Connections to one relay and the tunnels on them.
#[derive(Debug)]
pub(crate) struct Masque {
    endpoint: Endpoint,
    config: ClientConfig,
    requests: Requests,
    relay: SocketAddr,
    batch: bool,
    links: Vec<Link>,
    /// Links whose socket was asked for, and links that may carry requests or never will.
    started: usize,
    settled: usize,
    failure: Option<String>,
    /// The link of a connection handle.
    by_handle: Vec<usize>,
    tunnels: Slab<State>,
    /// Links with something to send.
    dirty: Vec<usize>,
    timers: Timers,
    arena: Arena,
    scratch: Vec<u8>,
    refused: u64,
}

/// A tunnel.
#[derive(Debug)]
struct State {
    kind: Kind,
    target: SocketAddr,
    link: usize,
    /// None until the request is sent.
    stream: Option<Stream>,
    prefix: Prefix,
    /// It isn't wanted any more, and its request isn't sent yet.
    closed: bool,
}

impl Masque {
    pub(super) fn new(relay: Relay, batch: bool, seed: u64) -> anyhow::Result<Masque> {
        let Relay { address, server_name, authorization, trust, connections } = relay;
        Ok(Masque {
            endpoint: quic::endpoint(seed),
            config: quic::client(quic::tls_client(&trust, Resumption::disabled()))?,
            requests: Requests::new(server_name, authorization)?,
            relay: address,
            batch,
            links: (0..connections).map(|n| Link::new(EgressId { index: n, epoch: 0 })).collect(),
            started: 0,
            settled: 0,
            failure: None,
            by_handle: Vec::new(),
            tunnels: Slab::new(),
            dirty: Vec::new(),
            timers: Timers::default(),
            arena: Arena::default(),
            scratch: Vec::new(),
            refused: 0,
        })
    }

    pub(crate) fn lanes(&self) -> usize {
        self.links.len()
    }

    /// Starts as many links as may be on their way at once.
    pub(crate) fn start(&mut self, io: &mut Backend) {
        while self.started < self.links.len() && self.started - self.settled < HANDSHAKES_MAX {
            let id = self.links[self.started].id;
            self.started += 1;
            io.egress(EgressOp::UdpOpen { id, target: self.relay, source: None }, Vec::new());
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.settled == self.links.len()
    }

    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    pub(crate) fn open(&mut self, kind: Kind, target: SocketAddr, lane: usize) -> Tunnel {
        let key = self.tunnels.insert(State {
            kind,
            target,
            link: lane,
            stream: None,
            prefix: Prefix::new(0),
            closed: false,
        });
        let tunnel = Tunnel(key as u32);
        self.links[lane].waiting.push_back(tunnel);
        self.touch(lane);
        tunnel
    }

    pub(crate) fn send(
        &mut self,
        now: Instant,
        tunnel: Tunnel,
        payload: &[u8],
        io: &mut Backend,
    ) -> Sent {
        let state = &self.tunnels[tunnel.index()];
        let index = state.link;
        let link = &mut self.links[index];
        let Some(quic) = &mut link.quic else { return Sent::Full };
        let mut datagrams = quic.datagrams();
        let room = datagrams.send_buffer_space();
        link.room = link.room.max(room);
        // Singly: what was sent before and still waits would share its packet.
        let is_waiting = !self.batch && room < link.room;
        if is_waiting || room < state.prefix.len() + payload.len() {
            return Sent::Full;
        }
        let frame = self.arena.copy([&state.prefix, payload]).freeze();
        match datagrams.send(frame, false) {
            Ok(()) => {}
            Err(SendDatagramError::Blocked(_)) => return Sent::Full,
            Err(_) => return Sent::TooLarge,
        }
        self.touch(index);
        if !self.batch {
            self.transmit(index, now, 1, io);
        }
        Sent::Yes
    }

    pub(crate) fn write(&mut self, tunnel: Tunnel, data: &Bytes) -> usize {
        let state = &mut self.tunnels[tunnel.index()];
        let link = &mut self.links[state.link];
        let (Some(quic), Some(stream)) = (&mut link.quic, &mut state.stream) else { return 0 };
        let taken = stream.write(quic, data);
        let index = state.link;
        self.touch(index);
        taken
    }

    pub(crate) fn close(&mut self, tunnel: Tunnel) {
        let Some(state) = self.tunnels.get_mut(tunnel.index()) else { return };
        state.closed = true;
        let index = state.link;
        let link = &mut self.links[index];
        if let (Some(quic), Some(stream)) = (&mut link.quic, &state.stream) {
            request::abandon(quic, stream.id);
            link.forget(stream.id);
            self.tunnels.remove(tunnel.index());
        }
        self.touch(index);
    }

    pub(crate) fn flush(&mut self, now: Instant, io: &mut Backend) {
        self.start(io);
        let mut dirty = std::mem::take(&mut self.dirty);
        for &index in &dirty {
            self.request(index);
            self.pass_endpoint_events(index);
        }
        // Connections take turns by trains.
        let packets = if self.batch { quic::TRAIN_PACKETS } else { 1 };
        let mut starved = false;
        while !dirty.is_empty() && !starved {
            dirty.retain(|&index| match self.transmit(index, now, packets, io) {
                Transmitted::Train => true,
                Transmitted::Nothing => {
                    self.links[index].dirty = false;
                    self.schedule(index);
                    false
                }
                Transmitted::NoBuffer => {
                    starved = true;
                    true
                }
            });
        }
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
    }

    pub(crate) fn handle<S: Sink + ?Sized>(
        &mut self,
        now: Instant,
        event: EgressEvent<'_>,
        sink: &mut S,
    ) {
        match event {
            EgressEvent::Opened { id, .. } => self.connect(now, id.index as usize, sink),
            EgressEvent::UdpReceived { id, train, segment_size } => {
                self.receive(now, id.index as usize, train, segment_size, sink);
            }
            EgressEvent::UdpDropped { datagrams, .. } => self.refused += u64::from(datagrams),
            EgressEvent::Failed { id, error } => {
                let link = &mut self.links[id.index as usize];
                if link.quic.is_none() {
                    let why = format!("a socket towards the relay: {error:?}");
                    self.lose(now, id.index as usize, &why, sink);
                }
            }
            _ => {}
        }
    }

    pub(crate) fn timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    pub(crate) fn handle_timeout<S: Sink + ?Sized>(&mut self, now: Instant, sink: &mut S) {
        while let Some(index) = self.timers.expired(now) {
            if let Some(quic) = &mut self.links[index].quic
                && quic.poll_timeout().is_some_and(|due| due <= now)
            {
                quic.handle_timeout(now);
                self.drive(now, index, sink);
            }
            self.touch(index);
        }
    }

    pub(crate) fn finish(&mut self, now: Instant) {
        for index in 0..self.links.len() {
            self.links[index].close(now);
            self.touch(index);
        }
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let (mut lost, mut sent, mut mtu) = (0, 0, u16::MAX);
        for quic in self.links.iter().filter_map(|link| link.quic.as_ref()) {
            let stats = quic.stats();
            lost += stats.path.lost_packets;
            sent += stats.path.sent_packets;
            mtu = mtu.min(stats.path.current_mtu);
        }
        notes.push(format!("quic: {lost} of {sent} packets lost upstream, path MTU {mtu}"));
        if self.refused > 0 {
            notes.push(format!("{} packets refused by the generator's kernel", self.refused));
        }
        notes
    }

    /// Puts a link among those that have something to send.
    fn touch(&mut self, index: usize) {
        if !std::mem::replace(&mut self.links[index].dirty, true) {
            self.dirty.push(index);
        }
    }

    fn connect<S: Sink + ?Sized>(&mut self, now: Instant, index: usize, sink: &mut S) {
        let name = self.requests.server_name();
        match self.endpoint.connect(now, self.config.clone(), self.relay, name) {
            Ok((handle, quic)) => {
                let place = handle.0;
                if self.by_handle.len() <= place {
                    self.by_handle.resize(place + 1, usize::MAX);
                }
                self.by_handle[place] = index;
                self.links[index].connected(handle, quic);
                self.touch(index);
            }
            Err(error) => self.lose(now, index, &format!("connect: {error}"), sink),
        }
    }

    fn receive<S: Sink + ?Sized>(
        &mut self,
        now: Instant,
        index: usize,
        train: &[u8],
        segment_size: usize,
        sink: &mut S,
    ) {
        for packet in train.chunks(segment_size.max(1)) {
            let data = self.arena.copy([packet, &[]]);
            self.scratch.clear();
            let event = self.endpoint.handle(now, self.relay, None, None, data, &mut self.scratch);
            if let Some(DatagramEvent::ConnectionEvent(ConnectionHandle(handle), event)) = event
                && let Some(quic) = &mut self.links[self.by_handle[handle]].quic
            {
                quic.handle_event(event);
            }
        }
        self.drive(now, index, sink);
        self.touch(index);
    }

    fn pass_endpoint_events(&mut self, index: usize) {
        let link = &mut self.links[index];
        let Some(quic) = &mut link.quic else { return };
        while let Some(event) = quic.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(link.handle, event) {
                quic.handle_event(event);
            }
        }
    }

    fn schedule(&mut self, index: usize) {
        let at = self.links[index].quic.as_mut().and_then(|quic| quic.poll_timeout());
        self.timers.set(index, at);
    }

    fn transmit(
        &mut self,
        index: usize,
        now: Instant,
        packets: usize,
        io: &mut Backend,
    ) -> Transmitted {
        let link = &mut self.links[index];
        let Some(quic) = &mut link.quic else { return Transmitted::Nothing };
        quic::transmit(quic, link.id, now, packets, io)
    }

    /// The connection is gone, and everything on it. Told once for each tunnel.
    fn lose<S: Sink + ?Sized>(&mut self, now: Instant, index: usize, why: &str, sink: &mut S) {
        let link = &mut self.links[index];
        link.waiting.clear();
        if !std::mem::replace(&mut link.is_lost, true) && !link.is_up() {
            self.settled += 1;
        }
        self.failure.get_or_insert_with(|| format!("connection lost: {why}"));
        for (key, state) in &mut self.tunnels {
            if state.link == index && !std::mem::replace(&mut state.closed, true) {
                let tunnel = Tunnel(key as u32);
                sink.happened(now, Happened::Failed(tunnel, format!("connection lost: {why}")));
            }
        }
    }
}
