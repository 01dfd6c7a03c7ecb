//! `weir client`: the local proxy of a user, and questions to a running one.

mod usage;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use weir_client::purse::Tolerance;
use weir_client::{Budget, Client, ClientConfig, PayerConfig, RelayUrl, SlaConfig, Token, Trust};

use crate::config::{LogConfig, LogFormat};
use crate::failure::Failure;
use crate::logging;

/// Where a running client answers unless told otherwise.
const ADMIN: &str = "127.0.0.1:9601";

/// What a payer needs besides its key.
const PAYER: [&str; 5] =
    ["payer_channel", "payer_chain_id", "payer_escrow", "payer_price_max", "payer_state"];

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct ClientArgs {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// What was used and what was paid for it, by exit, channel and day
    Usage {
        /// The running client to ask
        #[arg(long, value_name = "ADDR", default_value = ADMIN)]
        admin: SocketAddr,
        /// Read these journals (--payer-state), and ask no client
        #[arg(long, value_name = "FILE", conflicts_with = "admin")]
        journal: Vec<PathBuf>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a running client pay for everything it has used so far
    Settle {
        #[arg(long, value_name = "ADDR", default_value = ADMIN)]
        admin: SocketAddr,
        /// Seconds until it gives up
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        timeout: u64,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The relay, https://host:port
    #[arg(long, value_name = "URL", required = true)]
    relay: Option<String>,
    /// Where the credential is: file:PATH or env:VARIABLE
    #[arg(long, value_name = "SOURCE")]
    token: Option<String>,
    /// File of blind tokens to spend, one per connection, instead of --token
    #[arg(long, value_name = "FILE", conflicts_with_all = ["token", "payer_key"])]
    wallet: Option<PathBuf>,
    /// Trust only the certificates of this PEM file
    #[arg(long, value_name = "FILE", conflicts_with = "pin_sha256")]
    ca: Option<PathBuf>,
    /// Trust only the certificate with this SHA-256, which the relay prints when it starts
    #[arg(long, value_name = "HEX")]
    pin_sha256: Option<String>,
    /// Serve SOCKS5 here
    #[arg(long, value_name = "ADDR")]
    socks: Option<SocketAddr>,
    /// Serve an HTTP CONNECT proxy here
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Answer `weir client usage` and `settle` here
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// QUIC connections to keep; more than one helps with a relay of several workers
    #[arg(long, value_name = "N", default_value_t = 1)]
    connections: usize,
    /// Log level
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
    #[command(flatten)]
    payer: PayerArgs,
    /// Measure the service under this agreement, JSON as `weir-settle terms` writes it
    #[arg(long, value_name = "FILE", requires_all = ["payer_key", "sla_samples"])]
    sla_agreement: Option<PathBuf>,
    /// Keep samples that both sides signed here
    #[arg(long, value_name = "FILE", requires = "sla_agreement")]
    sla_samples: Option<PathBuf>,
}

/// All or nothing: who pays, how much at most, and where the proof is kept.
#[derive(Debug, Args)]
struct PayerArgs {
    /// File with the session key that signs vouchers
    #[arg(long, value_name = "FILE", requires_all = PAYER)]
    payer_key: Option<PathBuf>,
    /// The channel in the escrow contract, 0x and 64 hex digits
    #[arg(long, value_name = "HEX", requires = "payer_key")]
    payer_channel: Option<String>,
    /// The lane of the grant within the channel
    #[arg(long, value_name = "N", default_value_t = 0)]
    payer_lane: u32,
    /// Chain of the escrow contract
    #[arg(long, value_name = "ID", requires = "payer_key")]
    payer_chain_id: Option<u64>,
    /// The escrow contract, 0x and 40 hex digits
    #[arg(long, value_name = "HEX", requires = "payer_key")]
    payer_escrow: Option<String>,
    /// The highest price to accept, in token units per GiB
    #[arg(long, value_name = "UNITS", requires = "payer_key")]
    payer_price_max: Option<u128>,
    /// Token units to sign at most in all, since the channel was opened
    #[arg(long, value_name = "UNITS", requires = "payer_key")]
    payer_budget: Option<u128>,
    /// Token units to sign at most on a day (UTC)
    #[arg(long, value_name = "UNITS", requires = "payer_key")]
    payer_budget_day: Option<u128>,
    /// Journal of own counts and vouchers; the JSON file of an older client becomes one
    #[arg(long, value_name = "FILE", requires = "payer_key")]
    payer_state: Option<PathBuf>,
    /// Milliseconds between two looks at what is owed
    #[arg(long, value_name = "MS", default_value_t = PayerConfig::PERIOD.as_millis() as u64)]
    payer_period_ms: u64,
    /// Bytes to accept after a crash although own counts don't confirm them
    #[arg(long, value_name = "BYTES", default_value_t = PayerConfig::CRASH_ALLOWANCE_BYTES)]
    payer_crash_allowance: u64,
    /// Bytes per direction, beside one percent, that the exit may be ahead of own counts for long:
    /// more is called over-billing
    #[arg(long, value_name = "BYTES", default_value_t = Tolerance::default().bytes)]
    payer_tolerance: u64,
    /// End after so many asks in a row that are ahead by more; 0 for never
    #[arg(long, value_name = "N", default_value_t = Tolerance::default().asks_max)]
    payer_overbilled_max: u32,
    /// File with the bytes that were sold as blind tokens: sign for so many without having seen
    /// them
    #[arg(long, value_name = "FILE", requires = "payer_key")]
    payer_sold: Option<PathBuf>,
}

/// # Errors
/// Wrong arguments as wrong configuration, an unreachable relay as unavailable.
pub fn client(args: ClientArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Internal(error.into()))?;
    match args.action {
        Some(Action::Usage { admin, journal, json }) => {
            let usage = match journal.as_slice() {
                [] => usage::of_client(
                    runtime.block_on(weir_client::fetch_usage(admin)).map_err(failure)?,
                ),
                journals => usage::of_journals(journals).map_err(failure)?,
            };
            if json {
                return print_json(&usage);
            }
            print!("{}", usage::text(&usage));
            Ok(())
        }
        Some(Action::Settle { admin, timeout }) => {
            let asked = weir_client::request_settle(admin, Duration::from_secs(timeout));
            let report = runtime.block_on(asked).map_err(failure)?;
            print_json(&report)?;
            if report.settled {
                return Ok(());
            }
            Err(Failure::Unavailable("the relay and this client don't agree yet".to_owned()))
        }
        None => {
            logging::start(&LogConfig { format: LogFormat::Text, level: args.run.log.clone() });
            let config = args.run.into_config()?;
            runtime.block_on(serve(config))
        }
    }
}

async fn serve(config: ClientConfig) -> Result<(), Failure> {
    let relay = config.relay.to_string();
    let client = Client::start(config).await.map_err(failure)?;
    let show = |address: Option<SocketAddr>| match address {
        Some(address) => address.to_string(),
        None => "off".to_owned(),
    };
    tracing::info!(
        relay,
        socks = show(client.socks_addr()),
        http = show(client.http_addr()),
        admin = show(client.admin_addr()),
        "the client is ready"
    );
    let listen = |kind| signal(kind).map_err(|error| Failure::Internal(error.into()));
    let (mut terminate, mut interrupt) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    client.run(stop).await.map_err(failure)
}

impl RunArgs {
    fn into_config(self) -> Result<ClientConfig, Failure> {
        // Only the subcommands go without it.
        let relay: RelayUrl = self.relay.unwrap_or_default().parse().map_err(failure)?;
        let mut config = ClientConfig::new(relay);
        config.token = self.token.as_deref().map(read_token).transpose()?;
        config.wallet = self.wallet;
        config.trust = match (self.ca, self.pin_sha256) {
            (Some(ca), _) => Trust::CaFile(ca),
            (None, Some(pin)) => format!("sha256:{pin}").parse().map_err(failure)?,
            (None, None) => Trust::System,
        };
        config.socks = self.socks;
        config.http = self.http;
        config.admin = self.admin;
        config.connections = self.connections;
        config.tolerance = Tolerance {
            bytes: self.payer.payer_tolerance,
            asks_max: self.payer.payer_overbilled_max,
            ..Tolerance::default()
        };
        config.payer = self.payer.into_config()?;
        // The parser has seen to it that both are there, or none.
        config.sla = self
            .sla_agreement
            .zip(self.sla_samples)
            .map(|(agreement_file, samples_file)| SlaConfig { agreement_file, samples_file });
        Ok(config)
    }
}

impl PayerArgs {
    fn into_config(self) -> Result<Option<PayerConfig>, Failure> {
        // The parser has seen to it that all are there, or none.
        let (Some(key), Some(channel), Some(chain_id), Some(escrow), Some(price), Some(state)) = (
            self.payer_key,
            self.payer_channel,
            self.payer_chain_id,
            self.payer_escrow,
            self.payer_price_max,
            self.payer_state,
        ) else {
            return Ok(None);
        };
        let wrong = |what: &'static str| {
            move |error: weir_usage::Error| Failure::Config(format!("{what}: {error}"))
        };
        Ok(Some(PayerConfig {
            signing_key_file: key,
            channel: channel.parse().map_err(wrong("--payer-channel"))?,
            lane: self.payer_lane,
            chain_id,
            escrow: escrow.parse().map_err(wrong("--payer-escrow"))?,
            price_max: weir_usage::Price::new(price).map_err(wrong("--payer-price-max"))?,
            budget: Budget { total: self.payer_budget, per_day: self.payer_budget_day },
            state_file: state,
            period: Duration::from_millis(self.payer_period_ms),
            crash_allowance_bytes: self.payer_crash_allowance,
            vouched_file: self.payer_sold,
        }))
    }
}

/// A secret on the command line would be in every process list and shell history.
fn read_token(source: &str) -> Result<Token, Failure> {
    let text = if let Some(path) = source.strip_prefix("file:") {
        std::fs::read_to_string(path)
            .map_err(|error| Failure::Config(format!("--token file:{path}: {error}")))?
    } else if let Some(variable) = source.strip_prefix("env:") {
        std::env::var(variable)
            .map_err(|error| Failure::Config(format!("--token env:{variable}: {error}")))?
    } else {
        return Err(Failure::Config(
            "--token takes file:PATH or env:VARIABLE: a secret itself would show in every process \
             list; treat the one you just typed as leaked"
                .to_owned(),
        ));
    };
    text.parse().map_err(failure)
}

fn failure(error: weir_client::Error) -> Failure {
    match &error {
        weir_client::Error::Config { .. } | weir_client::Error::File { .. } => {
            Failure::Config(error.to_string())
        }
        _ => Failure::Unavailable(error.to_string()),
    }
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Failure::Internal(e.into()))?;
    println!("{text}");
    Ok(())
}
