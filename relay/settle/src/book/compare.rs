//! Ledger A against ledger B: does the kernel confirm what is billed? Ledger C is compared by
//! process, in [`super::access`].

use std::fmt;

use serde::{Deserialize, Serialize};
use weir_usage::{Transport, UsageRecord};

use crate::config::Tolerance;

/// The kernel's payload bytes minus the engine's, per direction.
///
/// Up is compared with what was forwarded; down with what was received from the target, because
/// what the engine dropped after that did come out of the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Whether the kernel counted this tunnel.
    pub counted: bool,
    /// B minus A, client to target.
    pub up_bytes: i64,
    /// B minus A, target to client.
    pub down_bytes: i64,
}

/// What is wrong with the counts of a tunnel, or of a relay's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finding {
    /// The kernel saw less than the engine bills.
    Overcounted {
        /// Bytes missing in the worse direction.
        bytes: u64,
    },
    /// The kernel saw more than the transport's overhead explains: what a target sent on after the
    /// client went away, or what found a socket's buffer full. Nobody pays for it.
    Undercounted {
        /// Bytes too many in the worse direction.
        bytes: u64,
    },
    /// A relay's process bills more than the kernel saw come from clients.
    Uncarried {
        /// Bytes missing when it was found.
        bytes: u64,
    },
    /// The record contradicts itself: more forwarded and dropped than received.
    Invalid,
    /// The tunnel appeared on a second lane.
    Moved,
    /// The lane's total no longer fits 64 bits.
    Overflow,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overcounted { bytes } => {
                write!(f, "the kernel saw {bytes} bytes less than the relay bills")
            }
            Self::Undercounted { bytes } => {
                write!(f, "the kernel saw {bytes} bytes more than the relay and its overhead")
            }
            Self::Uncarried { bytes } => {
                write!(f, "it bills {bytes} bytes that the kernel never saw come from clients")
            }
            Self::Invalid => f.write_str("a record forwards and drops more than it received"),
            Self::Moved => f.write_str("a tunnel was reported on two lanes"),
            Self::Overflow => f.write_str("the lane's bytes exceed 64 bits"),
        }
    }
}

/// What a finding is about, in words: a tunnel, or all that a relay's process billed.
pub fn subject(id: u128) -> String {
    match super::access::process_of(id) {
        Some(epoch) => format!("relay process {epoch:016x} ({id:032x})"),
        None => format!("tunnel {id:032x}"),
    }
}

impl Finding {
    /// Whether the tunnel's bytes aren't asked for until an operator looked: those that might bill
    /// for what wasn't delivered. A target can send more than is read whenever it likes; if that
    /// held a lane back, it would cut off a payer who did nothing but end a download.
    pub fn holds_back(&self) -> bool {
        !matches!(self, Self::Undercounted { .. })
    }

    /// A label for metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Overcounted { .. } => "overcounted",
            Self::Undercounted { .. } => "undercounted",
            Self::Uncarried { .. } => "uncarried",
            Self::Invalid => "invalid",
            Self::Moved => "moved",
            Self::Overflow => "overflow",
        }
    }
}

impl Comparison {
    /// Compares the two ledgers of one record.
    pub fn of(record: &UsageRecord) -> Self {
        let Some(flow) = record.flow else { return Self::default() };
        Self {
            counted: true,
            up_bytes: difference(flow.up.payload_bytes, record.up.forwarded.bytes),
            down_bytes: difference(flow.down.payload_bytes, record.down.received.bytes),
        }
    }

    /// What is wrong, if the tunnel is closed and out of tolerance. An open tunnel is never judged:
    /// the two ledgers aren't read at the same instant.
    pub fn finding(&self, record: &UsageRecord, tolerance: &Tolerance) -> Option<Finding> {
        if !self.counted || !record.is_final {
            return None;
        }
        let deficit = self.up_bytes.min(self.down_bytes).min(0).unsigned_abs();
        let allowed = match record.transport {
            Transport::Udp => tolerance.udp_bytes,
            Transport::Tcp => tolerance.tcp_deficit_bytes,
        };
        if deficit > allowed {
            return Some(Finding::Overcounted { bytes: deficit });
        }
        let directions = [
            (self.up_bytes, record.up.forwarded.bytes),
            (self.down_bytes, record.down.received.bytes),
        ];
        let excess = directions.iter().filter_map(|&(difference, payload)| {
            let allowed = match record.transport {
                Transport::Udp => tolerance.udp_bytes,
                Transport::Tcp => {
                    let share = u128::from(payload) * u128::from(tolerance.tcp_overhead_permille);
                    tolerance
                        .tcp_overhead_bytes
                        .saturating_add(u64::try_from(share / 1000).unwrap_or(u64::MAX))
                }
            };
            let surplus = difference.max(0).unsigned_abs();
            (surplus > allowed).then_some(surplus)
        });
        excess.max().map(|bytes| Finding::Undercounted { bytes })
    }
}

fn difference(kernel: u64, engine: u64) -> i64 {
    let difference = i128::from(kernel) - i128::from(engine);
    // Out of range is as wrong as the range's end.
    difference.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}
