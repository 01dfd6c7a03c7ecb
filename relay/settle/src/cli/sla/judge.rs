//! `sla judge`: the verdict of whoever has the files: samples that both signed, as `weir client`
//! keeps them, and statements, as `weir measure` does. Nobody has to take the operator's word for
//! what was brought to his sidecar.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use serde::de::DeserializeOwned;
use weir_settle::agreement;
use weir_settle::keys::Wallet;
use weir_sla::{Error, Fate, Maintenance, Record};
use weir_usage::Address;

use super::{FILE_BYTES_MAX, write_verdict};

#[derive(Debug, Args)]
pub(crate) struct Judge {
    /// The agreement.
    agreement: PathBuf,
    /// The period's number.
    #[arg(long)]
    period: u32,
    /// Who signs the channel's vouchers, and the client's samples.
    #[arg(long)]
    client: Address,
    /// The maintenance windows that the terms name, JSON.
    #[arg(long)]
    maintenance: Option<PathBuf>,
    /// Samples that client and exit signed; files of one JSON object per line.
    #[arg(long = "samples")]
    samples: Vec<PathBuf>,
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
        let agreement = agreement::read(&self.agreement)?;
        agreement.signatures()?;
        let maintenance: Maintenance = match &self.maintenance {
            None => Maintenance::default(),
            Some(path) => agreement::read_json(path, FILE_BYTES_MAX)?,
        };
        let mut record = Record::new(agreement, self.client, maintenance)?;
        for file in &self.samples {
            take(file, |sample| record.add_used(sample))?;
        }
        for file in &self.statements {
            take(file, |statement| record.add_measured(statement))?;
        }
        let wallet = Wallet::load(&self.key_file, self.password_file.as_deref())?;
        write_verdict(&record, self.period, &wallet, &self.out)
    }
}

/// Takes what a file's lines say. What isn't the agreement's, or not signed by whom it should be,
/// is named and left out: a file may hold more than one agreement's.
fn take<T: DeserializeOwned>(
    file: &Path,
    mut add: impl FnMut(T) -> Result<Fate, Error>,
) -> Result<()> {
    for (number, line) in agreement::text(file, FILE_BYTES_MAX)?.lines().enumerate() {
        let at = || format!("{}:{}", file.display(), number + 1);
        match add(serde_json::from_str(line).with_context(at)?) {
            Ok(Fate::Contradiction) => {
                eprintln!("weir-settle: {}: contradicts an earlier statement", at());
            }
            Ok(_) => {}
            Err(error) => eprintln!("weir-settle: {}: left out: {error}", at()),
        }
    }
    Ok(())
}
