//! `sla day`: the root over what both signed on a day, computed from journal or files, anchored on
//! chain, or compared with what is anchored there. So a sample that was signed can't be forgotten
//! after its day.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use weir_settle::chain::challenge::Challenges;
use weir_settle::chain::days::DAYS_BACK;
use weir_settle::chain::nodes::Nodes;
use weir_settle::config::Endpoint;
use weir_settle::keys::Secret;
use weir_settle::storage::ReadOnly;
use weir_settle::{Error, audit, now_ms, service};
use weir_sla::calendar::{self, DAY_S};
use weir_sla::{Record, daily};
use weir_usage::merkle::Anchor;
use weir_usage::{Address, SlaId};

use super::files::Files;
use crate::cli::lab::{nodes, wallet};
use crate::cli::load;

/// So long after its interval an exit takes a sample.
const STALE_S: u64 = service::STALE_MS / 1000;

#[derive(Debug, Args)]
pub(crate) struct Day {
    /// The UTC day, such as 2026-11-22.
    day: String,
    /// From the journal of this configuration, which also names endpoint and contract.
    #[arg(short, long, conflicts_with = "agreement")]
    config: Option<PathBuf>,
    /// Of this agreement; needed if the configuration has several.
    #[arg(long, requires = "config")]
    sla: Option<SlaId>,
    /// From files: the agreement.
    #[arg(long, requires = "client", required_unless_present = "config")]
    agreement: Option<PathBuf>,
    #[command(flatten)]
    files: Files,
    /// JSON-RPC endpoint, or where its URL is. Several, each after --rpc, must agree. The
    /// configuration's if left out.
    #[arg(long)]
    rpc: Vec<Endpoint>,
    /// The UsageAnchor contract.
    #[arg(long)]
    contract: Option<Address>,
    /// Anchor it with this key, which is not the sidecar's; safe to repeat.
    #[arg(long, conflicts_with = "exit")]
    key_file: Option<Secret>,
    /// File with the keystore's password.
    #[arg(long, requires = "key_file")]
    password_file: Option<Secret>,
    /// Send nothing: say what anchoring it would cost.
    #[arg(long, requires = "key_file")]
    dry_run: bool,
    /// Look whether this account has anchored it; exit status 1 if it hasn't.
    #[arg(long)]
    exit: Option<Address>,
}

impl Day {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let day = calendar::day(&self.day)?;
        let (record, nodes, contract) = self.read()?;
        let (hours, anchor) = daily(&record, day)?;
        let at = || -> Result<Challenges> {
            let nodes = nodes.clone().context("--rpc is missing")?;
            let contract = contract.context("--contract is missing: which UsageAnchor?")?;
            Ok(Challenges::at(nodes, contract))
        };
        let (mut transaction, mut anchored) = (None, None);
        if self.key_file.is_some() {
            must_be_over(&record, day)?;
            self.must_be_left_to_it(day, &anchor)?;
            let wallet = wallet(&self.key_file, &self.password_file, self.dry_run)?;
            transaction = at()?.anchor(&wallet, &anchor).await?;
            anchored = Some(true);
        }
        if let Some(exit) = self.exit {
            anchored = Some(at()?.is_anchored(exit, &anchor).await?);
        }
        let out = json!({
            "sla": record.agreement().id(),
            "epoch": anchor.epoch,
            "root": anchor.root,
            "total": anchor.total.to_string(),
            "hours": hours,
            "anchored": anchored,
            "transaction": transaction,
        });
        println!("{}", serde_json::to_string_pretty(&out)?);
        Ok(ExitCode::from(u8::from(anchored == Some(false))))
    }

    /// Whatever the sidecar has anchored or will anchor by itself isn't anchored here: one day, one
    /// root.
    fn must_be_left_to_it(&self, day: u64, anchor: &Anchor) -> Result<()> {
        let Some(file) = &self.config else { return Ok(()) };
        let config = load(file)?;
        let today = now_ms() / 1000 / DAY_S;
        if config.duties.sample_days
            && config.chain.anchor.is_some()
            && day.saturating_add(DAYS_BACK) >= today
        {
            bail!(
                "the sidecar anchors the days of the last {DAYS_BACK} by itself, with its own key: \
                 leave this one to it, or switch that off with sample_days in [duties]"
            );
        }
        match audit::find(&ReadOnly::open(&config.journal)?, anchor.epoch) {
            Ok((_, held)) => bail!(
                "the sidecar has decided on root {} for that day, with its own key; `status` says \
                 whether it is anchored",
                held.root
            ),
            Err(Error::Audit(_)) => Ok(()),
            Err(other) => Err(other.into()),
        }
    }

    /// The record, and where it is anchored as far as that is said.
    fn read(&self) -> Result<(Record, Option<Nodes>, Option<Address>)> {
        let named = if self.rpc.is_empty() { None } else { Some(nodes(&self.rpc)?) };
        let contract = self.contract;
        let Some(file) = &self.config else {
            let agreement = self.agreement.as_ref().context("--agreement is missing")?;
            return Ok((self.files.record(agreement)?, named, contract));
        };
        let config = load(file)?;
        let loaded = service::find(&config, self.sla)?;
        let record = service::read(&ReadOnly::open(&config.journal)?, loaded)?.record;
        // Its URLs may be secrets, and a day is computed without them.
        let asks = self.key_file.is_some() || self.exit.is_some();
        let nodes = match named {
            None if asks => Some(Nodes::configured(&config.chain)?),
            named => named,
        };
        Ok((record, nodes, contract.or(config.chain.anchor)))
    }
}

/// An anchor can't be changed: no sample of the day may come after it.
fn must_be_over(record: &Record, day: u64) -> Result<()> {
    let interval_s = u64::from(record.agreement().terms.interval_s);
    let over_s = day.saturating_add(1).saturating_mul(DAY_S).saturating_add(interval_s + STALE_S);
    let now_s = now_ms() / 1000;
    if now_s < over_s {
        bail!("samples of that day are taken until {}", calendar::date_time(over_s));
    }
    Ok(())
}
