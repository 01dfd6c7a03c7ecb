//! A copy of the state for everybody who only looks.

use std::collections::BTreeMap;

use weir_usage::{Address, Ask, CreditState, ServiceNotice, SignedVoucher};

use crate::book::{AccessView, BookCounters, Lane, LaneKey, subject};
use crate::journal::entry::AnchorLeaves;

/// The state as of one commit.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// By lane.
    pub lanes: BTreeMap<LaneKey, LaneView>,
    /// Where the streams of the relays that speak go on: records before are in the lanes.
    pub streams: BTreeMap<u64, u64>,
    /// What those of them bill and what their kernels saw of clients, where a kernel counts.
    pub access: BTreeMap<u64, AccessView>,
    /// Figures of the book.
    pub counters: BookCounters,
    /// Tunnels remembered.
    pub tunnels: usize,
    /// Vouchers taken since the start.
    pub vouchers_accepted: u64,
    /// Vouchers refused since the start, by reason.
    pub vouchers_refused: BTreeMap<&'static str, u64>,
    /// Samples since the start: `signed`, or why not.
    pub samples: BTreeMap<&'static str, u64>,
    /// The agreements whose samples are taken.
    pub services: Vec<ServiceNotice>,
    /// Roots computed so far.
    pub anchors: u64,
    /// The newest root.
    pub last_anchor: Option<AnchorLeaves>,
    /// The journal.
    pub journal: JournalView,
}

/// The state of the journal.
#[derive(Debug, Clone, Default)]
pub struct JournalView {
    /// Durable bytes.
    pub bytes: u64,
    /// Durable entries.
    pub entries: u64,
    /// Hash over all of it.
    pub tip: String,
    /// Why it can't be written at the moment.
    pub error: Option<String>,
    /// Entries that wait to be written.
    pub unwritten: usize,
}

/// The state of a lane.
#[derive(Debug, Clone)]
pub struct LaneView {
    /// What is asked for; `None` if the lane isn't configured.
    pub ask: Option<Ask>,
    /// How far it may go.
    pub credit: CreditState,
    /// Whose vouchers count.
    pub signer: Address,
    /// The best voucher.
    pub voucher: Option<SignedVoucher>,
    /// When it was accepted.
    pub voucher_at_ms: Option<u64>,
    /// When the last record's counters were read.
    pub last_record_ms: u64,
    /// Billable bytes, client to target.
    pub up_bytes: u64,
    /// Billable bytes, target to client.
    pub down_bytes: u64,
    /// Tunnels seen.
    pub tunnels: u64,
    /// Token units for all bytes.
    pub used: u128,
    /// Token units asked for.
    pub asked: u128,
    /// Token units signed for.
    pub vouchered: u128,
    /// Token units claimed on chain.
    pub claimed: u128,
    /// Token units used and not signed for.
    pub exposure: u128,
    /// Token units signed for and not claimed.
    pub unclaimed: u128,
    /// Token units given up.
    pub written_off: u128,
    /// Cumulative token units that the deposit covers.
    pub spendable: Option<u128>,
    /// Label and words of the first reason why nothing new is asked for.
    pub held_back: Option<(&'static str, String)>,
    /// How many such reasons there are.
    pub findings: usize,
    /// The kernel's bytes minus the relay's, client to target.
    pub kernel_minus_relay_up: i64,
    /// The same, target to client.
    pub kernel_minus_relay_down: i64,
}

impl LaneView {
    pub(super) fn of(lane: &Lane, ask: Option<Ask>, credit: CreditState) -> Self {
        Self {
            ask,
            credit,
            signer: lane.signer,
            voucher: lane.accepted.as_ref().map(|a| a.signed),
            voucher_at_ms: lane.accepted.as_ref().map(|a| a.at_ms),
            last_record_ms: lane.last_record_ms,
            up_bytes: lane.up_bytes,
            down_bytes: lane.down_bytes,
            tunnels: lane.tunnels,
            used: lane.used_amount(),
            asked: lane.asked_amount(),
            vouchered: lane.vouchered(),
            claimed: lane.claimed,
            exposure: lane.exposure(),
            unclaimed: lane.unclaimed(),
            written_off: lane.written_off,
            spendable: lane.spendable,
            held_back: lane
                .held_back()
                .map(|(id, finding)| (finding.name(), format!("{}: {finding}", subject(id)))),
            findings: lane.findings.len(),
            kernel_minus_relay_up: lane.kernel_minus_relay_up,
            kernel_minus_relay_down: lane.kernel_minus_relay_down,
        }
    }
}

impl View {
    /// Token units used and not signed for, over all lanes.
    pub fn exposure(&self) -> u128 {
        self.lanes.values().fold(0, |sum: u128, lane| sum.saturating_add(lane.exposure))
    }

    /// Token units signed for and not claimed, over all lanes.
    pub fn unclaimed(&self) -> u128 {
        self.lanes.values().fold(0, |sum: u128, lane| sum.saturating_add(lane.unclaimed))
    }
}
