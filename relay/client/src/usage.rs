//! What the client counted, as it is shown to people and scripts: the JSON of `GET /usage`.
//!
//! Bytes are tunnelled payload only: up is what QUIC accepted for sending to the relay, down is
//! what arrived from it. In JSON the cumulative counts are numbers, amounts decimal strings.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Payload in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectionUsage {
    /// Payload bytes.
    pub bytes: u64,
    /// UDP datagrams (0 for TCP).
    pub datagrams: u64,
}

/// Payload in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindUsage {
    /// Toward the target.
    pub up: DirectionUsage,
    /// From the target.
    pub down: DirectionUsage,
    /// Tunnels that the relay accepted.
    pub tunnels: u64,
    /// Tunnels that it refused, or that could not be tried.
    pub refused: u64,
}

/// Which protocol a tunnel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TunnelKind {
    /// CONNECT.
    Tcp,
    /// CONNECT-UDP.
    Udp,
}

/// One open tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelUsage {
    /// Number of the tunnel in this process, from 1.
    pub id: u64,
    /// What it carries.
    pub kind: TunnelKind,
    /// `host:port` as the application asked for it.
    pub target: String,
    /// Toward the target.
    pub up: DirectionUsage,
    /// From the target.
    pub down: DirectionUsage,
}

/// All tunnels to one target since the start, closed ones included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetUsage {
    /// What the tunnels carried.
    pub kind: TunnelKind,
    /// `host:port`, or `(others)` once the table of targets is full.
    pub target: String,
    /// Tunnels opened.
    pub tunnels: u64,
    /// Toward the target.
    pub up: DirectionUsage,
    /// From the target.
    pub down: DirectionUsage,
}

/// How payment stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentUsage {
    /// Channel, `0x` hex.
    pub channel: String,
    /// Lane.
    pub lane: u32,
    /// Own cumulative count, all starts of this client together.
    pub up_bytes: u64,
    /// Own cumulative count, all starts of this client together.
    pub down_bytes: u64,
    /// The relay's count of the last ask, if there was one since the start.
    pub asked_up_bytes: Option<u64>,
    /// The relay's count of the last ask, if there was one since the start.
    pub asked_down_bytes: Option<u64>,
    /// The cumulative amount that was signed last, in token units.
    pub signed_amount: String,
    /// Its sequence number; 0 before the first voucher.
    pub signed_seq: u64,
    /// Whether the relay acknowledged the last voucher.
    pub accepted: bool,
    /// Why the last ask was not paid in full, if so.
    pub problem: Option<String>,
    /// Asks since the start that were ahead of the own counts by more than the tolerance.
    pub overbilled_asks: u64,
    /// Those of them that came last, without another between.
    pub overbilled_in_a_row: u32,
    /// Where the journal is; [`read_journal`](crate::purse::read_journal) says what was paid for
    /// what.
    pub journal: PathBuf,
}

/// The answer to `GET /usage`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageSnapshot {
    /// The relay's URL.
    pub relay: String,
    /// Live QUIC connections to it.
    pub connections: usize,
    /// Seconds since the client was started.
    pub uptime_s: u64,
    /// TCP tunnels since the start.
    pub tcp: KindUsage,
    /// UDP tunnels since the start.
    pub udp: KindUsage,
    /// Both kinds since the start.
    pub total: KindUsage,
    /// Per target since the start.
    pub targets: Vec<TargetUsage>,
    /// Open tunnels, oldest first.
    pub open: Vec<TunnelUsage>,
    /// Present when a payer is configured.
    pub payment: Option<PaymentUsage>,
}

/// The answer to `POST /settle`: did both sides come to the same numbers, and was that paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettleReport {
    /// The relay asks for exactly the own count, and a voucher for it was accepted.
    pub settled: bool,
    /// Rounds of ask and voucher that it took.
    pub rounds: u32,
    /// How long it took.
    pub elapsed_ms: u64,
    /// How payment stands now.
    pub payment: PaymentUsage,
}
