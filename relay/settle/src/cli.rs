//! The command line.

mod audit;
mod evidence;
mod lab;
mod operate;
mod rebuild;
mod serve;
mod sla;
mod stake;
mod terms;
mod withdraw;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args as Group, Parser, Subcommand};
use weir_settle::Error;
use weir_settle::config::{self, Config, Endpoint};
use weir_settle::keys::Secret;
use weir_usage::{Address, ChannelId, Digest};

/// Settlement sidecar of a Weir exit.
#[derive(Debug, Parser)]
#[command(name = "weir-settle", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the sidecar until SIGTERM.
    Run {
        #[command(flatten)]
        config: ConfigFile,
        /// Send nothing and write nothing: say what would be sent now, with gas and cost, and end.
        #[arg(long)]
        dry_run: bool,
        /// The dry run as JSON.
        #[arg(long, requires = "dry_run")]
        json: bool,
    },
    /// Check a configuration file and the keys and journal it names, and exit with 78 if one is
    /// wrong.
    Check {
        /// The configuration file.
        file: PathBuf,
        /// Also ask every RPC endpoint, and look at the gas wallet; exit with 1 if one is wrong.
        #[arg(long)]
        online: bool,
    },
    /// Make the kept state anew from the journal, and say whether the old one was equal to it. For
    /// a sidecar that doesn't run.
    Rebuild {
        #[command(flatten)]
        config: ConfigFile,
        /// Write nothing; exit with 1 if the kept state isn't what the journal gives, and name the
        /// first row that differs.
        #[arg(long)]
        check: bool,
    },
    /// Show channels, exposure, outbox and chain of the running sidecar.
    Status {
        #[command(flatten)]
        config: ConfigFile,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say where every unit of a channel went, from the journal; works beside a running sidecar.
    Explain {
        #[command(flatten)]
        config: ConfigFile,
        /// The channel's id.
        channel: ChannelId,
    },
    /// Have the running sidecar claim, settle and anchor now, and wait until all of it is final.
    SettleNow {
        #[command(flatten)]
        config: ConfigFile,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Give up waiting after so many seconds; the sidecar goes on.
        #[arg(long, default_value_t = 600)]
        timeout_s: u64,
        /// Send nothing: say what would be sent, with gas and cost; needs no running sidecar.
        #[arg(long)]
        dry_run: bool,
    },
    /// Bill a tunnel, or a relay's process, as the relay counted it, although the kernel counted
    /// differently.
    Waive {
        #[command(flatten)]
        config: ConfigFile,
        /// What is held back: 32 hexadecimal digits, as `explain` shows them.
        id: String,
        /// Why; kept in the journal.
        #[arg(long)]
        reason: String,
    },
    /// Stop counting what a lane owes up to an amount as exposure.
    WriteOff {
        #[command(flatten)]
        config: ConfigFile,
        /// The channel's id.
        channel: ChannelId,
        /// The lane.
        #[arg(long, default_value_t = 0)]
        lane: u32,
        /// Cumulative amount in token units.
        #[arg(long)]
        amount: u128,
        /// Why; kept in the journal.
        #[arg(long)]
        reason: String,
    },
    /// Fetch what is earned to the payout address, by the running sidecar; or, with --channel, take
    /// the next step of a payer's withdrawal of what is left in its channel.
    Withdraw(withdraw::Withdraw),
    /// Write every voucher, claim, settlement and anchor of the journal to standard output; works
    /// beside a running sidecar. relay/settle/EXPORT.md explains the columns.
    Export {
        #[command(flatten)]
        config: ConfigFile,
        /// As CSV, the default.
        #[arg(long, conflicts_with = "json")]
        csv: bool,
        /// As a JSON array of objects.
        #[arg(long)]
        json: bool,
    },
    /// Deploy ExitEscrow, UsageAnchor and OperatorBond, and on request a test token; or say which
    /// contracts are at given addresses.
    Deploy(Deploy),
    /// What a service was worth: reports, verdicts, statements.
    #[command(subcommand)]
    Sla(sla::Sla),
    /// The payer's side of a channel.
    #[command(subcommand)]
    Channel(ChannelCommand),
    /// What the operator puts behind his word: open a stake, raise it, show it.
    #[command(subcommand)]
    Stake(stake::Stake),
    /// Take a stake back.
    #[command(subcommand)]
    Unstake(stake::Unstake),
    /// Service-level agreements: make, sign, show, open, fund, close.
    #[command(subcommand)]
    Terms(terms::Terms),
    /// Statements of usage: export, search for contradictions, report them.
    #[command(subcommand)]
    Evidence(evidence::Evidence),
    /// Audits without disclosure: random leaves of an epoch, and sums of hidden amounts.
    #[command(subcommand)]
    Audit(audit::Audit),
}

#[derive(Debug, Subcommand)]
enum ChannelCommand {
    /// Open a channel and deposit into it, as the payer whose key is given.
    Open(Open),
}

#[derive(Debug, Group)]
struct Deploy {
    #[command(flatten)]
    chain: Chain,
    /// Also deploy an ERC-20 that anybody can mint. For labs.
    #[arg(long)]
    test_token: bool,
    /// Deploy nothing: compare the code at these addresses with the contracts of this version, and
    /// exit with 1 if one is something else. Needs no key.
    #[arg(long, num_args = 1.., value_name = "ADDRESS")]
    verify: Vec<Address>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Group)]
struct Open {
    #[command(flatten)]
    chain: Chain,
    /// The ExitEscrow contract.
    #[arg(long)]
    escrow: Address,
    /// The ERC-20 token.
    #[arg(long)]
    token: Address,
    /// Whose signature makes a voucher.
    #[arg(long)]
    signer: Address,
    /// The exit's payout address.
    #[arg(long)]
    receiver: Address,
    /// Seconds between initiating and finalizing a withdrawal.
    #[arg(long, default_value_t = 86_400)]
    withdraw_delay_s: u64,
    /// Tells apart channels with the same terms; random if left out.
    #[arg(long)]
    salt: Option<Digest>,
    /// Token units to deposit.
    #[arg(long, default_value_t = 0)]
    deposit: u128,
    /// Mint the deposit first; works with the test token only.
    #[arg(long)]
    mint: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Group)]
struct ConfigFile {
    /// The configuration file.
    #[arg(short = 'c', long = "config")]
    file: PathBuf,
}

#[derive(Debug, Group)]
struct Chain {
    /// JSON-RPC endpoint, or where its URL is: /path of a file, or credential:NAME. Given several
    /// times, more than half must say the same (of two, both), and transactions go to all.
    #[arg(long, required = true)]
    rpc: Vec<Endpoint>,
    /// File with the key that signs and pays for gas, or credential:NAME.
    #[arg(long)]
    key_file: Option<Secret>,
    /// File with the keystore's password, or credential:NAME.
    #[arg(long)]
    password_file: Option<Secret>,
    /// Send nothing: say which transaction would be next, and what it would cost.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match args.command {
            Command::Run { config, dry_run: true, json } => {
                withdraw::dry_run(&load(&config.file)?, false, json).await
            }
            Command::Run { config, .. } => serve::run(&config.file).await,
            Command::Check { file, online } => serve::check(&file, online).await,
            Command::Rebuild { config, check } => rebuild::rebuild(&load(&config.file)?, check),
            Command::Status { config, json } => operate::status(&load(&config.file)?, json).await,
            Command::Explain { config, channel } => operate::explain(&load(&config.file)?, channel),
            Command::SettleNow { config, json, dry_run: true, .. } => {
                withdraw::dry_run(&load(&config.file)?, true, json).await
            }
            Command::SettleNow { config, json, timeout_s, .. } => {
                operate::settle_now(&load(&config.file)?, json, timeout_s).await
            }
            Command::Waive { config, id, reason } => {
                operate::waive(&load(&config.file)?, &id, reason).await
            }
            Command::WriteOff { config, channel, lane, amount, reason } => {
                operate::write_off(&load(&config.file)?, channel, lane, amount, reason).await
            }
            Command::Export { config, csv: _, json } => operate::export(&load(&config.file)?, json),
            Command::Withdraw(args) => withdraw::withdraw(&args).await,
            Command::Deploy(args) => lab::deploy(&args).await,
            Command::Sla(command) => sla::run(command).await,
            Command::Channel(ChannelCommand::Open(open)) => lab::open(&open).await,
            Command::Stake(command) => stake::stake(command).await,
            Command::Unstake(command) => stake::unstake(command).await,
            Command::Terms(command) => terms::run(command).await,
            Command::Evidence(command) => evidence::run(command).await,
            Command::Audit(command) => audit::run(command).await,
        }
    })
}

/// Reads a configuration file; the error lists everything that is wrong with it.
fn load(path: &Path) -> Result<Config, Error> {
    let unread = |source| Error::NoConfig { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unread)?;
    config::parse(&text).map_err(|problems| Error::Config { path: path.to_owned(), problems })
}
