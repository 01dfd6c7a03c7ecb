//! `withdraw`, and what is shown of a dry run.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use weir_settle::chain::contracts::address;
use weir_settle::chain::payer::{self, Withdrawal};
use weir_settle::chain::preview::{Preview, preview};
use weir_settle::config::{Config, Endpoint, KeyConfig};
use weir_settle::keys::{Keys, Secret, Wallet};
use weir_settle::storage::Snapshot;
use weir_usage::{Address, ChannelId};

use super::{lab, operate};

#[derive(Debug, Args)]
pub(crate) struct Withdraw {
    /// As the exit: its configuration file.
    #[arg(short = 'c', long = "config", required_unless_present = "channel")]
    config: Option<PathBuf>,
    /// As a payer: the channel to leave.
    #[arg(long, conflicts_with = "config", requires_all = ["rpc", "key_file", "escrow"])]
    channel: Option<ChannelId>,
    /// JSON-RPC endpoint, or where its URL is. Several, each after --rpc, must agree.
    #[arg(long)]
    rpc: Vec<Endpoint>,
    /// File with the payer's key, or credential:NAME.
    #[arg(long)]
    key_file: Option<Secret>,
    /// File with the keystore's password, or credential:NAME.
    #[arg(long)]
    password_file: Option<Secret>,
    /// The ExitEscrow contract.
    #[arg(long)]
    escrow: Option<Address>,
    /// Send nothing: say what would be sent, and what it would cost.
    #[arg(long)]
    dry_run: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn withdraw(args: &Withdraw) -> Result<ExitCode> {
    if args.channel.is_some() {
        return leave(args).await;
    }
    let file = args.config.as_deref().context("either -c or --channel")?;
    let config = super::load(file)?;
    if args.dry_run {
        return dry_run(&config, true, args.json).await;
    }
    // The sidecar alone uses its wallet's nonces, so it is the one that sends.
    operate::settle_now(&config, args.json, 600).await
}

async fn leave(args: &Withdraw) -> Result<ExitCode> {
    let missing = "--channel needs --rpc, --key-file and --escrow";
    let (channel, escrow) = (args.channel.context(missing)?, args.escrow.context(missing)?);
    let key = args.key_file.clone().context(missing)?;
    let wallet = Wallet::open(&KeyConfig { key, password: args.password_file.clone() })?;
    let nodes = lab::nodes(&args.rpc)?;
    let outcome = payer::withdraw(&nodes, &wallet, address(escrow), channel, args.dry_run).await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&outcome)?);
        return Ok(ExitCode::SUCCESS);
    }
    match outcome {
        Withdrawal::Initiated { tx, ready_at } => {
            println!("initiated in {tx}; repeat this from Unix time {ready_at} on");
        }
        Withdrawal::Waiting { ready_at, seconds_left } => {
            println!("initiated; {seconds_left} s are left, until Unix time {ready_at}");
        }
        Withdrawal::Finalized { tx, units } => println!("{units} units withdrawn in {tx}"),
        Withdrawal::Would { call, units, gas, cost_wei } => println!(
            "would send {call} for {units} units, gas {gas}, about {cost_wei} wei; nothing was sent"
        ),
        Withdrawal::Empty => println!("there is nothing in the channel"),
    }
    Ok(ExitCode::SUCCESS)
}

/// What would be sent, from a copy of the journal; `all` is what `settle-now` would do.
pub(super) async fn dry_run(config: &Config, all: bool, json: bool) -> Result<ExitCode> {
    let keys = Keys::open(config)?;
    let journal = Snapshot::of(&config.journal)?;
    let preview = preview(config, journal, keys.claim, all).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&preview)?);
    } else {
        print(&preview);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(preview: &Preview) {
    for intent in &preview.under_way {
        println!("under way: {} {} is {}", intent.kind, intent.id, intent.state);
    }
    for send in &preview.sends {
        println!("would send {} to {}: {}", send.kind, send.to, send.what);
        println!("    gas {}, about {} wei", send.gas, send.cost_wei);
    }
    for waiting in &preview.waiting {
        println!("would wait with {}: {}", waiting.kind, waiting.words);
    }
    if preview.sends.is_empty() {
        println!("would send nothing now");
    }
    let cost = preview.sends.iter().fold(0u128, |sum, send| sum.saturating_add(send.cost_wei));
    println!(
        "in all about {cost} wei at {} wei per gas; {} has {} wei; nothing was sent",
        preview.gas_price_wei, preview.wallet, preview.wallet_wei
    );
}
