//! The configuration file: parsed once into values that need no further checks.

mod endpoint;
mod load;
mod reader;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::keys::Secret;

pub use endpoint::Endpoint;
pub use load::parse;
pub use reader::Problem;
use weir_usage::{Address, ChannelId, ChannelTerms, Domain, ExitId, Price};

/// Everything that `weir-settle run` needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The exit whose usage is settled; the relay's configuration names the same.
    pub exit: ExitId,
    /// The journal file.
    pub journal: PathBuf,
    /// The relay's socket.
    pub socket: PathBuf,
    /// Permission bits of the relay's socket.
    pub socket_mode: u32,
    /// The socket for `status` and `settle-now`; always 0600.
    pub control: PathBuf,
    /// Loopback address for `/metrics` and `/status`.
    pub admin: Option<SocketAddr>,
    /// The least time between two asks for the same lane.
    pub ask_interval: Duration,
    /// The chain and the contracts.
    pub chain: ChainConfig,
    /// When to go to the chain.
    pub policy: Policy,
    /// How far the ledgers may be apart.
    pub tolerance: Tolerance,
    /// Signs statements about usage; never the claim key.
    pub usage_key: Option<KeyConfig>,
    /// Where every channel must pay out to, if it was said.
    pub payout: Option<Address>,
    /// Who may pay.
    pub channels: Vec<Channel>,
    /// Service levels whose samples are signed.
    pub services: Vec<ServiceConfig>,
    /// What is done without a command.
    pub duties: Duties,
}

/// What the sidecar does by itself beside earning money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duties {
    /// Anchor each day of samples once it is over.
    pub sample_days: bool,
    /// So long after the last sample of a day may come.
    pub sample_day_grace: Duration,
    /// Has anchored days with `weir-settle sla day`; those aren't anchored again.
    pub samples_account: Option<Address>,
    /// Answer challenges of what the claim key has anchored.
    pub answer_challenges: bool,
    /// Sign a statement about each epoch for this `OperatorBond`.
    pub bond: Option<Address>,
}

/// The chain, its contracts and the key that pays for gas. `Debug` shows endpoints without their
/// credentials.
#[derive(Clone, PartialEq)]
pub struct ChainConfig {
    /// JSON-RPC over HTTP(S); at least one. Several check each other.
    pub rpc: Vec<Endpoint>,
    /// How many of them must say the same before it is believed.
    pub quorum: usize,
    /// Chain and escrow: the EIP-712 domain of vouchers.
    pub domain: Domain,
    /// The `UsageAnchor` contract; without it usage roots stay local.
    pub anchor: Option<Address>,
    /// Signs transactions.
    pub key: KeyConfig,
    /// Limit for the TCP and TLS handshakes.
    pub connect_timeout: Duration,
    /// Limit for one request.
    pub request_timeout: Duration,
    /// Between two looks at the chain.
    pub poll: Duration,
    /// Blocks on top of a transaction's own before it counts as final.
    pub confirmations: u64,
    /// A transaction that isn't mined for that long gets a higher fee.
    pub stuck_after: Duration,
    /// Never offer more than this per gas, in wei, unless a deposit is about to leave.
    pub fee_ceiling_wei: u128,
    /// Nor more than this then.
    pub deadline_fee_ceiling_wei: u128,
    /// Below this the wallet counts as empty, in wei.
    pub low_balance_wei: u128,
    /// The same in days that it lasts.
    pub low_balance_days: u64,
}

impl fmt::Debug for ChainConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainConfig")
            .field("rpc", &self.rpc)
            .field("quorum", &self.quorum)
            .field("domain", &self.domain)
            .field("anchor", &self.anchor)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// A key: 64 hexadecimal digits, or a keystore v3 and its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyConfig {
    /// Where it is.
    pub key: Secret,
    /// Where the keystore's password is.
    pub password: Option<Secret>,
}

/// When vouchers are claimed, tokens pulled and roots anchored.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Claim once so much is unclaimed over all lanes, in token units.
    pub claim_threshold: u128,
    /// Claim what is unclaimed at least so often.
    pub claim_period: Duration,
    /// Vouchers in one transaction.
    pub claim_batch_max: usize,
    /// Pull claimed tokens to the receiver once there are so many.
    pub settle_threshold: u128,
    /// Pull what was claimed at least so often.
    pub settle_period: Duration,
    /// Anchor the usage root so often.
    pub anchor_period: Duration,
    /// So long before a payer can take its deposit, the gas ceiling is lifted for what it owes.
    pub deadline: Duration,
    /// What a million token units are worth, in wei; 0 if unknown, and then nothing is too little.
    pub wei_per_million_units: u128,
}

/// How far the kernel's count may be from the engine's before no more vouchers are asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Tolerance {
    /// UDP, at close: bytes in either direction.
    pub udp_bytes: u64,
    /// TCP, at close: bytes the engine handed to the kernel that a reset kept from being sent.
    pub tcp_deficit_bytes: u64,
    /// TCP: retransmissions and headers, in thousandths of the payload.
    pub tcp_overhead_permille: u64,
    /// TCP: allowed on top, so that a short tunnel's handshake doesn't trip it.
    pub tcp_overhead_bytes: u64,
    /// Whether a relay's process that bills more than the kernel saw come from clients (ledger C)
    /// holds its lanes back. Shown it is in any case.
    pub access_holds_back: bool,
    /// Bytes that never reached the payer and don't use up its credit, in thousandths of those that
    /// it signed for.
    pub unsigned_permille: u64,
}

/// A service-level agreement under which this exit serves a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceConfig {
    /// The agreement, JSON as `weir-settle terms` writes it.
    pub agreement: PathBuf,
    /// The agreed maintenance windows, JSON; none if left out.
    pub maintenance: Option<PathBuf>,
}

/// A payer's channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Channel {
    /// Its id on chain, which the terms hash to.
    pub id: ChannelId,
    /// The terms it was opened with.
    pub terms: ChannelTerms,
    /// Lanes that may be used.
    pub lanes: Vec<u32>,
    /// What a GiB costs. It can't change for a lane that was used: open a new lane.
    pub price: Price,
}

impl Config {
    /// The channel with this id.
    pub fn channel(&self, id: &ChannelId) -> Option<&Channel> {
        self.channels.iter().find(|c| c.id == *id)
    }
}
