//! `sla judge`: the verdict of whoever has the files. Nobody has to take the operator's word for
//! what was brought to his sidecar.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use weir_settle::keys::Wallet;

use super::files::{Files, take};
use super::write_verdict;

#[derive(Debug, Args)]
pub(crate) struct Judge {
    /// The agreement.
    agreement: PathBuf,
    /// The period's number.
    #[arg(long)]
    period: u32,
    #[command(flatten)]
    files: Files,
    /// What measurers said; files of one JSON object per line.
    #[arg(long = "statements")]
    statements: Vec<PathBuf>,
    /// File with the key that signs the verdict: a side's, the arbiter's or a measurer's.
    #[arg(long)]
    key_file: PathBuf,
    /// File with the keystore's password.
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// Where the verdict is written to; must not exist.
    #[arg(short, long)]
    out: PathBuf,
}

impl Judge {
    pub(super) fn run(self) -> Result<ExitCode> {
        let mut record = self.files.record(&self.agreement)?;
        for file in &self.statements {
            take(file, |statement| record.add_measured(statement))?;
        }
        let wallet = Wallet::load(&self.key_file, self.password_file.as_deref())?;
        write_verdict(&record, self.period, &wallet, &self.out)
    }
}
