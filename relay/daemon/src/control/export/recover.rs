//! Ledger files that crashed processes left behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use weir_core::ledger::{Amount, DirectionCounters, DropReason};
use weir_io::{LedgerReader, SlotSnapshot};

/// The tunnels of one dead worker. Nothing is pending in any, whether it was open or closed.
#[derive(Debug)]
pub(crate) struct Recovered {
    path: PathBuf,
    pub slots: Vec<SlotSnapshot>,
    /// When the file was made, Unix time in milliseconds: no tunnel in it is older. When it was
    /// written last is not known, since stores through a mapping need not show in its times.
    pub made_ms: u64,
}

impl Recovered {
    /// Everything of the file is reported: it isn't needed any more.
    pub(crate) fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::error!("{}: can't be removed: {error}", self.path.display());
        }
    }
}

/// Reads all files in `dir` whose writer is dead. A file that can't be understood is kept for the
/// operator and named in the log.
pub(crate) fn read_dead(dir: &Path) -> Vec<Recovered> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        if path.extension().is_none_or(|extension| extension != EXTENSION) {
            continue;
        }
        match read_one(&path) {
            Ok(Some(recovered)) => {
                let tunnels = recovered.slots.len();
                tracing::warn!(
                    tunnels,
                    "recovering the ledger {} of a dead process",
                    path.display()
                );
                found.push(recovered);
            }
            Ok(None) => {}
            Err(error) => tracing::error!("a ledger can't be recovered and is kept: {error}"),
        }
    }
    found
}

/// The extension of ledger files.
pub(crate) const EXTENSION: &str = "ledger";

/// Where a worker's ledger is.
pub(crate) fn file_name(dir: &Path, epoch: u64, worker: usize) -> PathBuf {
    dir.join(format!("{epoch:016x}-{worker}.{EXTENSION}"))
}

fn read_one(path: &Path) -> Result<Option<Recovered>, weir_io::Error> {
    let reader = LedgerReader::open(path)?;
    if reader.writer_is_alive()? {
        return Ok(None);
    }
    let mut slots = reader.iter().collect::<Result<Vec<_>, _>>()?;
    for slot in &mut slots {
        end(&mut slot.counters.up);
        end(&mut slot.counters.down);
    }
    let made = fs::metadata(path).and_then(|found| found.created().or_else(|_| found.modified()));
    let made = made.unwrap_or(UNIX_EPOCH).duration_since(UNIX_EPOCH).unwrap_or_default();
    let made_ms = u64::try_from(made.as_millis()).unwrap_or(u64::MAX);
    Ok(Some(Recovered { path: path.to_owned(), slots, made_ms }))
}

/// What was received and not yet forwarded died with the process.
fn end(direction: &mut DirectionCounters) {
    let Some(Amount { bytes, datagrams }) = direction.pending() else { return };
    direction.dropped[DropReason::Closed as usize].add_many(datagrams, bytes);
}
