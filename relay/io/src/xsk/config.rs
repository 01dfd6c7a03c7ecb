//! What the AF_XDP backend is told, and what it wants from whoever owns the kernel programs.

use std::io;
use std::ops::RangeInclusive;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use weir_core::port::{EgressId, FlowTuple};

use super::crossing::Crossing;
use crate::send::Outcome;

/// One interface whose packets the XDP program redirects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XskInterface {
    pub index: u32,
    pub name: String,
    /// Receive queues: each has a socket of its own.
    pub queues: u32,
}

/// Whether the driver may hand its own pages over (`io.xsk.zero_copy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ZeroCopy {
    /// If the driver can, else by copying; the reason is in [`super::Xsk::notes`].
    #[default]
    Auto,
    /// Or fail.
    On,
    /// Copy, also where the driver could do without.
    Off,
}

/// The configuration of one worker's AF_XDP backend.
#[derive(Debug)]
pub struct XskConfig {
    /// Worker `w` of `workers` has the queues `q` with `q % workers == w` of each interface.
    pub worker: usize,
    pub workers: usize,
    pub interfaces: Vec<XskInterface>,
    /// Local ports of exit flows, for all workers together; each takes an equal part. They must be
    /// kept from the kernel's own choice: see [`super::host::unreserved_ports`].
    pub exit_ports: RangeInclusive<u16>,
    pub zero_copy: ZeroCopy,
    /// How long a system call may poll the driver's queue itself (SO_BUSY_POLL); zero: never.
    pub busy_poll: Duration,
    /// Datagrams in a client-facing train from which it leaves by the kernel's socket (UDP_SEGMENT)
    /// where frames are copied anyway. `usize::MAX`: never.
    pub kernel_train: usize,
    /// Where a frame goes that arrived on a queue of the wrong worker; one for all workers.
    pub crossing: Crossing,
    pub registrar: Box<dyn XskRegistrar>,
}

/// What left through AF_XDP, which the kernel's egress program doesn't see. Totals since the flow,
/// or the backend, was opened; they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub packets: u64,
    /// UDP payload.
    pub payload_bytes: u64,
    /// Ethernet frames without preamble and frame check sequence.
    pub wire_bytes: u64,
}

impl Sent {
    /// Adds the frames of a train, whose headers have `header` bytes each.
    pub(super) fn add(&mut self, outcome: &Outcome, header: usize) {
        let packets = u64::from(outcome.sent_datagrams);
        self.packets += packets;
        self.payload_bytes += outcome.sent_bytes;
        self.wire_bytes += outcome.sent_bytes + packets * header as u64;
    }
}

/// The owner of the kernel programs, as the backend of one worker sees it. It is called by the
/// worker's thread only.
///
/// An exit flow is told to [`weir_core::port::FlowHook::opened`], then to
/// [`XskRegistrar::opened`], and at its end to [`XskRegistrar::sent`], then to
/// [`weir_core::port::FlowHook::closed`].
pub trait XskRegistrar: Send + std::fmt::Debug {
    /// From now on what the program redirects of this queue goes to `socket`.
    fn register(&mut self, interface: u32, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()>;
    /// The socket is about to be closed. What arrives from now on goes to the kernel.
    fn unregister(&mut self, interface: u32, queue: u32);
    /// From now on the packets of a flow are to be redirected. Refused: a kernel socket is used.
    fn opened(&mut self, id: EgressId, flow: &FlowTuple) -> io::Result<()>;
    /// The totals of a flow, after its frames were put into a transmit ring: at most once per turn
    /// and flow, and for the last time before [`weir_core::port::FlowHook::closed`].
    fn sent(&mut self, id: EgressId, flow: &FlowTuple, total: &Sent);
    /// The totals of all client-facing frames, at most once per turn.
    fn sent_to_clients(&mut self, total: &Sent);
}
