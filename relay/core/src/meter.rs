//! The meter: counters of one tunnel, and when they are published.
//!
//! Payload is counted as received where the engine first sees it, and as forwarded at one commit
//! point per direction: up, when the kernel took it; down, when the client's QUIC connection did.

use std::sync::Arc;

use crate::grants::Grant;
use crate::ledger::{DropReason, TunnelCounters};
use crate::port::SlotId;
use crate::stats::EngineStats;

#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) grant: Arc<Grant>,
    counters: TunnelCounters,
    slot: Option<SlotId>,
    /// Forwarded bytes that the credit line knows of.
    charged: u64,
    /// The payer is near its limit: what is forwarded is charged at once, not once a turn.
    pub(crate) eager: bool,
    /// Whether the tunnel is on the list of those to publish.
    pub(crate) listed: bool,
}

impl Meter {
    pub(crate) fn new(grant: Arc<Grant>) -> Self {
        let counters = TunnelCounters::default();
        Meter { grant, counters, slot: None, charged: 0, eager: false, listed: false }
    }

    pub(crate) fn counters(&self) -> &TunnelCounters {
        &self.counters
    }

    pub(crate) fn slot(&self) -> Option<SlotId> {
        self.slot
    }

    pub(crate) fn set_slot(&mut self, slot: SlotId) {
        self.slot = Some(slot);
    }

    pub(crate) fn up_received(&mut self, datagrams: u64, bytes: u64) {
        self.counters.up.received.add_many(datagrams, bytes);
    }

    pub(crate) fn up_forwarded(&mut self, stats: &mut EngineStats, datagrams: u64, bytes: u64) {
        self.counters.up.forwarded.add_many(datagrams, bytes);
        stats.up_bytes += bytes;
        stats.up_datagrams += datagrams;
        if self.eager {
            self.charge();
        }
    }

    pub(crate) fn up_dropped(
        &mut self,
        stats: &mut EngineStats,
        reason: DropReason,
        datagrams: u64,
        bytes: u64,
    ) {
        self.counters.up.dropped[reason as usize].add_many(datagrams, bytes);
        count_drop(stats, reason, datagrams);
    }

    pub(crate) fn down_received(&mut self, datagrams: u64, bytes: u64) {
        self.counters.down.received.add_many(datagrams, bytes);
    }

    pub(crate) fn down_forwarded(&mut self, stats: &mut EngineStats, datagrams: u64, bytes: u64) {
        self.counters.down.forwarded.add_many(datagrams, bytes);
        stats.down_bytes += bytes;
        stats.down_datagrams += datagrams;
        if self.eager {
            self.charge();
        }
    }

    pub(crate) fn down_dropped(
        &mut self,
        stats: &mut EngineStats,
        reason: DropReason,
        datagrams: u64,
        bytes: u64,
    ) {
        self.counters.down.dropped[reason as usize].add_many(datagrams, bytes);
        count_drop(stats, reason, datagrams);
    }

    /// Whatever is pending when the last socket is closed will never move again.
    pub(crate) fn settle(&mut self, stats: &mut EngineStats) {
        let pending = |counters: &crate::ledger::DirectionCounters| {
            let pending = counters.pending();
            debug_assert!(pending.is_some(), "more left the tunnel than came in: {counters:?}");
            pending.unwrap_or_default()
        };
        let (up, down) = (pending(&self.counters.up), pending(&self.counters.down));
        if up.bytes > 0 || up.datagrams > 0 {
            self.up_dropped(stats, DropReason::Closed, up.datagrams, up.bytes);
        }
        if down.bytes > 0 || down.datagrams > 0 {
            self.down_dropped(stats, DropReason::Closed, down.datagrams, down.bytes);
        }
    }

    /// Forwarded bytes that the credit line doesn't know of yet.
    pub(crate) fn uncharged(&self) -> u64 {
        self.counters.up.forwarded.bytes + self.counters.down.forwarded.bytes - self.charged
    }

    /// Charges the credit line with what was forwarded since the last call.
    pub(crate) fn charge(&mut self) {
        let bytes = self.uncharged();
        self.grant.add_used(bytes);
        self.charged += bytes;
    }
}

/// Adds to the engine-wide counter of a reason.
pub(crate) fn count_drop(stats: &mut EngineStats, reason: DropReason, datagrams: u64) {
    let counter = match reason {
        DropReason::QueueFull => &mut stats.dropped_queue_full,
        DropReason::TooBig => &mut stats.dropped_too_big,
        DropReason::Credit => &mut stats.dropped_credit,
        DropReason::SendFailed => &mut stats.dropped_send_failed,
        DropReason::Closed => &mut stats.dropped_closed,
        DropReason::UnknownContext => &mut stats.dropped_unknown_context,
        DropReason::Early => &mut stats.dropped_early,
    };
    *counter += datagrams;
}
