//! `rebuild`.

use std::process::ExitCode;

use anyhow::Result;
use weir_settle::Error;
use weir_settle::config::Config;
use weir_settle::state::Beside;
use weir_settle::state::rebuild::{Verdict, rebuild as anew};
use weir_settle::storage::FileStorage;

pub(super) fn rebuild(config: &Config, check: bool) -> Result<ExitCode> {
    // Opening makes a file, and one that is made here would be somebody's typing error.
    if !config.journal.exists() {
        return Err(Error::NoJournal.into());
    }
    // For its lock: a sidecar that runs has the state open, and goes on while it is looked at.
    let storage = FileStorage::open(&config.journal)?;
    let place = Beside::of(&config.journal);
    let shown = place.path().display().to_string();
    let made = anew(config, &storage, Box::new(place), !check)?;
    println!("journal: {} entries, {} bytes", made.journal.entries, made.journal.offset);
    if let Some(kept) = made.kept {
        println!("{shown}: {} entries, {} bytes", kept.entries, kept.offset);
    }
    match &made.verdict {
        Verdict::Equal => println!("equal to what the journal gives"),
        Verdict::Differs { row, kept, journal } => {
            let text = |row: &Option<String>| row.clone().unwrap_or_else(|| "nothing".into());
            println!("DIFFERS first in {row}:");
            println!("  kept:    {}", text(kept));
            println!("  journal: {}", text(journal));
        }
        Verdict::Refused(doubt) => println!("NOT USED: {doubt}"),
    }
    if !check {
        println!("written anew, {} rows", made.rows);
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(u8::from(made.verdict != Verdict::Equal)))
}
