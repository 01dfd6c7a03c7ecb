//! A start on a journal of records: by the kept state, and by a replay of all of it.

use std::path::Path;
use std::time::Instant;

use serde_json::{Map, json};
use weir_settle::journal::Header;
use weir_settle::sidecar;
use weir_settle::state::Beside;
use weir_settle::storage::FileStorage;

use crate::common::{EXIT, config};
use crate::{Measured, journal};

/// The best of so many counts: what else the machine does only makes it slower.
const ROUNDS: usize = 5;

pub(crate) fn measure() -> Measured {
    let directory = journal::directory();
    let written = journal::fill(directory.path());
    let (config, path) = (config(), directory.path().join("journal"));
    let place = || Box::new(Beside::of(&path));
    let open = || FileStorage::open(&path).expect("nobody else has it");
    let replay_s = best(|| {
        let (opened, book, _) = sidecar::open(&config, open()).expect("the journal is sound");
        assert_eq!(opened.entries(), journal::ENTRIES);
        assert_eq!(book.tunnels() as u64, journal::TUNNELS);
    });
    let resume = || {
        let fresh = Header { exit: EXIT.0, secret: [0; 32], created_ms: 0 };
        let opened = sidecar::resume(&config, open(), fresh, place()).expect("a start");
        assert_eq!(opened.journal.entries(), journal::ENTRIES);
        assert_eq!(opened.book.tunnels() as u64, journal::TUNNELS);
    };
    // The first one finds no state, and writes it.
    let first = Instant::now();
    resume();
    let first_s = first.elapsed().as_secs_f64();
    let seconds = best(resume);
    let mut figures = Map::new();
    figures.insert("replay_s".into(), json!(replay_s));
    figures.insert("replay_and_write_s".into(), json!(first_s));
    figures.insert("journal_bytes".into(), json!(size(&path)));
    figures.insert("state_bytes".into(), json!(size(Beside::of(&path).path())));
    Measured { units: written.units, seconds, cpu_ns: None, figures }
}

fn best(start: impl Fn()) -> f64 {
    let timed = |_| {
        let begin = Instant::now();
        start();
        begin.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(timed).fold(f64::INFINITY, f64::min)
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}
