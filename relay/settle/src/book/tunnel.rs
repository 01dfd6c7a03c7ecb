//! The last word on each tunnel.

use weir_usage::UsageRecord;

use super::compare::Comparison;
use super::lane::LaneKey;

/// What is remembered of a tunnel, so that a late or repeated record can't count twice.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) key: LaneKey,
    up_bytes: u64,
    down_bytes: u64,
    comparison: Comparison,
}

/// By how much a record raised its tunnel's totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grown {
    pub(super) up_bytes: u64,
    pub(super) down_bytes: u64,
    /// A counter was below what an earlier record said; it counts as unchanged.
    pub(super) fell: bool,
}

impl Tunnel {
    pub(super) fn new(key: LaneKey) -> Self {
        Self { key, up_bytes: 0, down_bytes: 0, comparison: Comparison::default() }
    }

    /// Each direction by itself takes the highest value ever reported.
    pub(super) fn grow(&mut self, record: &UsageRecord) -> Grown {
        let (up, down) = (record.up.forwarded.bytes, record.down.forwarded.bytes);
        let grown = Grown {
            up_bytes: up.saturating_sub(self.up_bytes),
            down_bytes: down.saturating_sub(self.down_bytes),
            fell: up < self.up_bytes || down < self.down_bytes,
        };
        self.up_bytes = self.up_bytes.max(up);
        self.down_bytes = self.down_bytes.max(down);
        grown
    }

    /// Replaces the comparison of the ledgers and returns the one before.
    pub(super) fn compare(&mut self, comparison: Comparison) -> Comparison {
        std::mem::replace(&mut self.comparison, comparison)
    }
}
