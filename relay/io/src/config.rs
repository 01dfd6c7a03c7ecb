//! The named limits of a backend, and what it counts.

use std::time::Duration;

use crate::send::Outcome;

/// Bytes after which a socket, or a group of buffers, has given enough for one turn. What a turn
/// brings is read again by the engine and then sent, so it should fit the second-level cache.
pub(crate) const TURN_BYTES: usize = 512 << 10;

/// How long the report of UDP datagrams that the kernel took may wait for company. Under load the
/// next packets come sooner, and a turn is saved.
pub(crate) const REPORT_WITHIN: Duration = Duration::from_millis(1);

/// The limits of one worker's backend. The defaults fit a worker with 10 Gbit/s of traffic.
#[derive(Clone, Debug)]
pub struct IoConfig {
    /// Send buffers of 64 KiB. They are allocated as they are needed; when all are in use
    /// `take_buffer` answers `None`, so this bounds both memory and the work of one turn.
    pub send_buffers: usize,
    /// Receive buffers for client-facing sockets, 64 KiB each, allocated as they are needed.
    /// Rounded up to a power of two.
    pub client_buffers: u16,
    /// Receive buffers that all target-facing sockets of the worker share.
    pub target_buffers: u16,
    /// Target-facing sockets at a time; `EgressId::index` must be below it.
    pub egress_sockets: u32,
    /// Completions (io_uring) or socket reads (poll) that one turn handles before the engine gets
    /// to run again.
    pub events_per_turn: usize,
    /// Bytes asked for as the kernel's send and receive buffer of each target-facing UDP socket.
    /// The kernel's default of 208 KiB holds three trains.
    pub target_socket_bytes: usize,
    /// How long to look for the next packet before sleeping, while packets come that fast; zero
    /// to sleep at once, the default. An idle worker sleeps in any case.
    pub spin: Duration,
}

impl Default for IoConfig {
    fn default() -> Self {
        IoConfig {
            send_buffers: 256,
            client_buffers: 256,
            target_buffers: 256,
            egress_sockets: 65_536,
            events_per_turn: 512,
            target_socket_bytes: 1 << 20,
            spin: Duration::ZERO,
        }
    }
}

/// Counters of one backend. They only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoStats {
    /// Turns, and among them those that woke up without any event.
    pub turns: u64,
    pub turns_idle: u64,
    /// System calls that wait or submit (io_uring_enter, epoll_wait).
    pub enters: u64,
    /// Waits that began by polling, and among them those that ended without sleeping.
    pub spins: u64,
    pub spins_hit: u64,
    /// Wake-ups by a [`crate::Waker`].
    pub wakes: u64,
    /// Client-facing trains and bytes.
    pub client_rx_trains: u64,
    pub client_rx_bytes: u64,
    pub client_tx_trains: u64,
    pub client_tx_bytes: u64,
    /// Client-facing trains that the kernel refused, by what it said.
    pub client_tx_full: u64,
    pub client_tx_errors: u64,
    /// Target-facing UDP trains and bytes.
    pub target_rx_trains: u64,
    pub target_rx_bytes: u64,
    pub target_tx_trains: u64,
    pub target_tx_bytes: u64,
    /// Target-facing UDP trains dropped because the socket's send buffer was full.
    pub target_tx_full: u64,
    /// TCP bytes.
    pub tcp_rx_bytes: u64,
    pub tcp_tx_bytes: u64,
    /// Packets that arrived larger than the receive buffer (MSG_TRUNC); they are dropped.
    pub rx_truncated: u64,
    /// Packets that the kernel dropped because a client-facing socket was full (SO_RXQ_OVFL).
    pub rx_overflow: u64,
    /// Receives that ended because no buffer was provided; they go on when one is back.
    pub rx_no_buffer: u64,
    /// Times that `take_buffer` had nothing to give.
    pub tx_no_buffer: u64,
    /// Sockets on which segmentation offload was turned off after EIO or EINVAL.
    pub gso_disabled: u64,
    /// Completions that did not fit the completion queue at once.
    pub cq_overflow: u64,
    /// Target-facing sockets opened, failed to open, and closed.
    pub egress_opened: u64,
    pub egress_open_failed: u64,
    pub egress_closed: u64,
    /// AF_XDP: frames received and sent.
    pub xsk_rx_frames: u64,
    pub xsk_tx_frames: u64,
    /// Frames that the kernel dropped before the receive ring, which was full or had no memory.
    pub xsk_rx_dropped: u64,
    /// Frames that belong to no flow of ours, and those whose checksum is wrong.
    pub xsk_foreign: u64,
    pub xsk_bad_checksum: u64,
    /// Frames that arrived for another worker: handed over, and turned away by its full queue.
    pub xsk_crossed: u64,
    pub xsk_crossed_lost: u64,
    /// Trains sent by a kernel socket because the neighbour was unknown or to be confirmed.
    pub xsk_kernel_sends: u64,
}

impl IoStats {
    /// Bytes that came in from anywhere.
    pub(crate) fn rx_bytes(&self) -> u64 {
        self.client_rx_bytes + self.target_rx_bytes + self.tcp_rx_bytes
    }

    /// Counts a client-facing train.
    pub(crate) fn count_client(&mut self, outcome: &Outcome) {
        self.client_tx_trains += u64::from(outcome.sent_datagrams > 0);
        self.client_tx_bytes += outcome.sent_bytes;
        if outcome.dropped_datagrams > 0 {
            match outcome.drop_errno {
                libc::EAGAIN | libc::ENOBUFS => self.client_tx_full += 1,
                _ => self.client_tx_errors += 1,
            }
        }
    }

    /// Counts a target-facing UDP train.
    pub(crate) fn count_target(&mut self, outcome: &Outcome) {
        self.target_tx_trains += u64::from(outcome.sent_datagrams > 0);
        self.target_tx_bytes += outcome.sent_bytes;
        if matches!(outcome.drop_errno, libc::EAGAIN | libc::ENOBUFS) {
            self.target_tx_full += 1;
        }
    }
}
