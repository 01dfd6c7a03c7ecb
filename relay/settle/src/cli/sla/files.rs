//! A record out of files: what client and exit signed, as `weir client` keeps it, and what
//! measurers said, as `weir measure` does.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde::de::DeserializeOwned;
use weir_settle::agreement;
use weir_sla::{Error, Fate, Maintenance, Record};
use weir_usage::Address;

use super::FILE_BYTES_MAX;

/// Whose record it is, and the files.
#[derive(Debug, Args)]
pub(super) struct Files {
    /// Who signs the channel's vouchers, and the client's samples.
    #[arg(long)]
    client: Option<Address>,
    /// The maintenance windows that the terms name, JSON.
    #[arg(long)]
    maintenance: Option<PathBuf>,
    /// Samples that client and exit signed; files of one JSON object per line.
    #[arg(long = "samples")]
    samples: Vec<PathBuf>,
}

impl Files {
    /// The record of an agreement that both sides have signed.
    pub(super) fn record(&self, file: &Path) -> Result<Record> {
        let agreement = agreement::read(file)?;
        agreement.signatures()?;
        let maintenance: Maintenance = match &self.maintenance {
            None => Maintenance::default(),
            Some(path) => agreement::read_json(path, FILE_BYTES_MAX)?,
        };
        let client = self.client.context("--client is missing: whose samples are these?")?;
        let mut record = Record::new(agreement, client, maintenance)?;
        for file in &self.samples {
            take(file, |sample| record.add_used(sample))?;
        }
        Ok(record)
    }
}

/// Takes what a file's lines say. What isn't the agreement's, or not signed by whom it should be,
/// is named and left out: a file may hold more than one agreement's.
pub(super) fn take<T: DeserializeOwned>(
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
