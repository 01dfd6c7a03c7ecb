//! The journal's promise: what was acked survives any crash, and nothing is there twice.

use crate::common::disk::{Disk, Fault};
use crate::common::{EXIT, Rng, stamped};
use weir_settle::Error;
use weir_settle::journal::entry::{Item, LaneOpened, Note};
use weir_settle::journal::format::HEADER_LEN;
use weir_settle::journal::{Entry, Header, Journal};
use weir_settle::storage::{FileStorage, Storage};
use weir_usage::{ChannelId, RecordChain};

fn header() -> Header {
    Header { exit: EXIT.0, secret: [9; 32], created_ms: 1 }
}

fn open<S: Storage>(storage: S) -> Result<(Journal<S>, Vec<Entry>), Error> {
    let mut entries = Vec::new();
    let journal = Journal::open(storage, header(), |_, _, entry| {
        entries.push(entry);
        Ok(())
    })?;
    Ok((journal, entries))
}

/// An entry that can be told from all others.
fn entry(number: u64) -> Entry {
    Entry {
        at_ms: number,
        item: Item::Lane(LaneOpened {
            channel: ChannelId([number as u8; 32]),
            lane: number as u32,
            price_per_gib: number.into(),
        }),
    }
}

fn numbers(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|e| e.at_ms).collect()
}

#[test]
fn what_was_appended_is_read_back_over_many_openings() {
    let disk = Disk::new(1);
    let mut expected = Vec::new();
    for round in 0..20u64 {
        let (mut journal, entries) = open(disk.clone()).unwrap();
        assert_eq!(numbers(&entries), expected);
        let group: Vec<Entry> = (0..=round % 3).map(|i| entry(round * 10 + i)).collect();
        journal.append(&group).unwrap();
        expected.extend(numbers(&group));
        assert_eq!(journal.entries(), expected.len() as u64);
    }
}

#[test]
fn every_kind_of_entry_keeps_its_content() {
    let disk = Disk::new(1);
    let mut chain = RecordChain::new(EXIT, 7);
    let entries = vec![
        Entry::now(Item::Record(Box::new(stamped(&mut chain, 0, 1, 10, 20)))),
        entry(5),
        Entry::now(Item::Note(Note::WrittenOff {
            channel: crate::common::channel(),
            lane: 3,
            amount: u128::MAX,
            reason: "never came back".into(),
        })),
    ];
    open(disk.clone()).unwrap().0.append(&entries).unwrap();
    assert_eq!(open(disk).unwrap().1, entries);
}

/// Crashes at every single step of a run, for many seeds of what the crash leaves behind.
#[test]
fn a_crash_at_any_step_loses_nothing_acked_and_doubles_nothing() {
    const GROUPS: u64 = 5;
    let mut runs = 0;
    for seed in 0..60 {
        for step in 0.. {
            let disk = Disk::new(seed * 1000 + step);
            disk.plan(step, Fault::Crash);
            let mut acked = Vec::new();
            let mut offered = Vec::new();
            if let Ok((mut journal, _)) = open(disk.clone()) {
                for group in 0..GROUPS {
                    let entries: Vec<Entry> =
                        (0..1 + (seed + group) % 4).map(|i| entry(group * 10 + i)).collect();
                    offered.extend(numbers(&entries));
                    match journal.append(&entries) {
                        Ok(()) => acked.extend(numbers(&entries)),
                        Err(_) => break,
                    }
                }
            }
            if !disk.crashed() {
                break;
            }
            runs += 1;
            disk.reboot();
            let (mut journal, found) = open(disk.clone())
                .unwrap_or_else(|e| panic!("seed {seed} step {step}: a crash isn't damage: {e}"));
            let found = numbers(&found);
            assert!(found.starts_with(&acked), "seed {seed} step {step}: {acked:?} in {found:?}");
            assert!(offered.starts_with(&found), "seed {seed} step {step}: {found:?}");
            // And life goes on.
            journal.append(&[entry(99)]).unwrap();
            let after = numbers(&open(disk).unwrap().1);
            assert_eq!(after.last(), Some(&99));
            assert_eq!(after.len(), found.len() + 1);
        }
    }
    assert!(runs > 60 * 10, "only {runs} crashes");
}

/// A crash while recovering from a crash, and again.
#[test]
fn crashes_in_a_row() {
    for seed in 0..200 {
        let mut rng = Rng(seed);
        let disk = Disk::new(seed);
        let mut acked: Vec<u64> = Vec::new();
        let mut next = 0;
        for _ in 0..12 {
            disk.plan(rng.below(7), Fault::Crash);
            if let Ok((mut journal, found)) = open(disk.clone()) {
                assert!(numbers(&found).starts_with(&acked), "seed {seed}");
                acked = numbers(&found);
                while journal.append(&[entry(next)]).is_ok() {
                    acked.push(next);
                    next += 1;
                }
                next += 1;
            }
            disk.reboot();
        }
        let found = numbers(&open(disk).unwrap().1);
        assert!(found.starts_with(&acked), "seed {seed}: {acked:?} in {found:?}");
        let mut sorted = found.clone();
        sorted.dedup();
        assert_eq!(sorted, found, "seed {seed}: something is there twice");
    }
}

#[test]
fn a_full_disk_is_an_error_and_the_same_entries_can_be_written_later() {
    for step in 0..6 {
        let disk = Disk::new(step);
        let (mut journal, _) = open(disk.clone()).unwrap();
        journal.append(&[entry(1)]).unwrap();
        disk.plan(step, Fault::Fail);
        let mut failures = 0;
        for number in 2..6 {
            while let Err(e) = journal.append(&[entry(number)]) {
                assert!(matches!(e, Error::Storage { .. }), "{e}");
                failures += 1;
            }
        }
        assert_eq!(failures, 1);
        drop(journal);
        assert_eq!(numbers(&open(disk).unwrap().1), [1, 2, 3, 4, 5]);
    }
}

#[test]
fn a_torn_tail_is_cut_off_wherever_it_is_torn() {
    let disk = Disk::new(1);
    let (mut journal, _) = open(disk.clone()).unwrap();
    journal.append(&[entry(1), entry(2)]).unwrap();
    let whole = journal.len_bytes() as usize;
    journal.append(&[entry(3)]).unwrap();
    let bytes = disk.bytes();
    for len in whole..bytes.len() {
        disk.set(bytes[..len].to_vec());
        let (journal, found) = open(disk.clone()).unwrap();
        assert_eq!(numbers(&found), [1, 2], "torn at {len}");
        assert_eq!(journal.len_bytes() as usize, whole);
        assert_eq!(disk.bytes().len(), whole, "the tail is gone from the file");
    }
}

#[test]
fn damage_before_the_last_group_is_refused_with_its_offset() {
    let disk = Disk::new(1);
    let (mut journal, _) = open(disk.clone()).unwrap();
    let mut starts = Vec::new();
    for number in 0..4 {
        starts.push(journal.len_bytes());
        journal.append(&[entry(number)]).unwrap();
    }
    let bytes = disk.bytes();
    let last = *starts.last().unwrap() as usize;
    for at in HEADER_LEN..last {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        disk.set(damaged.clone());
        let group = starts.iter().rposition(|start| *start as usize <= at).unwrap();
        match open(disk.clone()) {
            Err(Error::JournalCorrupt { offset, detail }) => {
                assert_eq!(offset, starts[group], "byte {at}: {detail}");
            }
            other => panic!("byte {at} was flipped: {:?}", other.map(|(_, e)| numbers(&e))),
        }
        assert_eq!(disk.bytes(), damaged, "a damaged journal is left as it is");
    }
    let mut header_damaged = bytes;
    header_damaged[3] ^= 1;
    disk.set(header_damaged);
    assert!(matches!(open(disk), Err(Error::JournalCorrupt { offset: 0, .. })));
}

#[test]
fn a_group_taken_out_of_the_middle_is_noticed() {
    let disk = Disk::new(1);
    let (mut journal, _) = open(disk.clone()).unwrap();
    journal.append(&[entry(1)]).unwrap();
    let cut_from = journal.len_bytes() as usize;
    journal.append(&[entry(2)]).unwrap();
    let cut_to = journal.len_bytes() as usize;
    journal.append(&[entry(3)]).unwrap();
    let mut bytes = disk.bytes();
    bytes.drain(cut_from..cut_to);
    disk.set(bytes);
    assert!(matches!(open(disk), Err(Error::JournalCorrupt { .. })));
}

#[test]
fn a_journal_of_another_exit_is_refused() {
    let disk = Disk::new(1);
    open(disk.clone()).unwrap().0.append(&[entry(1)]).unwrap();
    let other = Header { exit: [2; 32], ..header() };
    let outcome = Journal::open(disk, other, |_, _, _| Ok(()));
    assert!(matches!(outcome, Err(Error::JournalForeign { .. })));
}

#[test]
fn a_file_has_one_sidecar_and_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let first = FileStorage::open(&path).unwrap();
    assert!(matches!(FileStorage::open(&path), Err(Error::Locked { .. })));
    let (mut journal, _) = open(first).unwrap();
    journal.append(&[entry(1)]).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    drop(journal);
    let (_, found) = open(FileStorage::open(&path).unwrap()).unwrap();
    assert_eq!(numbers(&found), [1]);
}

/// Anything at all in the file: an error or a journal, never a panic, never a huge allocation.
#[test]
fn noise_is_no_journal() {
    let disk = Disk::new(1);
    open(disk.clone()).unwrap().0.append(&[entry(1), entry(2)]).unwrap();
    let good = disk.bytes();
    let mut rng = Rng(3);
    for _ in 0..3000 {
        let mut bytes = good.clone();
        for _ in 0..1 + rng.below(6) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next() as u8;
        }
        bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize);
        disk.set(bytes);
        drop(open(disk.clone()));
    }
}
