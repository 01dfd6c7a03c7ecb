//! UDP: trains in and out through one of the relay's backends.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use weir_core::port::{
    EgressEvent, EgressId, EgressOp, FlowHook, FlowTuple, Handler, Io, MAX_TRAIN_BYTES,
    MAX_TRAIN_SEGMENTS, PacketMeta, Transmit,
};
use weir_io::{Backend, BackendKind, ClientOptions, IoConfig, Waker, bind_workers, select};

use super::FloorArgs;
use super::aead::Seal;

/// Clients, and exit sockets, at a time. A new one beyond it is refused: none is ever evicted, so
/// that a run measures what it says.
const CLIENTS_MAX: usize = 8_192;
/// Trains that wait to be sent in one turn; what comes beyond them is dropped and counted. As many
/// as a turn has events.
const QUEUED_TRAINS: usize = 512;

/// One worker without an engine.
#[derive(Debug)]
pub(super) struct Forwarder {
    io: Backend,
    table: Forward,
    listen: SocketAddr,
    singly: bool,
}

/// Where the backend delivers.
#[derive(Debug)]
struct Forward {
    target: SocketAddr,
    seal: Option<Seal>,
    clients: HashMap<SocketAddr, EgressId>,
    /// By the index of the exit socket.
    remotes: Vec<Transmit>,
    /// Exit sockets to open before anything is sent.
    opens: Vec<EgressId>,
    queue: Vec<Train>,
    spare: Vec<Vec<u8>>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    refused: u64,
    dropped: u64,
    failed: u64,
}

/// Datagrams of one size to one place.
#[derive(Debug)]
struct Train {
    to: Destination,
    segment_size: usize,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Destination {
    Target(EgressId),
    /// The client of this exit socket.
    Client(u32),
}

#[derive(Debug)]
struct NoHook;

impl FlowHook for NoHook {
    fn opened(&mut self, _: EgressId, _: &FlowTuple) {}
    fn closed(&mut self, _: EgressId, _: &FlowTuple) {}
}

impl Forwarder {
    pub(super) fn open(args: &FloorArgs, waker: &Waker) -> anyhow::Result<Forwarder> {
        let selection = select(args.backend.into())?;
        let mut workers = bind_workers(&[args.listen], 1, &ClientOptions::default())?;
        let sockets = workers.pop().context("one worker was asked for")?;
        let listen = sockets.iter().next().context("a listening socket")?.local();
        // Twice what is taken: a backend that was asked for a buffer in vain doesn't sleep.
        let mut config = IoConfig { send_buffers: 2 * QUEUED_TRAINS, ..IoConfig::default() };
        if let Some(micros) = args.spin_us {
            config.spin = Duration::from_micros(micros);
        }
        ensure!(CLIENTS_MAX <= config.egress_sockets as usize, "too many clients for the backend");
        let io = Backend::open(selection.kind, &config, sockets, waker, Box::new(NoHook))?;
        let table = Forward {
            target: args.target,
            seal: if args.no_aead { None } else { Some(Seal::new()?) },
            clients: HashMap::new(),
            remotes: Vec::new(),
            opens: Vec::new(),
            queue: Vec::with_capacity(QUEUED_TRAINS),
            spare: Vec::with_capacity(QUEUED_TRAINS),
            counts: Counts::default(),
        };
        Ok(Forwarder { io, table, listen, singly: args.singly })
    }

    pub(super) fn listen(&self) -> SocketAddr {
        self.listen
    }

    pub(super) fn backend(&self) -> BackendKind {
        self.io.kind()
    }

    /// Receives, seals and sends once.
    pub(super) fn turn(&mut self) -> anyhow::Result<()> {
        while self.table.spare.len() < QUEUED_TRAINS
            && let Some(buffer) = self.io.take_buffer()
        {
            self.table.spare.push(buffer);
        }
        self.io.turn(None, &mut self.table).context("a turn of the backend")?;
        for id in self.table.opens.drain(..) {
            let op = EgressOp::UdpOpen { id, target: self.table.target, source: None };
            self.io.egress(op, Vec::new());
        }
        let mut queue = std::mem::take(&mut self.table.queue);
        for mut train in queue.drain(..) {
            if let Some(seal) = &self.table.seal {
                seal.train(&mut train.bytes, train.segment_size);
            }
            if self.singly {
                self.send_singly(train);
            } else {
                self.send(train);
            }
        }
        self.table.queue = queue;
        Ok(())
    }

    /// The counters, as the last line of the output.
    pub(super) fn summary(&self) -> serde_json::Value {
        let (stats, counts) = (self.io.stats(), &self.table.counts);
        serde_json::json!({
            "event": "end", "clients": self.table.clients.len(), "turns": stats.turns,
            "enters": stats.enters, "client_rx_trains": stats.client_rx_trains,
            "client_rx_bytes": stats.client_rx_bytes, "client_tx_trains": stats.client_tx_trains,
            "target_rx_trains": stats.target_rx_trains, "target_tx_trains": stats.target_tx_trains,
            "target_tx_full": stats.target_tx_full, "client_tx_full": stats.client_tx_full,
            "spins": stats.spins, "spins_hit": stats.spins_hit, "rx_overflow": stats.rx_overflow, "rx_no_buffer": stats.rx_no_buffer,
            "refused": counts.refused, "dropped": counts.dropped, "failed": counts.failed,
        })
    }

    fn send(&mut self, train: Train) {
        let (bytes, segment_size) = (train.bytes.len(), train.segment_size);
        match train.to {
            Destination::Target(id) => {
                let datagrams = bytes.div_ceil(segment_size) as u32;
                let op = EgressOp::UdpSend { id, segment_size, datagrams };
                self.io.egress(op, train.bytes);
            }
            Destination::Client(index) => {
                let mut transmit = self.table.remotes[index as usize];
                transmit.segment_size = (bytes > segment_size).then_some(segment_size);
                self.io.transmit(&transmit, train.bytes);
            }
        }
    }

    fn send_singly(&mut self, train: Train) {
        let Train { to, segment_size, bytes } = train;
        for datagram in bytes.chunks(segment_size) {
            let Some(mut single) = self.io.take_buffer().or_else(|| self.table.spare.pop()) else {
                self.table.counts.dropped += 1;
                continue;
            };
            single.extend_from_slice(datagram);
            self.send(Train { to, segment_size, bytes: single });
        }
        self.io.give_back(bytes);
    }
}

impl Forward {
    fn client(&mut self, meta: &PacketMeta) -> Option<EgressId> {
        if let Some(id) = self.clients.get(&meta.remote) {
            return Some(*id);
        }
        if self.clients.len() >= CLIENTS_MAX {
            return None;
        }
        let id = EgressId { index: self.clients.len() as u32, epoch: 0 };
        self.clients.insert(meta.remote, id);
        self.remotes.push(Transmit {
            destination: meta.remote,
            src_ip: meta.local_ip,
            ecn: None,
            segment_size: None,
        });
        self.opens.push(id);
        Some(id)
    }

    /// Copies a train behind the last one if it goes to the same place in the same sizes.
    fn push(&mut self, to: Destination, segment_size: usize, train: &[u8]) {
        if let Some(last) = self.queue.last_mut()
            && last.to == to
            && last.segment_size == segment_size
            && last.bytes.len().is_multiple_of(segment_size)
            && last.bytes.len() + train.len()
                <= MAX_TRAIN_BYTES.min(MAX_TRAIN_SEGMENTS * segment_size)
        {
            last.bytes.extend_from_slice(train);
            return;
        }
        match self.spare.pop() {
            Some(mut bytes) => {
                bytes.extend_from_slice(train);
                self.queue.push(Train { to, segment_size, bytes });
            }
            None => self.counts.dropped += train.len().div_ceil(segment_size) as u64,
        }
    }
}

impl Handler for Forward {
    fn handle_packets(&mut self, _now: Instant, meta: &PacketMeta, train: &[u8]) {
        match self.client(meta) {
            Some(id) => self.push(Destination::Target(id), meta.segment_size, train),
            None => self.counts.refused += 1,
        }
    }

    fn handle_egress(&mut self, _now: Instant, event: EgressEvent<'_>) {
        match event {
            EgressEvent::UdpReceived { id, train, segment_size } if !train.is_empty() => {
                self.push(Destination::Client(id.index), segment_size, train);
            }
            EgressEvent::Failed { .. } => self.counts.failed += 1,
            EgressEvent::UdpDropped { datagrams, .. } => {
                self.counts.dropped += u64::from(datagrams);
            }
            _ => {}
        }
    }
}
