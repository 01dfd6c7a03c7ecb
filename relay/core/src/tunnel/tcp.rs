//! CONNECT (RFC 9110 section 9.3.6, RFC 9114 section 4.4): a byte stream in each direction.
//!
//! Uplink the engine holds nothing: it reads the request stream only as fast as the socket takes
//! it, so QUIC flow control holds the client back. Downlink it lets the backend read no more than
//! what fits its window, so TCP flow control holds the target back.

use std::collections::VecDeque;

use crate::port::{EgressId, EgressOp};

/// Bytes handed to the backend that the kernel has not taken yet. Enough to keep a socket busy
/// between two turns; the rest stays in the client's flow control window.
pub(crate) const UP_IN_FLIGHT_MAX: usize = 256 << 10;

/// Read credit that is worth a read, however little the payer may have.
const CREDIT_MIN: usize = 4 << 10;

#[derive(Debug)]
pub(crate) struct Tcp {
    /// Lengths of the sends under way, oldest first.
    sends: VecDeque<usize>,
    in_flight: usize,
    pub(crate) up: Up,
    pub(crate) down: Down,
    /// Read credit to give to the backend.
    credit_due: usize,
    window: usize,
}

/// Client to target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Up {
    Open,
    /// The client finished; FIN goes to the target.
    Ending,
    Ended,
}

/// Target to client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Down {
    Open,
    /// The target sent FIN; the request stream is finished when all before it is written.
    Ending,
    Ended,
}

impl Tcp {
    pub(crate) fn new(window: usize) -> Self {
        Tcp {
            sends: VecDeque::new(),
            in_flight: 0,
            up: Up::Open,
            down: Down::Open,
            credit_due: window,
            window,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.credit_due = 0;
    }

    /// Bytes that the backend can be given now, if the payer may have `open` forwarded.
    pub(crate) fn room(&self, open: u64) -> usize {
        let most = usize::try_from(open).unwrap_or(usize::MAX).min(UP_IN_FLIGHT_MAX);
        most.saturating_sub(self.in_flight)
    }

    pub(crate) fn handed_over(&mut self, bytes: usize) {
        self.in_flight += bytes;
        self.sends.push_back(bytes);
    }

    /// The kernel took `bytes`; returns how many sends that completes.
    pub(crate) fn sent(&mut self, bytes: usize) -> u64 {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        let mut left = bytes;
        let mut complete = 0;
        while let Some(first) = self.sends.front_mut() {
            if *first > left {
                *first -= left;
                break;
            }
            left -= *first;
            self.sends.pop_front();
            complete += 1;
        }
        complete
    }

    /// The client's connection took `bytes` more: the target may send as many.
    pub(crate) fn taken(&mut self, bytes: usize) {
        self.credit_due += bytes;
    }

    /// Credit worth an operation. A quarter of the window at a time: the rest is either with the
    /// backend, so data still comes, or in the queue, so more credit will be due. Not much more
    /// than the `open` bytes that the payer may have forwarded now.
    pub(crate) fn credit(&mut self, id: EgressId, open: u64) -> Option<EgressOp> {
        if self.credit_due < (self.window / 4).max(1) || self.down != Down::Open {
            return None;
        }
        let open = usize::try_from(open).unwrap_or(usize::MAX);
        let bytes = self.credit_due.min(open.max(CREDIT_MIN));
        self.credit_due -= bytes;
        Some(EgressOp::TcpCredit { id, bytes })
    }

    /// Whether nothing will move any more.
    pub(crate) fn is_over(&self) -> bool {
        self.up == Up::Ended && self.down == Down::Ended && self.in_flight == 0
    }

    /// Whether FIN can go out: the client finished and every byte before is handed over. The
    /// backend sends it behind what it has queued.
    pub(crate) fn shutdown(&mut self, id: EgressId) -> Option<EgressOp> {
        if self.up != Up::Ending {
            return None;
        }
        self.up = Up::Ended;
        Some(EgressOp::TcpShutdown { id })
    }
}
