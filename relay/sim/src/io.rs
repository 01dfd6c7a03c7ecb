//! The I/O side of a worker, in memory. It checks the engine as strictly as a kernel would, and
//! stricter: what breaks a rule of [`weir_core::port`] panics.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use weir_core::port::{
    EgressError, EgressEvent, EgressId, EgressOp, FlowTuple, Handler, Io, MAX_TRAIN_BYTES,
    MAX_TRAIN_SEGMENTS, PacketMeta, Transmit, Transport,
};

use crate::network::{Link, Schedule};
use crate::rng::Rng;
use crate::tcp::{TcpConnection, TcpTarget};
use crate::udp::{UdpSocket, UdpTarget};

/// Round trip to a target that answers at all.
const TARGET_DELAY: Duration = Duration::from_millis(2);

/// Bytes of one read of a TCP socket.
const READ_MAX: usize = 16 << 10;

/// Something that the relay will see.
#[derive(Debug)]
pub enum Inbound {
    Packet {
        remote: SocketAddr,
        packet: Vec<u8>,
    },
    Opened(EgressId, SocketAddr),
    UdpReceived(EgressId, Vec<u8>),
    UdpSent(EgressId, u32, u64),
    UdpDropped(EgressId, u32, u64, EgressError),
    /// Look at a TCP connection: read, write, FIN.
    Tcp(EgressId),
    Failed(EgressId, EgressError),
    Closed(EgressId),
}

#[derive(Debug)]
pub enum Socket {
    Udp(SocketAddr, UdpSocket),
    Tcp(SocketAddr, Box<TcpConnection>),
}

#[derive(Debug)]
pub struct SimIo {
    pub now: Instant,
    pub rng: Rng,
    pub link: Link,
    pub to_relay: Schedule<Inbound>,
    pub to_clients: Schedule<(SocketAddr, Vec<u8>)>,
    pub udp_targets: HashMap<SocketAddr, UdpTarget>,
    pub tcp_targets: HashMap<SocketAddr, TcpTarget>,
    pub sockets: BTreeMap<(u32, u32), Socket>,
    /// What targets received, by address.
    pub udp_received: HashMap<SocketAddr, Vec<Vec<u8>>>,
    /// Where every datagram to a target went, in the order they left.
    pub udp_order: Vec<SocketAddr>,
    pub tcp_received: HashMap<SocketAddr, Vec<u8>>,
    /// Every address that the engine tried to reach, in order.
    pub dialled: Vec<(Transport, SocketAddr)>,
    /// Connections that ended with RST from our side.
    pub resets: HashSet<SocketAddr>,
    pub trains_to_targets: u64,
    pub datagrams_to_targets: u64,
    pub flows: Vec<FlowTuple>,
    /// Buffers in the pool; they come back at the next turn.
    pub buffers: usize,
    in_flight: usize,
    /// When the bottleneck is free.
    free_at: Instant,
    pool: Vec<Vec<u8>>,
    next_port: u16,
}

impl SimIo {
    pub fn new(now: Instant, seed: u64) -> Self {
        SimIo {
            now,
            rng: Rng::new(seed),
            link: Link::default(),
            to_relay: Schedule::default(),
            to_clients: Schedule::default(),
            udp_targets: HashMap::new(),
            tcp_targets: HashMap::new(),
            sockets: BTreeMap::new(),
            udp_received: HashMap::new(),
            udp_order: Vec::new(),
            tcp_received: HashMap::new(),
            dialled: Vec::new(),
            resets: HashSet::new(),
            trains_to_targets: 0,
            datagrams_to_targets: 0,
            flows: Vec::new(),
            buffers: 64,
            in_flight: 0,
            free_at: now,
            pool: Vec::new(),
            next_port: 20_000,
        }
    }

    /// A datagram of a target on every socket connected to it.
    pub fn target_sends(&mut self, target: SocketAddr, payload: &[u8]) {
        let ids: Vec<_> = self
            .sockets
            .iter()
            .filter(|(_, socket)| matches!(socket, Socket::Udp(to, _) if *to == target))
            .map(|(&(index, epoch), _)| EgressId { index, epoch })
            .collect();
        for id in ids {
            self.to_relay.push(self.now, Inbound::UdpReceived(id, payload.to_vec()));
        }
    }

    /// Sockets towards targets that are not closed.
    pub fn open_sockets(&self) -> usize {
        self.sockets.len()
    }

    fn local(&mut self, target: SocketAddr) -> SocketAddr {
        self.next_port += 1;
        let ip = match target {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
            SocketAddr::V6(_) => IpAddr::V6("2001:db8:ffff::1".parse().expect("an address")),
        };
        SocketAddr::new(ip, self.next_port)
    }

    fn after(&mut self, delay: Duration, what: Inbound) {
        self.to_relay.push(self.now + delay, what);
    }

    fn open(&mut self, id: EgressId, target: SocketAddr, transport: Transport) {
        self.dialled.push((transport, target));
        let local = self.local(target);
        self.flows.push(FlowTuple { transport, local, remote: target });
        let socket = match transport {
            Transport::Udp => {
                let known = self.udp_targets.get(&target);
                let fails = matches!(known, Some(UdpTarget::NoRoute));
                self.after(
                    Duration::ZERO,
                    if fails {
                        Inbound::Failed(id, EgressError::Unreachable)
                    } else {
                        Inbound::Opened(id, local)
                    },
                );
                Socket::Udp(target, UdpSocket { open: !fails, closing: false })
            }
            Transport::Tcp => {
                let target_kind =
                    self.tcp_targets.get(&target).copied().unwrap_or(TcpTarget::Refuses);
                match target_kind {
                    TcpTarget::Refuses => {
                        self.after(TARGET_DELAY, Inbound::Failed(id, EgressError::Refused));
                    }
                    TcpTarget::Vanishes => {}
                    _ => self.after(TARGET_DELAY, Inbound::Opened(id, local)),
                }
                Socket::Tcp(target, Box::new(TcpConnection::new(target_kind)))
            }
        };
        let before = self.sockets.insert((id.index, id.epoch), socket);
        assert!(before.is_none(), "{id:?} is opened twice");
    }

    fn udp_send(&mut self, id: EgressId, segment_size: usize, datagrams: u32, buffer: &[u8]) {
        let socket = self.sockets.get(&(id.index, id.epoch));
        let Some(Socket::Udp(target, state)) = socket else { panic!("{id:?} is no UDP socket") };
        assert!(state.open && !state.closing, "{id:?} is not open");
        let target = *target;
        let parts: Vec<Vec<u8>> = if segment_size == 0 {
            assert!(buffer.is_empty(), "segment size 0 is for one empty datagram");
            vec![Vec::new()]
        } else {
            assert!(!buffer.is_empty());
            buffer.chunks(segment_size).map(<[u8]>::to_vec).collect()
        };
        assert_eq!(parts.len(), datagrams as usize, "the train has as many datagrams as it says");
        assert!(parts.len() <= MAX_TRAIN_SEGMENTS && buffer.len() <= MAX_TRAIN_BYTES);
        self.trains_to_targets += 1;
        self.datagrams_to_targets += u64::from(datagrams);
        let bytes = buffer.len() as u64;
        match self.udp_targets.get(&target).copied().unwrap_or(UdpTarget::Sink) {
            UdpTarget::Closed => {
                self.after(Duration::ZERO, Inbound::UdpSent(id, datagrams, bytes));
                self.after(TARGET_DELAY, Inbound::Failed(id, EgressError::Refused));
            }
            UdpTarget::Mtu(mtu) if segment_size > mtu => {
                let error = EgressError::TooBig;
                self.after(Duration::ZERO, Inbound::UdpDropped(id, datagrams, bytes, error));
            }
            kind => {
                self.after(Duration::ZERO, Inbound::UdpSent(id, datagrams, bytes));
                for part in parts {
                    let delay = match kind {
                        UdpTarget::Echo { delay } => Some(delay),
                        UdpTarget::Mtu(_) => Some(TARGET_DELAY),
                        _ => None,
                    };
                    if let Some(delay) = delay {
                        self.after(delay, Inbound::UdpReceived(id, part.clone()));
                    }
                    self.udp_received.entry(target).or_default().push(part);
                    self.udp_order.push(target);
                }
            }
        }
    }

    fn tcp(&mut self, id: EgressId) -> (&mut TcpConnection, SocketAddr) {
        match self.sockets.get_mut(&(id.index, id.epoch)) {
            Some(Socket::Tcp(target, connection)) => (connection, *target),
            _ => panic!("{id:?} is no TCP socket"),
        }
    }

    /// Moves bytes of a TCP connection and tells the engine.
    fn tcp_turn<H: Handler>(&mut self, id: EgressId, handler: &mut H) {
        let now = self.now;
        let Some(Socket::Tcp(target, connection)) = self.sockets.get_mut(&(id.index, id.epoch))
        else {
            return;
        };
        if connection.closing || !connection.open {
            return;
        }
        let take = connection.queued.len().min(connection.accepts());
        let taken: Vec<u8> = connection.queued.drain(..take).collect();
        connection.received += take;
        match connection.target {
            TcpTarget::Echo => connection.outbound.extend(&taken),
            TcpTarget::Resets { after } if connection.received >= after => {
                connection.open = false;
                handler.handle_egress(now, EgressEvent::Failed { id, error: EgressError::Reset });
                return;
            }
            _ => {}
        }
        self.tcp_received.entry(*target).or_default().extend(&taken);
        let fin = connection.shutdown && connection.queued.is_empty();
        if fin && matches!(connection.target, TcpTarget::Echo | TcpTarget::Sink) {
            connection.outbound_fin = true;
        }
        let read = connection.outbound.len().min(connection.credit).min(READ_MAX);
        connection.credit -= read;
        let data: Vec<u8> = connection.outbound.drain(..read).collect();
        let more = !connection.outbound.is_empty() && connection.credit > 0;
        let eof = connection.outbound.is_empty()
            && connection.outbound_fin
            && !std::mem::replace(
                &mut connection.eof_sent,
                connection.outbound.is_empty() && connection.outbound_fin,
            );
        if take > 0 {
            handler.handle_egress(now, EgressEvent::TcpSent { id, bytes: take });
        }
        if !data.is_empty() {
            handler.handle_egress(now, EgressEvent::TcpReceived { id, data: &data });
        }
        if eof {
            handler.handle_egress(now, EgressEvent::TcpEof { id });
        }
        if more {
            self.to_relay.push(now + Duration::from_micros(50), Inbound::Tcp(id));
        }
    }

    fn deliver<H: Handler>(&mut self, inbound: Inbound, handler: &mut H) {
        let now = self.now;
        match inbound {
            Inbound::Packet { remote, packet } => {
                let meta = PacketMeta {
                    remote,
                    local_ip: Some(crate::world::RELAY.ip()),
                    ecn: None,
                    segment_size: packet.len().max(1),
                };
                handler.handle_packets(now, &meta, &packet);
            }
            Inbound::Opened(id, local) => {
                match self.sockets.get_mut(&(id.index, id.epoch)) {
                    Some(Socket::Tcp(_, connection)) if !connection.closing => {
                        connection.open = true;
                    }
                    Some(Socket::Udp(_, socket)) if !socket.closing => {}
                    _ => return,
                }
                handler.handle_egress(now, EgressEvent::Opened { id, local });
                self.to_relay.push(now, Inbound::Tcp(id));
            }
            Inbound::UdpReceived(id, payload) => {
                if self.sockets.contains_key(&(id.index, id.epoch)) {
                    let segment_size = payload.len();
                    let event = EgressEvent::UdpReceived { id, train: &payload, segment_size };
                    handler.handle_egress(now, event);
                }
            }
            Inbound::UdpSent(id, datagrams, bytes) => {
                handler.handle_egress(now, EgressEvent::UdpSent { id, datagrams, bytes });
            }
            Inbound::UdpDropped(id, datagrams, bytes, error) => {
                let event = EgressEvent::UdpDropped { id, datagrams, bytes, error };
                handler.handle_egress(now, event);
            }
            Inbound::Tcp(id) => self.tcp_turn(id, handler),
            Inbound::Failed(id, error) => {
                if self.sockets.contains_key(&(id.index, id.epoch)) {
                    handler.handle_egress(now, EgressEvent::Failed { id, error });
                }
            }
            Inbound::Closed(id) => {
                self.sockets.remove(&(id.index, id.epoch)).expect("closed once");
                handler.handle_egress(now, EgressEvent::Closed { id });
            }
        }
    }
}

impl Io for SimIo {
    fn take_buffer(&mut self) -> Option<Vec<u8>> {
        if self.in_flight >= self.buffers {
            return None;
        }
        self.in_flight += 1;
        Some(self.pool.pop().unwrap_or_else(|| Vec::with_capacity(MAX_TRAIN_BYTES)))
    }

    fn give_back(&mut self, mut buffer: Vec<u8>) {
        self.in_flight -= 1;
        buffer.clear();
        self.pool.push(buffer);
    }

    fn transmit(&mut self, transmit: &Transmit, mut buffer: Vec<u8>) {
        assert!(buffer.len() <= MAX_TRAIN_BYTES && !buffer.is_empty());
        let size = transmit.segment_size.unwrap_or(buffer.len());
        assert!(buffer.len().div_ceil(size) <= MAX_TRAIN_SEGMENTS);
        for packet in buffer.chunks(size) {
            let queued = match &self.link.bottleneck {
                Some(link) => link.carry(&mut self.free_at, self.now, packet.len()),
                None => Some(Duration::ZERO),
            };
            let carried = self.link.carry(&mut self.rng, packet.len());
            if let (Some(queued), Some(delay)) = (queued, carried) {
                let delay = queued + delay;
                self.to_clients.push(self.now + delay, (transmit.destination, packet.to_vec()));
            }
        }
        buffer.clear();
        self.pool.push(buffer);
    }

    fn egress(&mut self, op: EgressOp, mut buffer: Vec<u8>) {
        match op {
            EgressOp::UdpOpen { id, target, .. } => self.open(id, target, Transport::Udp),
            EgressOp::TcpConnect { id, target, .. } => self.open(id, target, Transport::Tcp),
            EgressOp::UdpSend { id, segment_size, datagrams } => {
                self.udp_send(id, segment_size, datagrams, &buffer);
            }
            EgressOp::TcpSend { id } => {
                assert!(!buffer.is_empty(), "an empty send");
                let (connection, _) = self.tcp(id);
                assert!(connection.open || matches!(connection.target, TcpTarget::Resets { .. }));
                assert!(!connection.closing && !connection.shutdown, "{id:?}: send after FIN");
                connection.queued.extend(&buffer);
                self.after(Duration::ZERO, Inbound::Tcp(id));
            }
            EgressOp::TcpCredit { id, bytes } => {
                let (connection, _) = self.tcp(id);
                assert!(bytes > 0 && !connection.closing);
                connection.credit += bytes;
                self.after(Duration::ZERO, Inbound::Tcp(id));
            }
            EgressOp::TcpShutdown { id } => {
                let (connection, _) = self.tcp(id);
                assert!(!connection.closing && !connection.shutdown, "{id:?}: FIN twice");
                connection.shutdown = true;
                self.after(Duration::ZERO, Inbound::Tcp(id));
            }
            EgressOp::Close { id, reset } => {
                let socket = self.sockets.get_mut(&(id.index, id.epoch));
                let (closing, remote) = match socket.expect("a socket that is open") {
                    Socket::Udp(remote, socket) => (&mut socket.closing, *remote),
                    Socket::Tcp(remote, connection) => {
                        if reset && connection.open {
                            self.resets.insert(*remote);
                        }
                        (&mut connection.closing, *remote)
                    }
                };
                assert!(!std::mem::replace(closing, true), "{id:?} to {remote} is closed twice");
                self.after(Duration::ZERO, Inbound::Closed(id));
            }
        }
        buffer.clear();
        self.pool.push(buffer);
    }

    fn turn<H: Handler>(
        &mut self,
        _deadline: Option<Instant>,
        handler: &mut H,
    ) -> std::io::Result<Instant> {
        self.in_flight = 0;
        // What is due now; what follows from it belongs to the next turn.
        let mut due = Vec::new();
        while let Some(inbound) = self.to_relay.pop(self.now) {
            due.push(inbound);
        }
        for inbound in due {
            self.deliver(inbound, handler);
        }
        Ok(self.now)
    }
}
