//! Ledger A: payload bytes and datagrams per tunnel and direction, at the commit point.

/// Why payload was dropped. The order is the layout of the ledger file and of the usage record:
/// append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// The tunnel's queue was full; the oldest went.
    QueueFull = 0,
    /// Larger than what the next hop can carry (path MTU, or the client's QUIC DATAGRAM limit).
    TooBig = 1,
    /// The payer's unpaid bytes have reached the credit window.
    Credit = 2,
    /// The kernel refused the send.
    SendFailed = 3,
    /// Left over when the tunnel closed.
    Closed = 4,
    /// A context ID that isn't registered, or an empty HTTP Datagram.
    UnknownContext = 5,
    /// More early data than is kept while a tunnel opens.
    Early = 6,
}

/// Number of [`DropReason`]s.
pub const DROP_REASONS: usize = 7;

impl DropReason {
    /// All reasons, in layout order.
    pub const ALL: [DropReason; DROP_REASONS] = [
        DropReason::QueueFull,
        DropReason::TooBig,
        DropReason::Credit,
        DropReason::SendFailed,
        DropReason::Closed,
        DropReason::UnknownContext,
        DropReason::Early,
    ];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            DropReason::QueueFull => "queue_full",
            DropReason::TooBig => "too_big",
            DropReason::Credit => "credit",
            DropReason::SendFailed => "send_failed",
            DropReason::Closed => "closed",
            DropReason::UnknownContext => "unknown_context",
            DropReason::Early => "early",
        }
    }
}

/// Bytes and datagrams. For TCP `datagrams` counts reads and writes and means nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub bytes: u64,
    pub datagrams: u64,
}

impl Amount {
    /// Adds one datagram of `bytes`.
    pub fn add(&mut self, bytes: usize) {
        self.add_many(1, bytes as u64);
    }

    /// Adds `datagrams` that hold `bytes` together.
    pub fn add_many(&mut self, datagrams: u64, bytes: u64) {
        self.bytes += bytes;
        self.datagrams += datagrams;
    }
}

/// One direction of a tunnel. Always: `received = forwarded + sum(dropped) + pending`, and nothing
/// is pending once the tunnel is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectionCounters {
    pub received: Amount,
    pub forwarded: Amount,
    pub dropped: [Amount; DROP_REASONS],
}

impl DirectionCounters {
    /// What is neither forwarded nor dropped yet. `None` when the equation is broken.
    pub fn pending(&self) -> Option<Amount> {
        let mut left = self.received;
        for done in self.dropped.iter().chain([&self.forwarded]) {
            left.bytes = left.bytes.checked_sub(done.bytes)?;
            left.datagrams = left.datagrams.checked_sub(done.datagrams)?;
        }
        Some(left)
    }

    /// Counts a drop.
    pub fn drop_one(&mut self, reason: DropReason, bytes: usize) {
        self.dropped[reason as usize].add(bytes);
    }
}

/// Both directions: `up` is client to target, `down` is target to client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunnelCounters {
    pub up: DirectionCounters,
    pub down: DirectionCounters,
}
