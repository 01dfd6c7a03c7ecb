//! `sla`: reports, verdicts, and what measurers said.

mod day;
mod files;
mod judge;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args as Group, Subcommand};
use serde::{Deserialize, Serialize};
use weir_settle::chain::bond::Bond;
use weir_settle::config::Config;
use weir_settle::control::{self, Request};
use weir_settle::keys::Wallet;
use weir_settle::service::{self, Known};
use weir_settle::storage::ReadOnly;
use weir_settle::{agreement, now_ms};
use weir_sla::{Fate, Judgement, Record, References, Report, Sealed, calendar};
use weir_usage::bond::{Agreement, Verdict};
use weir_usage::{Signature, SignedSample, SlaId};

use super::lab::connect;
use super::{Chain, ConfigFile, load};

/// A report, or a day of statements, is far smaller.
const FILE_BYTES_MAX: u64 = 8 << 20;

#[derive(Debug, Subcommand)]
pub(crate) enum Sla {
    /// Report a period from the journal, signed with the usage key.
    Report {
        #[command(flatten)]
        of: Of,
        /// As signed JSON.
        #[arg(long, conflicts_with = "text")]
        json: bool,
        /// As text, which is the default.
        #[arg(long)]
        text: bool,
        /// Write a signed page with plots to this file as well.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Check a report, JSON or page: that the operator signed it, and that it shows nothing else.
    Verify {
        /// The report.
        file: PathBuf,
    },
    /// Give measurers' statements to the running sidecar: files of one JSON object per line.
    Import {
        #[command(flatten)]
        config: ConfigFile,
        /// Of this agreement; needed if there are several.
        #[arg(long)]
        sla: Option<SlaId>,
        /// The statements.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Compute the verdict on a period and sign it with the usage key.
    Verdict {
        #[command(flatten)]
        of: Of,
        /// Where the verdict is written to; must not exist.
        #[arg(short, long)]
        out: PathBuf,
    },
    /// Judge a period from files alone, as a side without a sidecar or as a measurer does, and sign
    /// the verdict.
    Judge(judge::Judge),
    /// Compute the root over what both signed on a day; anchor it, or look whether it is anchored.
    Day(Box<day::Day>),
    /// Print the hash of a list of references, as terms name it.
    References {
        /// A JSON list such as ["echo://echo.example:7", "http://big.example:80/1g"].
        file: PathBuf,
    },
    /// Add a signature to a verdict: as the other side, the arbiter or a measurer.
    Sign {
        /// The verdict.
        file: PathBuf,
        /// File with the key.
        #[arg(long)]
        key_file: PathBuf,
        /// File with the keystore's password.
        #[arg(long)]
        password_file: Option<PathBuf>,
    },
    /// Bring a verdict to the chain; the credit that follows is paid from the bond. Anybody may.
    Submit {
        /// The verdict.
        file: PathBuf,
        #[command(flatten)]
        chain: Chain,
    },
}

/// Which period of which agreement.
#[derive(Debug, Group)]
pub(crate) struct Of {
    #[command(flatten)]
    config: ConfigFile,
    /// The agreement; needed if there are several.
    #[arg(long)]
    sla: Option<SlaId>,
    /// The calendar month, such as 2026-11.
    #[arg(long, required_unless_present = "period")]
    month: Option<String>,
    /// The period's number, where periods are no months.
    #[arg(long, conflicts_with = "month")]
    period: Option<u32>,
}

/// A verdict as it goes from hand to hand for signatures.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VerdictFile {
    agreement: Agreement,
    verdict: Verdict,
    signatures: Vec<Signature>,
}

pub(super) async fn run(command: Sla) -> Result<ExitCode> {
    match command {
        Sla::Report { of, json, text: _, html } => report(&of, json, html.as_deref()),
        Sla::Verify { file } => {
            let sealed = Sealed::read(&agreement::text(&file, FILE_BYTES_MAX)?)?;
            print!("{}", sealed.report);
            println!("  signed by      {}", sealed.report.terms.operator);
            Ok(ExitCode::SUCCESS)
        }
        Sla::Import { config, sla, files } => import(&load(&config.file)?, sla, &files).await,
        Sla::Verdict { of, out } => verdict(&of, &out),
        Sla::Judge(judge) => judge.run(),
        Sla::Day(day) => day.run().await,
        Sla::References { file } => {
            let references: References = agreement::read_json(&file, FILE_BYTES_MAX)?;
            println!("{}", references.hash());
            Ok(ExitCode::SUCCESS)
        }
        Sla::Sign { file, key_file, password_file } => {
            let wallet = Wallet::load(&key_file, password_file.as_deref())?;
            let mut held: VerdictFile = agreement::read_json(&file, FILE_BYTES_MAX)?;
            held.signatures.push(wallet.sign_digest(&held.verdict.digest(&held.agreement.domain))?);
            // Each signer once, whoever signs twice.
            let ordered = held.verdict.order(&held.agreement.domain, &held.signatures)?;
            held.signatures = ordered.into_iter().map(|(_, signature)| signature).collect();
            std::fs::write(&file, serde_json::to_string_pretty(&held)? + "\n")
                .with_context(|| format!("can't write {}", file.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        Sla::Submit { file, chain } => {
            let held: VerdictFile = agreement::read_json(&file, FILE_BYTES_MAX)?;
            let (nodes, wallet) = connect(&chain)?;
            let bond = Bond::of(nodes, held.agreement.domain).await?;
            let terms = &held.agreement.terms;
            let credited =
                bond.apply_credit(&wallet, terms, &held.verdict, &held.signatures).await?;
            println!("{}", serde_json::to_string_pretty(&credited)?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn report(of: &Of, json: bool, html: Option<&Path>) -> Result<ExitCode> {
    let (config, known, period) = of.read()?;
    let report = Report::of(&known.record, period, &known.paid, now_ms() / 1000)?;
    let signature = service::usage_key(&config)?.sign_digest(&report.digest()?)?;
    let sealed = Sealed::of(report, signature)?;
    if let Some(path) = html {
        std::fs::write(path, sealed.to_html()?)
            .with_context(|| format!("can't write {}", path.display()))?;
    }
    match json {
        true => println!("{}", sealed.to_json()?),
        false => print!("{}", sealed.report),
    }
    Ok(ExitCode::SUCCESS)
}

fn verdict(of: &Of, out: &Path) -> Result<ExitCode> {
    let (config, known, period) = of.read()?;
    write_verdict(&known.record, period, &service::usage_key(&config)?, out)
}

/// Computes a verdict, signs it, and says what follows from it.
fn write_verdict(record: &Record, period: u32, wallet: &Wallet, out: &Path) -> Result<ExitCode> {
    let agreement = record.agreement().clone();
    let verdict = Judgement::of(record, period)?.verdict(record)?;
    let signatures = vec![wallet.sign_digest(&verdict.digest(&agreement.domain))?];
    let terms = &agreement.terms;
    let credit = terms.credit(terms.intervals(period)?, verdict.bad.into())?;
    agreement::write_new(out, &VerdictFile { agreement, verdict, signatures })?;
    println!("good {}, bad {}: a credit of {credit}", verdict.good, verdict.bad);
    println!("evidence {}", verdict.evidence);
    Ok(ExitCode::SUCCESS)
}

async fn import(config: &Config, sla: Option<SlaId>, files: &[PathBuf]) -> Result<ExitCode> {
    let loaded = service::find(config, sla)?;
    let mut record = service::read(&ReadOnly::open(&config.journal)?, loaded)?.record;
    let (mut new, mut known, mut refused) = (0_u64, 0_u64, 0_u64);
    for file in files {
        for (number, line) in agreement::text(file, FILE_BYTES_MAX)?.lines().enumerate() {
            let at = || format!("{}:{}", file.display(), number + 1);
            let statement: SignedSample = serde_json::from_str(line).with_context(at)?;
            match record.add_measured(statement) {
                Ok(Fate::Known) => known += 1,
                Ok(fate) => {
                    if fate == Fate::Contradiction {
                        eprintln!("weir-settle: {}: contradicts an earlier statement", at());
                    }
                    control::ask(&config.control, &Request::Statement(statement)).await?;
                    new += 1;
                }
                Err(error) => {
                    eprintln!("weir-settle: {}: {error}", at());
                    refused += 1;
                }
            }
        }
    }
    writeln!(std::io::stdout(), "{new} imported, {known} known already, {refused} refused")?;
    Ok(ExitCode::from(u8::from(refused > 0)))
}

impl Of {
    fn read(&self) -> Result<(Config, Known, u32)> {
        let config = load(&self.config.file)?;
        let loaded = service::find(&config, self.sla)?;
        let period = match (&self.month, self.period) {
            (Some(month), _) => calendar::period_of_month(&loaded.agreement.terms, month)?,
            (None, Some(period)) => period,
            (None, None) => bail!("name a --month or a --period"),
        };
        let known = service::read(&ReadOnly::open(&config.journal)?, loaded)?;
        if known.strange > 0 {
            let count = known.strange;
            eprintln!("weir-settle: {count} samples in the journal are not the agreement's");
        }
        Ok((config, known, period))
    }
}
