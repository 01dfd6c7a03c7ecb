//! What a worker shows of itself, a few times per second and without ever waiting for a reader.

use weir_core::EngineStats;
use weir_io::IoStats;

use super::latency::Latency;

/// One worker's state, as of its last publication.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub engine: EngineStats,
    pub turns: TurnStats,
    /// Counters of the backend: name, help, value.
    pub io: Vec<(&'static str, &'static str, u64)>,
    pub latency: Latency,
    pub drained: bool,
}

/// Counters of the turn loop.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TurnStats {
    pub turns: u64,
    /// Turns that ended for want of send buffers.
    pub starved: u64,
    /// Trains received for another worker and handed over.
    pub strays_out: u64,
    /// Trains handed over by other workers.
    pub strays_in: u64,
    /// Trains that the full queue of their worker turned away.
    pub strays_lost: u64,
    /// Questions that the control plane had no room for.
    pub questions_refused: u64,
}

impl TurnStats {
    /// Name, help and value of every counter.
    pub(crate) fn entries(&self) -> [(&'static str, &'static str, u64); 6] {
        [
            ("turns", "Turns of the worker's loop.", self.turns),
            ("turns_starved", "Turns that ended for want of send buffers.", self.starved),
            ("strays_out", "Trains received for another worker and handed over.", self.strays_out),
            ("strays_in", "Trains handed over by other workers.", self.strays_in),
            (
                "strays_lost",
                "Trains that the full queue of their worker turned away.",
                self.strays_lost,
            ),
            (
                "questions_refused",
                "Questions the control plane had no room for.",
                self.questions_refused,
            ),
        ]
    }
}

/// Name, help and value of every counter of a backend.
pub(super) fn io_entries(io: &IoStats) -> Vec<(&'static str, &'static str, u64)> {
    vec![
        ("turns", "Turns of the backend.", io.turns),
        ("turns_idle", "Turns that woke up without any event.", io.turns_idle),
        ("enters", "System calls that wait or submit.", io.enters),
        ("wakes", "Wake-ups by another thread.", io.wakes),
        ("client_rx_trains", "Client-facing trains received.", io.client_rx_trains),
        ("client_rx_bytes", "Client-facing bytes received.", io.client_rx_bytes),
        ("client_tx_trains", "Client-facing trains sent.", io.client_tx_trains),
        ("client_tx_bytes", "Client-facing bytes sent.", io.client_tx_bytes),
        (
            "client_tx_full",
            "Client-facing trains lost: the send buffer was full.",
            io.client_tx_full,
        ),
        (
            "client_tx_errors",
            "Client-facing trains lost: the kernel refused them.",
            io.client_tx_errors,
        ),
        ("target_rx_trains", "UDP trains received from targets.", io.target_rx_trains),
        ("target_rx_bytes", "UDP bytes received from targets.", io.target_rx_bytes),
        ("target_tx_trains", "UDP trains sent to targets.", io.target_tx_trains),
        ("target_tx_bytes", "UDP bytes sent to targets.", io.target_tx_bytes),
        (
            "target_tx_full",
            "UDP trains dropped: the socket's send buffer was full.",
            io.target_tx_full,
        ),
        ("tcp_rx_bytes", "TCP bytes received from targets.", io.tcp_rx_bytes),
        ("tcp_tx_bytes", "TCP bytes sent to targets.", io.tcp_tx_bytes),
        ("rx_truncated", "Packets larger than the receive buffer.", io.rx_truncated),
        (
            "rx_overflow",
            "Packets the kernel dropped: a client-facing socket was full.",
            io.rx_overflow,
        ),
        ("rx_no_buffer", "Receives that ended because no buffer was provided.", io.rx_no_buffer),
        ("tx_no_buffer", "Times that no send buffer was free.", io.tx_no_buffer),
        ("gso_disabled", "Sockets on which segmentation offload was turned off.", io.gso_disabled),
        ("cq_overflow", "Completions that did not fit the completion queue.", io.cq_overflow),
        ("egress_opened", "Target-facing sockets opened.", io.egress_opened),
        ("egress_open_failed", "Target-facing sockets that failed to open.", io.egress_open_failed),
        ("egress_closed", "Target-facing sockets closed.", io.egress_closed),
        ("xsk_rx_frames", "AF_XDP frames received.", io.xsk_rx_frames),
        ("xsk_tx_frames", "AF_XDP frames sent.", io.xsk_tx_frames),
        ("xsk_rx_dropped", "Frames lost before a full AF_XDP ring.", io.xsk_rx_dropped),
        ("xsk_foreign", "AF_XDP frames that belong to no flow.", io.xsk_foreign),
        ("xsk_bad_checksum", "AF_XDP frames with a wrong checksum.", io.xsk_bad_checksum),
        ("xsk_crossed", "AF_XDP frames handed to the worker of their port.", io.xsk_crossed),
        (
            "xsk_crossed_lost",
            "AF_XDP frames that the full queue of their worker turned away.",
            io.xsk_crossed_lost,
        ),
        (
            "xsk_kernel_sends",
            "Trains sent by a kernel socket for want of a fresh neighbour.",
            io.xsk_kernel_sends,
        ),
    ]
}
