//! The last word on each tunnel.

use weir_usage::{ChannelId, UsageRecord};

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

    /// All that the tunnel was billed for.
    pub(super) fn total(&self) -> Grown {
        Grown { up_bytes: self.up_bytes, down_bytes: self.down_bytes, fell: false }
    }

    /// Replaces the comparison of the ledgers and returns the one before.
    pub(super) fn compare(&mut self, comparison: Comparison) -> Comparison {
        std::mem::replace(&mut self.comparison, comparison)
    }
}

/// Bytes of [`Tunnel::encode`].
const ROW_LEN: usize = 32 + 4 + 8 + 8 + 1 + 8 + 8;

/// As a row of the kept state. There is one for each tunnel ever seen, so it is binary.
impl Tunnel {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(ROW_LEN);
        row.extend_from_slice(&self.key.channel.0);
        row.extend_from_slice(&self.key.lane.to_be_bytes());
        row.extend_from_slice(&self.up_bytes.to_be_bytes());
        row.extend_from_slice(&self.down_bytes.to_be_bytes());
        row.push(self.comparison.counted.into());
        row.extend_from_slice(&self.comparison.up_bytes.to_be_bytes());
        row.extend_from_slice(&self.comparison.down_bytes.to_be_bytes());
        row
    }

    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let (channel, row) = row.split_first_chunk()?;
        let (lane, row) = row.split_first_chunk()?;
        let (up, row) = row.split_first_chunk()?;
        let (down, row) = row.split_first_chunk()?;
        let (counted, row) = row.split_first()?;
        let (up_difference, row) = row.split_first_chunk()?;
        let (down_difference, row) = row.split_first_chunk()?;
        let comparison = Comparison {
            counted: *counted == 1,
            up_bytes: i64::from_be_bytes(*up_difference),
            down_bytes: i64::from_be_bytes(*down_difference),
        };
        let tunnel = Self {
            key: LaneKey { channel: ChannelId(*channel), lane: u32::from_be_bytes(*lane) },
            up_bytes: u64::from_be_bytes(*up),
            down_bytes: u64::from_be_bytes(*down),
            comparison,
        };
        (row.is_empty() && *counted <= 1).then_some(tunnel)
    }
}
