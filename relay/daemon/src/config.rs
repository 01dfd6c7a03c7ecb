//! The configuration of a relay.
//!
//! [`Config::load`] reads the file and refuses it with every mistake at once; what it returns has
//! a value for everything. [`check`] then looks at what only this machine knows: files, keys,
//! interfaces.

pub mod check;
mod reader;
mod report;
mod sections;
mod tokens;
mod value;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;
use weir_blind::{Epochs, IssuerKey};
use weir_core::Cidr;

use reader::{Context, Section};
pub use report::{Diagnostic, Position, Report};
pub(crate) use sections::WINDOW_MIN;
pub use value::{BackendChoice, Congestion, LogFormat, Steering, XdpMode, ZeroCopy};

/// A configuration file is a few kilobytes; with thousands of grants it may be a few megabytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub relay: RelayConfig,
    pub log: LogConfig,
    pub tls: TlsConfig,
    pub io: IoConfig,
    pub quic: QuicConfig,
    pub xdp: XdpConfig,
    pub exit: ExitConfig,
    pub dns: DnsConfig,
    pub limits: LimitsConfig,
    pub settle: Option<SettleConfig>,
    pub grants: Vec<GrantConfig>,
    pub tokens: Option<TokensConfig>,
    /// The file, for messages.
    pub file: PathBuf,
    places: BTreeMap<String, Position>,
}

/// `[relay]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayConfig {
    /// Stands in logs, metrics and Proxy-Status.
    pub name: String,
    /// Number of packet-carrying threads.
    pub workers: u16,
    /// Pin worker n to the nth CPU that this process may use.
    pub pin: bool,
    /// At most one IPv4 and one IPv6 address.
    pub listen: Vec<SocketAddr>,
    /// Metrics and status; loopback only.
    pub admin: SocketAddr,
    /// Holds the ledger files and, for a lab, the self-signed certificate.
    pub run_dir: PathBuf,
    /// How long SIGTERM waits for open tunnels.
    pub drain: Duration,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    pub format: LogFormat,
    /// A `tracing` filter: `info`, or `weir=debug,info`.
    pub level: String,
}

/// `[tls]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsConfig {
    /// PEM files; a change is picked up on SIGHUP.
    Files { cert: PathBuf, key: PathBuf },
    /// A certificate made at the first start and kept in `run_dir`, for labs.
    SelfSigned { names: Vec<String> },
}

/// `[io]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoConfig {
    pub backend: BackendChoice,
    /// Receive and send buffer of each client-facing socket.
    pub socket_buffer_bytes: u64,
    /// How workers are chosen for a packet.
    pub steering: Steering,
    /// How long to look for the next packet before sleeping; zero to sleep at once.
    pub spin: Duration,
    pub xsk: XskConfig,
}

/// `[io.xsk]`, for the AF_XDP backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XskConfig {
    /// Of those in `[xdp]`; empty: all of them.
    pub interfaces: Vec<String>,
    /// Local ports of UDP tunnels, which have no kernel socket.
    pub exit_ports: RangeInclusive<u16>,
    pub zero_copy: ZeroCopy,
    /// How long a system call may poll a driver's queue; zero: not at all.
    pub busy_poll: Duration,
}

/// `[xdp]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XdpConfig {
    pub mode: XdpMode,
    pub interfaces: Vec<String>,
    /// Without XDP: ingress is counted at the tc hook.
    pub tc_interfaces: Vec<String>,
    /// Names the pinned maps, so that two relays on a host don't meet.
    pub instance: String,
    /// Turn GRO on behind native XDP while the relay runs.
    pub gro: bool,
    /// Exit flows that the kernel's table has room for.
    pub flows: u32,
    /// Payers aren't asked to sign while the engines count more client-facing bytes than the
    /// kernel.
    pub strict: bool,
}

/// `[exit]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitConfig {
    /// Source addresses of tunnels; the kernel chooses when there is none.
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    /// Overrides both `deny` and the built-in list of addresses that aren't public.
    pub allow: Vec<Cidr>,
    pub deny: Vec<Cidr>,
    pub denied_ports: Vec<u16>,
}

/// `[dns]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsConfig {
    /// Empty: what `/etc/resolv.conf` says.
    pub servers: Vec<SocketAddr>,
    pub timeout: Duration,
    pub cache_entries: u64,
}

/// `[limits]`, per worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Client connections, and those from one IPv4 address or IPv6 /64.
    pub connections: u32,
    pub connections_per_source: u32,
    /// Target-facing sockets: one per tunnel, a few while a TCP tunnel tries its addresses.
    pub sockets: u32,
    pub tunnels_per_connection: u32,
    pub idle_timeout: Duration,
    pub udp_idle_timeout: Duration,
    pub connect_timeout: Duration,
    /// Wrong tokens per minute and source before requests are answered 429 unseen.
    pub auth_failures_per_minute: u32,
}

/// `[quic]`: client-facing connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuicConfig {
    pub congestion: Congestion,
    /// Look for the largest packets that the path carries (RFC 8899).
    pub mtu_discovery: bool,
    /// Where that stops: bytes of UDP payload.
    pub mtu_max: u16,
    /// Ask clients to acknowledge only every so many packets.
    pub ack_every: Option<u32>,
}

/// `[settle]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettleConfig {
    /// The socket of `weir-settle`.
    pub socket: PathBuf,
    /// Names this exit in usage records; the same over restarts, and the one that the sidecar has.
    pub exit_id: [u8; 32],
    pub credit: CreditConfig,
    /// How long tunnels go on while the sidecar is away.
    pub grace: Duration,
}

/// How far a payer may use the relay beyond what its vouchers cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditConfig {
    /// At full speed: for payers without a committed rate, and at most.
    pub window_bytes: u64,
    /// At full speed for payers with one: so long at that rate.
    pub window_time: Duration,
    /// Slowed down behind the window: percent of it.
    pub overdraft_percent: u64,
    /// How fast in the overdraft, both directions together.
    pub throttle_kbps: u64,
}

/// `[[grant]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantConfig {
    pub name: String,
    pub token_sha256: [u8; 32],
    /// The payer's escrow channel; without one the grant isn't billed.
    pub channel: Option<[u8; 32]>,
    pub lane: u32,
    /// The rate that was agreed on, both directions together; sizes the credit window.
    pub committed_kbps: Option<u64>,
    /// Tunnels open at once per worker.
    pub tunnels: Option<u32>,
}

/// `[access.tokens]`: blind tokens that issuers sell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokensConfig {
    /// Holds what was spent; has to survive a reboot.
    pub dir: PathBuf,
    /// Length of an epoch and how long its tokens are taken after it, part of what issuers are
    /// told.
    pub epochs: Epochs,
    /// Payload bytes, both directions together, that one token buys.
    pub bytes: u64,
    /// Tokens accepted per epoch.
    pub per_epoch: u32,
    /// Signatures checked per second.
    pub checks_per_s: u32,
    pub issuers: Vec<IssuerConfig>,
}

/// `[[access.tokens.issuer]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerConfig {
    /// As in its tokens' challenge; also the grant's name in metrics.
    pub name: String,
    pub key: IssuerKey,
    /// Where spent tokens are billed.
    pub channel: [u8; 32],
    pub lane: u32,
}

impl Config {
    /// Reads and understands a file.
    ///
    /// # Errors
    /// All mistakes of the file, or the one that kept it from being read.
    pub fn load(path: &Path) -> Result<Self, Report> {
        let mut report = Report::new(path);
        let read = std::fs::metadata(path).and_then(|found| {
            if found.len() > FILE_BYTES_MAX {
                return Err(std::io::Error::other("larger than 16 MiB"));
            }
            std::fs::read_to_string(path)
        });
        match read {
            Ok(text) => Self::parse(&text, path),
            Err(error) => {
                let hint = "`-c FILE` names the configuration; configs/ has examples to start from";
                report.push(None, format!("can't be read: {error}"), Some(hint.to_owned()));
                Err(report)
            }
        }
    }

    /// Understands the text of a file.
    ///
    /// # Errors
    /// All mistakes of the text.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Report> {
        let (table, syntax) = DeTable::parse_recoverable(text);
        let context = Context::new(text, Report::new(path));
        for error in &syntax {
            context.error(error.span(), error.message().to_owned(), None);
        }
        let mut config = sections::read(Section::root(&context, &table));
        let (report, places) = context.finish();
        // What a broken text means is a guess; its syntax comes first.
        if !syntax.is_empty() {
            let mut syntax_only = report;
            syntax_only.diagnostics.truncate(syntax.len());
            return Err(syntax_only.into_result().expect_err("there is a syntax error"));
        }
        report.into_result()?;
        config.places = places;
        config.file = path.to_owned();
        Ok(config)
    }

    /// Where the value of a key stands (`tls.cert`, `xdp.interfaces.0`), if it was given.
    pub fn place(&self, key: &str) -> Option<Position> {
        self.places.get(key).copied()
    }
}
