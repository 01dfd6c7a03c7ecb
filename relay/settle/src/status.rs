//! What `weir-settle status` shows.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use serde::Serialize;
use weir_usage::Funding;

use crate::book::AccessView;
use crate::chain::ChainView;
use crate::clerk::View;
use crate::health::{self, Trouble};
use crate::sidecar::Sidecar;

/// The state of a sidecar. Amounts are token units as decimal strings, because JSON numbers lose
/// digits past 2^53.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The exit.
    pub exit: String,
    /// What is wrong; nothing, if all is well.
    pub troubles: Vec<Trouble>,
    /// Relays connected.
    pub relays: u64,
    /// Used and not signed for, over all lanes.
    pub exposure: String,
    /// Signed for and not claimed, over all lanes.
    pub unclaimed: String,
    /// By process of a connected relay whose kernel counts: what it bills, and ledger C.
    pub access: BTreeMap<String, AccessView>,
    /// By lane.
    pub lanes: Vec<LaneStatus>,
    /// The journal.
    pub journal: JournalStatus,
    /// Roots computed.
    pub anchors: u64,
    /// The newest root.
    pub last_root: Option<String>,
    /// The chain and the outbox.
    pub chain: ChainView,
}

/// The state of a lane.
#[derive(Debug, Serialize)]
pub struct LaneStatus {
    /// The channel.
    pub channel: String,
    /// The lane.
    pub lane: u32,
    /// Billable bytes, client to target.
    pub up_bytes: u64,
    /// Billable bytes, target to client.
    pub down_bytes: u64,
    /// Tunnels seen.
    pub tunnels: u64,
    /// Amount for all bytes.
    pub used: String,
    /// Amount asked for.
    pub asked: String,
    /// Amount signed for.
    pub vouchered: String,
    /// Amount claimed on chain.
    pub claimed: String,
    /// Amount used and not signed for.
    pub exposure: String,
    /// Sequence number of the best voucher, 0 for none.
    pub voucher_seq: u64,
    /// Its age in seconds.
    pub voucher_age_s: Option<u64>,
    /// What the chain says of the channel.
    pub funding: &'static str,
    /// Cumulative amount that the deposit covers.
    pub spendable: Option<String>,
    /// Why nothing new is asked for.
    pub held_back: Option<String>,
    /// The kernel's bytes minus the relay's, client to target.
    pub kernel_minus_relay_up: i64,
    /// The same, target to client.
    pub kernel_minus_relay_down: i64,
}

/// The state of the journal.
#[derive(Debug, Serialize)]
pub struct JournalStatus {
    /// Durable bytes.
    pub bytes: u64,
    /// Durable entries.
    pub entries: u64,
    /// Hash over all of it.
    pub tip: String,
    /// Why it can't be written.
    pub error: Option<String>,
}

/// The state right now.
pub fn status(sidecar: &Sidecar) -> Status {
    let view = sidecar.clerk.views().borrow().clone();
    let chain = sidecar.driver.view();
    Status {
        troubles: health::troubles(&view, &chain),
        exit: sidecar.config.exit.to_string(),
        relays: sidecar.server.open.load(Ordering::Relaxed),
        exposure: view.exposure().to_string(),
        unclaimed: view.unclaimed().to_string(),
        access: view.access.iter().map(|(epoch, of)| (format!("{epoch:016x}"), *of)).collect(),
        lanes: lanes(&view),
        journal: JournalStatus {
            bytes: view.journal.bytes,
            entries: view.journal.entries,
            tip: view.journal.tip.clone(),
            error: view.journal.error.clone(),
        },
        anchors: view.anchors,
        last_root: view.last_anchor.as_ref().map(|a| a.root.to_string()),
        chain: ChainView::clone(&chain),
    }
}

fn lanes(view: &View) -> Vec<LaneStatus> {
    let now = crate::now_ms();
    view.lanes
        .iter()
        .map(|(key, lane)| LaneStatus {
            channel: key.channel.to_string(),
            lane: key.lane,
            up_bytes: lane.up_bytes,
            down_bytes: lane.down_bytes,
            tunnels: lane.tunnels,
            used: lane.used.to_string(),
            asked: lane.asked.to_string(),
            vouchered: lane.vouchered.to_string(),
            claimed: lane.claimed.to_string(),
            exposure: lane.exposure.to_string(),
            voucher_seq: lane.voucher.map_or(0, |v| v.voucher.seq),
            voucher_age_s: lane.voucher_at_ms.map(|at| now.saturating_sub(at) / 1000),
            funding: funding_name(lane.credit.funding),
            spendable: lane.spendable.map(|s| s.to_string()),
            held_back: lane.held_back.as_ref().map(|(_, words)| words.clone()),
            kernel_minus_relay_up: lane.kernel_minus_relay_up,
            kernel_minus_relay_down: lane.kernel_minus_relay_down,
        })
        .collect()
}

/// A name for a channel's funding.
pub fn funding_name(funding: Funding) -> &'static str {
    match funding {
        Funding::Unknown => "unknown",
        Funding::Funded => "funded",
        Funding::Exhausted => "exhausted",
        Funding::Withdrawing => "withdrawing",
        Funding::Missing => "missing",
    }
}
