//! The engine, its clients and a clock, and the turns they take.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::StreamId;
use weir_core::Engine;
use weir_core::port::{EgressEvent, EgressId, EgressOp, PacketMeta};
use weir_sim::world::RELAY;
use weir_sim::{Client, ClientOptions, relay_config};

use crate::engine_side::{self, Train};
use crate::memory_io::{MemoryIo, TableLedger};

/// Virtual time between two turns: about that of a busy worker, and the clients' round trip time.
const STEP: Duration = Duration::from_micros(200);

/// Datagrams of a client's train: what one UDP_SEGMENT send carries.
const CLIENT_TRAIN: usize = 44;

/// What every payload is made of.
static PAYLOAD: [u8; 65_535] = [0x5a; 65_535];

/// `len` bytes of any content.
pub(crate) fn payload(len: usize) -> &'static [u8] {
    &PAYLOAD[..len]
}

/// A tunnel, by both of its ends.
#[derive(Clone, Copy)]
pub(crate) struct Tunnel {
    pub(crate) client: usize,
    pub(crate) stream: StreamId,
    pub(crate) egress: EgressId,
}

pub(crate) struct Rig {
    pub(crate) engine: Engine,
    pub(crate) io: MemoryIo,
    pub(crate) ledger: TableLedger,
    pub(crate) clients: Vec<Client>,
    pub(crate) now: Instant,
    /// For the next turn.
    pub(crate) trains: Vec<Train>,
    pub(crate) events: Vec<EgressEvent<'static>>,
    /// What the engine's calls took since the last lap.
    spent: Duration,
    laps: Vec<Duration>,
    /// UDP datagrams and TCP bytes that left for targets since they were last cleared.
    pub(crate) datagrams_out: u64,
    pub(crate) bytes_out: u64,
    /// Trains to targets and packets to clients, likewise.
    pub(crate) trains_out: u64,
    pub(crate) packets_out: u64,
    /// Packets for clients that are not in this process.
    pub(crate) undelivered: Vec<(usize, Vec<u8>)>,
    /// Whether new clients resume the session of the one before.
    pub(crate) resume: bool,
    /// Bytes that may be read from TCP targets, by the order of their tunnels' opening.
    pub(crate) credit: Vec<usize>,
    opened: Vec<EgressId>,
    /// Remembers tickets.
    sessions: Arc<rustls::ClientConfig>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let mut config = relay_config();
        config.limits.connections = 1 << 20;
        config.limits.retry_above = 1 << 20;
        let engine = Engine::new(config, [7; 32], now).expect("a valid configuration");
        Rig {
            engine,
            io: MemoryIo::default(),
            ledger: TableLedger::default(),
            clients: Vec::new(),
            now,
            trains: Vec::new(),
            events: Vec::new(),
            spent: Duration::ZERO,
            laps: Vec::new(),
            datagrams_out: 0,
            bytes_out: 0,
            trains_out: 0,
            packets_out: 0,
            undelivered: Vec::new(),
            resume: false,
            credit: Vec::new(),
            sessions: weir_sim::tls::client(),
            opened: Vec::new(),
        }
    }

    /// A client that is about to connect.
    pub(crate) fn add_client(&mut self) -> usize {
        let n = self.clients.len();
        // Windows that never are the limit: what is measured is the relay.
        let options = ClientOptions {
            stream_window: 8 << 20,
            initial_window: Some(64 << 20),
            tls: self.resume.then(|| self.sessions.clone()),
            ..ClientOptions::default()
        };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&(n as u64).to_le_bytes());
        self.clients.push(Client::new(address(n), RELAY, options, seed, self.now));
        n
    }

    /// A client that has exchanged SETTINGS with the relay.
    pub(crate) fn connect(&mut self) -> usize {
        let client = self.add_client();
        while self.clients[client].settings.is_none() {
            self.exchange();
        }
        self.exchange();
        client
    }

    /// A UDP tunnel to a target of its own.
    pub(crate) fn open_udp(&mut self, client: usize) -> Tunnel {
        let target = format!("1.2.3.4:{}", 10_000 + self.opened.len());
        let stream = self.clients[client].open_udp(&target);
        self.opened(client, stream)
    }

    /// A TCP tunnel to a target of its own.
    pub(crate) fn open_tcp(&mut self, client: usize) -> Tunnel {
        let target = format!("1.2.3.4:{}", 10_000 + self.opened.len());
        let stream = self.clients[client].open_tcp(&target);
        self.opened(client, stream)
    }

    fn opened(&mut self, client: usize, stream: StreamId) -> Tunnel {
        let before = self.opened.len();
        while self.clients[client].status(stream) == 0 {
            self.exchange();
        }
        assert_eq!(self.clients[client].status(stream), 200);
        Tunnel { client, stream, egress: self.opened[before] }
    }

    /// Clients send what they have, and the relay takes a turn.
    pub(crate) fn exchange(&mut self) {
        for n in 0..self.clients.len() {
            self.pump(n);
        }
        self.turn();
    }

    /// A client acts on what it got and sends what it has.
    pub(crate) fn pump(&mut self, n: usize) {
        let client = &mut self.clients[n];
        for (segment_size, train) in client.pump_trains(self.now, CLIENT_TRAIN) {
            self.trains.push((meta(client.address, segment_size), train));
        }
    }

    /// One turn of the relay, and then the network.
    pub(crate) fn turn(&mut self) {
        let events = std::mem::take(&mut self.events);
        let start = Instant::now();
        engine_side::packets(&mut self.engine, self.now, &self.trains);
        engine_side::egress(&mut self.engine, self.now, events);
        engine_side::flush(&mut self.engine, self.now, &mut self.io);
        engine_side::publish(&mut self.engine, &mut self.ledger);
        self.spent += start.elapsed();
        self.trains.clear();
        self.now += STEP;
        for (transmit, buffer) in std::mem::take(&mut self.io.sent) {
            let n = client_at(transmit.destination);
            let size = transmit.segment_size.unwrap_or(buffer.len());
            for packet in buffer.chunks(size) {
                self.packets_out += 1;
                match self.clients.get_mut(n) {
                    Some(client) => client.handle_packet(RELAY, packet, self.now),
                    None => self.undelivered.push((n, packet.to_vec())),
                }
            }
            self.io.recycle(buffer);
        }
        for (op, buffer) in std::mem::take(&mut self.io.ops) {
            self.kernel(op, buffer.len());
            self.io.recycle(buffer);
        }
    }

    /// Forgets what was measured so far. Callgrind is told to do the same when it gets here:
    /// `--zero-before='hot_path::rig::Rig::reset'`.
    #[inline(never)]
    pub(crate) fn reset(&mut self) {
        self.spent = Duration::ZERO;
        self.laps.clear();
        (self.datagrams_out, self.bytes_out) = (0, 0);
        (self.trains_out, self.packets_out) = (0, 0);
    }

    /// The end of one of many equal pieces of work.
    pub(crate) fn lap(&mut self) {
        self.laps.push(std::mem::take(&mut self.spent));
    }

    /// What the engine's calls took in all laps, had each taken as long as the median: a machine
    /// that does other things meanwhile changes few of them.
    pub(crate) fn engine_time(&mut self) -> Duration {
        self.laps.sort_unstable();
        let median = self.laps.get(self.laps.len() / 2).copied().unwrap_or_default();
        median * self.laps.len() as u32
    }

    fn kernel(&mut self, op: EgressOp, len: usize) {
        match op {
            EgressOp::UdpOpen { id, .. } | EgressOp::TcpConnect { id, .. } => {
                self.opened.push(id);
                self.credit.push(0);
                let local = SocketAddr::from(([203, 0, 113, 1], 20_000));
                self.events.push(EgressEvent::Opened { id, local });
            }
            EgressOp::UdpSend { id, datagrams, .. } => {
                self.datagrams_out += u64::from(datagrams);
                self.trains_out += 1;
                self.events.push(EgressEvent::UdpSent { id, datagrams, bytes: len as u64 });
            }
            EgressOp::TcpSend { id } => {
                self.bytes_out += len as u64;
                self.trains_out += 1;
                self.events.push(EgressEvent::TcpSent { id, bytes: len });
            }
            EgressOp::TcpCredit { id, bytes } => {
                let at = self.opened.iter().position(|opened| *opened == id).expect("it is open");
                self.credit[at] += bytes;
            }
            EgressOp::TcpShutdown { .. } => {}
            EgressOp::Close { id, .. } => self.events.push(EgressEvent::Closed { id }),
        }
    }
}

pub(crate) fn meta(remote: SocketAddr, segment_size: usize) -> PacketMeta {
    PacketMeta { remote, local_ip: Some(RELAY.ip()), ecn: None, segment_size }
}

/// Every client has a source of its own, so that limits per source stay out of the way.
pub(crate) fn address(n: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from_bits(0x0800_0001 + n as u32), 4000))
}

pub(crate) fn client_at(address: SocketAddr) -> usize {
    match address {
        SocketAddr::V4(v4) => (v4.ip().to_bits() - 0x0800_0001) as usize,
        SocketAddr::V6(_) => unreachable!("clients are IPv4"),
    }
}
