//! `stake` and `unstake`: what the operator puts behind his word.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::json;
use weir_settle::chain::bond::{Bond, Done};
use weir_settle::config::Endpoint;
use weir_settle::keys::Wallet;
use weir_usage::bond::StakeTerms;
use weir_usage::{Address, Digest, StakeId};

use super::Chain;
use super::lab::{connect, nodes};

#[derive(Debug, Subcommand)]
pub(crate) enum Stake {
    /// Have a stake with these terms and so much bonded: open it, or add what is missing. Safe to
    /// repeat.
    Open(Open),
    /// Have so much bonded in an existing stake; anybody may add to it. Safe to repeat.
    Bond {
        #[command(flatten)]
        at: At,
        /// The stake's id.
        stake: StakeId,
        /// Token units that are to be bonded in all.
        #[arg(long)]
        active: u128,
        /// Mint what is missing first; works with the test token only.
        #[arg(long)]
        mint: bool,
    },
    /// Show a stake.
    Show {
        /// JSON-RPC endpoint, or where its URL is. Several, each after --rpc, must agree.
        #[arg(long, required = true)]
        rpc: Vec<Endpoint>,
        /// The OperatorBond contract.
        #[arg(long)]
        bond: Address,
        /// The stake's id.
        stake: StakeId,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Unstake {
    /// Start the delay for everything bonded above an amount. Safe to repeat.
    Unbond {
        #[command(flatten)]
        at: At,
        /// The stake's id.
        stake: StakeId,
        /// Token units that stay bonded.
        #[arg(long, default_value_t = 0)]
        leave: u128,
    },
    /// Bond again what is unbonding.
    Rebond {
        #[command(flatten)]
        at: At,
        /// The stake's id.
        stake: StakeId,
    },
    /// Pay what has been unbonding for the delay to the payout address; anybody may.
    Release {
        #[command(flatten)]
        at: At,
        /// The stake's id.
        stake: StakeId,
    },
}

/// Where, and with which key. It must not be the key of a running sidecar.
#[derive(Debug, Args)]
pub(crate) struct At {
    #[command(flatten)]
    pub(super) chain: Chain,
    /// The OperatorBond contract.
    #[arg(long)]
    pub(super) bond: Address,
}

#[derive(Debug, Args)]
pub(crate) struct Open {
    #[command(flatten)]
    at: At,
    /// Address of the usage key, whose statements the stake answers for.
    #[arg(long)]
    signer: Address,
    /// Who gets back what is unbonded.
    #[arg(long)]
    payout: Address,
    /// The ERC-20 token.
    #[arg(long)]
    token: Address,
    /// Seconds between unbonding and release.
    #[arg(long, default_value_t = 7 * 86_400)]
    unbond_delay_s: u64,
    /// Rate that the operator stands for, kbit/s.
    #[arg(long)]
    committed_kbps: u64,
    /// Availability that the operator stands for, parts per million of all minutes.
    #[arg(long)]
    availability_ppm: u32,
    /// Tells apart stakes with the same terms.
    #[arg(long, default_value_t = Digest::ZERO)]
    salt: Digest,
    /// Token units that are to be bonded.
    #[arg(long)]
    active: u128,
    /// Mint what is missing first; works with the test token only.
    #[arg(long)]
    mint: bool,
}

pub(super) async fn stake(command: Stake) -> Result<ExitCode> {
    match command {
        Stake::Open(open) => {
            let (bond, wallet) = at(&open.at).await?;
            let terms = StakeTerms {
                operator: Address(wallet.address().into_array()),
                signer: open.signer,
                payout: open.payout,
                token: open.token,
                unbond_delay_s: open.unbond_delay_s,
                committed_kbps: open.committed_kbps,
                availability_ppm: open.availability_ppm,
                salt: open.salt,
            };
            let done = bond.open_stake(&wallet, &terms, open.active, open.mint).await?;
            show(&bond, terms.id(&bond.domain()), &done).await
        }
        Stake::Bond { at: place, stake, active, mint } => {
            let (bond, wallet) = at(&place).await?;
            let done = bond.raise_stake(&wallet, stake, active, mint).await?;
            show(&bond, stake, &done).await
        }
        Stake::Show { rpc, bond, stake } => {
            let bond = Bond::at(nodes(&rpc)?, bond).await?;
            show(&bond, stake, &Done::default()).await
        }
    }
}

pub(super) async fn unstake(command: Unstake) -> Result<ExitCode> {
    let (bond, stake, done) = match command {
        Unstake::Unbond { at: place, stake, leave } => {
            let (bond, wallet) = at(&place).await?;
            let done = bond.unbond(&wallet, stake, leave).await?;
            (bond, stake, done)
        }
        Unstake::Rebond { at: place, stake } => {
            let (bond, wallet) = at(&place).await?;
            let done = bond.rebond(&wallet, stake).await?;
            (bond, stake, done)
        }
        Unstake::Release { at: place, stake } => {
            let (bond, wallet) = at(&place).await?;
            let done = bond.release(&wallet, stake).await?;
            (bond, stake, done)
        }
    };
    show(&bond, stake, &done).await
}

pub(super) async fn at(at: &At) -> Result<(Bond, Wallet)> {
    let (nodes, wallet) = connect(&at.chain)?;
    Ok((Bond::at(nodes, at.bond).await?, wallet))
}

async fn show(bond: &Bond, id: StakeId, done: &Done) -> Result<ExitCode> {
    let stake = bond.stake(id).await?.with_context(|| format!("there is no stake {id}"))?;
    let out = json!({ "stake": stake, "transactions": done.transactions });
    println!("{}", serde_json::to_string_pretty(&out)?);
    Ok(ExitCode::SUCCESS)
}
