//! `evidence`: what the operator vouches for, and what becomes of two stories.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use weir_settle::chain::bond::{Bond, Pair};
use weir_settle::config::{Config, KeyConfig};
use weir_settle::evidence::{Findings, Statements, search};
use weir_settle::keys::{Secret, Wallet};
use weir_settle::storage::ReadOnly;
use weir_usage::bond::BondDomain;
use weir_usage::{Address, ChannelId, StakeId};

use super::stake::{At, at};
use super::{ConfigFile, load};

#[derive(Debug, Subcommand)]
pub(crate) enum Evidence {
    /// Sign a statement for each anchored epoch in the journal, and for each record of a channel:
    /// for the payer to keep. Works beside a running sidecar; the same every time.
    Export(Export),
    /// Search files of statements for contradictions. Ends with 0 if there are none, with 3 if
    /// there are.
    Check {
        /// The files; the domain is the first one's.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Announce a report of the contradictions of a stake's usage key, without showing it.
    Commit(Report),
    /// Have the stake slashed for the contradictions of its usage key, and fetch the reward.
    /// Announces first where that wasn't done. Safe to repeat.
    Report(Report),
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    key: UsageKey,
    /// The OperatorBond contract, on the configured chain.
    #[arg(long)]
    bond: Address,
    /// Also of each record of this channel.
    #[arg(long)]
    channel: Option<ChannelId>,
    /// Where the statements are written to; must not exist.
    #[arg(short, long)]
    out: PathBuf,
}

/// What signs statements, where the configuration names no usage key.
#[derive(Debug, Args)]
pub(crate) struct UsageKey {
    /// File with the usage key, or credential:NAME; it must be no key that holds money. The
    /// configured one if left out.
    #[arg(long)]
    usage_key_file: Option<Secret>,
    /// File with the keystore's password, or credential:NAME.
    #[arg(long, requires = "usage_key_file")]
    password_file: Option<Secret>,
}

impl UsageKey {
    /// `None` if there is none, neither here nor in the configuration.
    pub(super) fn open(&self, config: &Config) -> Result<Option<Wallet>> {
        if let Some(key) = self.usage_key_file.clone() {
            let password = self.password_file.clone();
            return Ok(Some(Wallet::open(&KeyConfig { key, password })?));
        }
        Ok(config.usage_key.as_ref().map(Wallet::open).transpose()?)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Report {
    #[command(flatten)]
    at: At,
    /// The stake's id.
    #[arg(long)]
    stake: StakeId,
    /// Files of statements.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// `check` found what a stake can be slashed for.
const CONTRADICTION: u8 = 3;

pub(super) async fn run(command: Evidence) -> Result<ExitCode> {
    match command {
        Evidence::Export(command) => export(&command),
        Evidence::Check { files } => {
            let files = read(&files)?;
            let domain = files.first().context("no files")?.domain;
            let findings = search(&files, &domain);
            println!("{}", serde_json::to_string_pretty(&findings)?);
            let found = !findings.contradictions.is_empty();
            Ok(ExitCode::from(if found { CONTRADICTION } else { 0 }))
        }
        Evidence::Commit(report) => {
            let (bond, wallet, pairs) = of_stake(&report).await?;
            let mut made = Vec::new();
            for pair in &pairs {
                made.push(bond.commit_report(&wallet, report.stake, pair).await?);
            }
            println!("{}", serde_json::to_string_pretty(&json!({ "commitments": made }))?);
            Ok(ExitCode::SUCCESS)
        }
        Evidence::Report(report) => {
            let (bond, wallet, pairs) = of_stake(&report).await?;
            let mut made = Vec::new();
            for pair in &pairs {
                made.push(bond.report(&wallet, report.stake, pair).await?);
            }
            println!("{}", serde_json::to_string_pretty(&json!({ "reports": made }))?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn export(command: &Export) -> Result<ExitCode> {
    let config = load(&command.config.file)?;
    let key = command.key.open(&config)?;
    let key = key.context("no usage key: neither --usage-key-file nor one in the configuration")?;
    let domain = BondDomain { chain_id: config.chain.domain.chain_id, bond: command.bond };
    let storage = ReadOnly::open(&config.journal)?;
    let made = Statements::of_journal(&storage, domain, command.channel, &key)?;
    made.write(&command.out)?;
    eprintln!(
        "weir-settle: {} epochs and {} records, signed by {}",
        made.epochs.len(),
        made.records.len(),
        key.address()
    );
    Ok(ExitCode::SUCCESS)
}

/// The contradictions in the files that are of the stake's own usage key.
async fn of_stake(report: &Report) -> Result<(Bond, Wallet, Vec<Pair>)> {
    let files = read(&report.files)?;
    let (bond, wallet) = at(&report.at).await?;
    let stake = bond.stake(report.stake).await?;
    let signer = stake.with_context(|| format!("there is no stake {}", report.stake))?.terms.signer;
    let Findings { statements, contradictions, flawed } = search(&files, &bond.domain());
    for flaw in &flawed {
        let file = report.files[flaw.file].display();
        eprintln!("weir-settle: {file}: {}: {}", flaw.statement, flaw.reason);
    }
    let pairs: Vec<Pair> =
        contradictions.iter().filter(|one| one.signer == signer).map(|one| one.pair).collect();
    if pairs.is_empty() {
        bail!("{statements} statements, and no contradiction of {signer} among them");
    }
    Ok((bond, wallet, pairs))
}

fn read(files: &[PathBuf]) -> Result<Vec<Statements>> {
    Ok(files.iter().map(|file| Statements::read(file)).collect::<Result<_, _>>()?)
}
