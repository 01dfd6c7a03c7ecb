//! The port between the engine and the outside world.
//!
//! The engine never does I/O. A worker's backend (`weir-io`: io_uring, poll; `weir-sim`: a seeded
//! network) hands it what arrived through [`Handler`] and carries out what it asks for through
//! [`Io`]. Everything here is plain data: no file descriptors, no clock, no protocol.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

pub use quinn_proto::EcnCodepoint;

use crate::ledger::TunnelCounters;

/// The most bytes that one train may carry in either direction: the largest UDP payload that the
/// kernel coalesces (UDP_GRO) or segments (UDP_SEGMENT).
pub const MAX_TRAIN_BYTES: usize = 65_535;

/// The most segments that the kernel accepts in one UDP_SEGMENT send (UDP_MAX_SEGMENTS before
/// Linux 6.9; newer kernels take 128).
pub const MAX_TRAIN_SEGMENTS: usize = 64;

/// Names one target-facing socket. The engine chooses it; an index is used again with the next
/// `epoch` only after [`EgressEvent::Closed`], so a late completion can't reach a new tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EgressId {
    pub index: u32,
    pub epoch: u32,
}

/// What is known of a client-facing train of QUIC packets.
#[derive(Clone, Copy, Debug)]
pub struct PacketMeta {
    /// The client's address.
    pub remote: SocketAddr,
    /// The address that it sent to (IP_PKTINFO), so that the reply leaves from it.
    pub local_ip: Option<IpAddr>,
    pub ecn: Option<EcnCodepoint>,
    /// Bytes of every UDP datagram in the train but the last, which may be shorter. Never 0.
    pub segment_size: usize,
}

/// A client-facing train to send; its bytes are in the buffer beside it.
#[derive(Clone, Copy, Debug)]
pub struct Transmit {
    pub destination: SocketAddr,
    pub src_ip: Option<IpAddr>,
    pub ecn: Option<EcnCodepoint>,
    /// `Some(n)`: a train of `n`-byte datagrams, the last may be shorter. `None`: one datagram.
    pub segment_size: Option<usize>,
}

/// Why a target-facing socket failed; a closed set, because status codes follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EgressError {
    Refused,
    Unreachable,
    TimedOut,
    Reset,
    /// The datagram doesn't fit the path MTU; the exit never fragments.
    TooBig,
    /// Out of descriptors, ports, memory or ring slots.
    NoResources,
    AddrInUse,
    /// Any other `errno`.
    Other(i32),
}

/// What happened on a target-facing socket.
#[derive(Debug)]
pub enum EgressEvent<'a> {
    /// The UDP socket is connected or the TCP handshake is complete.
    Opened { id: EgressId, local: SocketAddr },
    /// A GRO train. An empty train with `segment_size` 0 is one empty UDP datagram.
    UdpReceived { id: EgressId, train: &'a [u8], segment_size: usize },
    /// The kernel took these datagrams: the commit point of the uplink meter.
    UdpSent { id: EgressId, datagrams: u32, bytes: u64 },
    /// The kernel refused these datagrams; none of them left.
    UdpDropped { id: EgressId, datagrams: u32, bytes: u64, error: EgressError },
    /// At most as many bytes as the engine gave credit for.
    TcpReceived { id: EgressId, data: &'a [u8] },
    /// The target sent FIN.
    TcpEof { id: EgressId },
    /// The kernel took `bytes` more of what [`EgressOp::TcpSend`] handed over.
    TcpSent { id: EgressId, bytes: usize },
    /// Opening failed, or the socket broke. Fatal for TCP. For UDP it reports a queued ICMP error
    /// and the socket stays usable.
    Failed { id: EgressId, error: EgressError },
    /// Every kernel resource is gone and every completion was delivered; no event follows.
    Closed { id: EgressId },
}

/// What the engine asks for on target-facing sockets. A payload, if any, is in the buffer beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EgressOp {
    /// Opens a UDP socket connected to `target`, from `source` if it is given.
    UdpOpen { id: EgressId, target: SocketAddr, source: Option<IpAddr> },
    /// Sends the buffer as `datagrams` datagrams of `segment_size` bytes, the last may be shorter.
    /// An empty datagram goes alone, with `segment_size` 0.
    UdpSend { id: EgressId, segment_size: usize, datagrams: u32 },
    /// Opens a TCP connection.
    TcpConnect { id: EgressId, target: SocketAddr, source: Option<IpAddr> },
    /// Queues the buffer behind what was queued before.
    TcpSend { id: EgressId },
    /// Allows so many more bytes to be read. Without credit nothing is read: back-pressure.
    TcpCredit { id: EgressId, bytes: usize },
    /// Sends FIN after what is queued.
    TcpShutdown { id: EgressId },
    /// Closes at once; `reset` sends RST instead of FIN. Answered by [`EgressEvent::Closed`].
    Close { id: EgressId, reset: bool },
}

/// Takes events out of a backend. The engine implements it.
pub trait Handler {
    /// A client-facing train of QUIC packets.
    fn handle_packets(&mut self, now: Instant, meta: &PacketMeta, train: &[u8]);
    /// An event of a target-facing socket.
    fn handle_egress(&mut self, now: Instant, event: EgressEvent<'_>);
}

/// Carries out what the engine asks for. Operations are queued and reach the kernel in
/// [`Io::turn`], so that one turn costs one submission.
pub trait Io {
    /// An empty send buffer with room for [`MAX_TRAIN_BYTES`]. `None`: all are in flight, stop
    /// pulling from the engine until the next turn.
    fn take_buffer(&mut self) -> Option<Vec<u8>>;
    /// Returns a buffer that was not used.
    fn give_back(&mut self, buffer: Vec<u8>);
    /// Sends a client-facing train. A datagram that the kernel refuses is lost, as on any network.
    fn transmit(&mut self, transmit: &Transmit, buffer: Vec<u8>);
    /// Queues an operation on a target-facing socket.
    fn egress(&mut self, op: EgressOp, buffer: Vec<u8>);
    /// Submits what is queued, waits until something arrives, `deadline` passes or a waker fires,
    /// and delivers all events that are ready, within the budget of a turn. Returns the time at
    /// which it woke up: the one clock reading of the turn.
    fn turn<H: Handler>(
        &mut self,
        deadline: Option<Instant>,
        handler: &mut H,
    ) -> io::Result<Instant>;
}

/// The transport of an exit flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Tcp,
    Udp,
}

/// The 5-tuple of an exit flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowTuple {
    pub transport: Transport,
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

/// Told of every exit flow by the backend: `opened` when the local port is known and before the
/// first packet, `closed` after the last system call on the socket. The relay enters the flow into
/// the kernel's flow table here, so that no packet is counted without its owner.
pub trait FlowHook {
    fn opened(&mut self, id: EgressId, flow: &FlowTuple);
    fn closed(&mut self, id: EgressId, flow: &FlowTuple);
}

/// Where a tunnel's counters are published (ledger A).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotId(pub u32);

/// What the ledger says of a tunnel besides its counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Unique over all processes and hosts: random process epoch (64 bits), worker, counter.
    pub tunnel: u128,
    pub session: u64,
    /// The payer's channel; all zero for a grant that isn't billed.
    pub channel: [u8; 32],
    pub lane: u32,
    pub flow: FlowTuple,
}

/// Keeps the counters of open tunnels where they survive the process. Implemented by a file that
/// is mapped into memory (`weir-io`) and by a plain table (`weir-sim`).
pub trait Ledger {
    /// Opens a slot. `None`: the ledger is full and the tunnel must be refused.
    fn open(&mut self, entry: &LedgerEntry) -> Option<SlotId>;
    /// Publishes the counters of an open slot; at most once per turn and tunnel.
    fn publish(&mut self, slot: SlotId, counters: &TunnelCounters);
    /// Publishes the last counters; the exporter frees the slot when it has read them.
    fn close(&mut self, slot: SlotId, counters: &TunnelCounters);
}
