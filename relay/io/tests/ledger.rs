//! The ledger file, from both sides.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::prelude::*;
use tempfile::TempDir;
use weir_core::ledger::{Amount, DROP_REASONS, DirectionCounters, DropReason, TunnelCounters};
use weir_core::port::{FlowTuple, Ledger, LedgerEntry, SlotId, Transport};
use weir_io::ledger_file::{SLOT_BYTES, SLOTS_MAX};
use weir_io::{Error, LedgerReader, LedgerWriter, SlotRead, SlotSnapshot, SlotState};

fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    (dir, path)
}

fn entry(tunnel: u128) -> LedgerEntry {
    let v6 = tunnel % 2 == 1;
    LedgerEntry {
        tunnel,
        session: tunnel as u64 ^ 0x5555,
        channel: [tunnel as u8; 32],
        lane: tunnel as u32,
        flow: FlowTuple {
            transport: if v6 { Transport::Tcp } else { Transport::Udp },
            local: if v6 { "[2001:db8::1%3]:40000" } else { "192.0.2.1:40000" }.parse().unwrap(),
            remote: if v6 { "[2001:db8::2]:443" } else { "198.51.100.7:53" }.parse().unwrap(),
        },
    }
}

/// Counters in which every field differs, and all follow from one number.
fn counters(n: u64) -> TunnelCounters {
    let amount = |i: u64| Amount { bytes: n * 1000 + i, datagrams: n * 1000 + 500 + i };
    let direction = |base: u64| DirectionCounters {
        received: amount(base),
        forwarded: amount(base + 1),
        dropped: std::array::from_fn(|reason| amount(base + 2 + reason as u64)),
    };
    TunnelCounters { up: direction(0), down: direction(100) }
}

fn used(read: SlotRead) -> SlotSnapshot {
    match read {
        SlotRead::Used(snapshot) => snapshot,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tunnel_goes_from_open_to_closed_to_free() {
    a_tunnel_goes(|_, path| LedgerReader::open(path).unwrap());
    a_tunnel_goes(|writer, _| writer.reader());
}

fn a_tunnel_goes(reader: impl FnOnce(&LedgerWriter, &Path) -> LedgerReader) {
    let (_dir, path) = place();
    let mut writer = LedgerWriter::create(&path, 77, 3, 4).unwrap();
    let reader = reader(&writer, &path);
    assert_eq!((reader.epoch(), reader.worker(), reader.slot_count()), (77, 3, 4));
    assert_eq!(reader.iter().count(), 0);

    let slot = writer.open(&entry(5)).unwrap();
    let fresh = used(reader.read(slot).unwrap());
    assert_eq!((fresh.state, fresh.entry), (SlotState::Open, entry(5)));
    assert_eq!(fresh.counters, TunnelCounters::default());
    writer.publish(slot, &counters(1));
    assert_eq!(used(reader.read(slot).unwrap()).counters, counters(1));
    assert!(!reader.free(slot, 5), "an open slot can't be freed");

    writer.close(slot, &counters(2));
    let last = used(reader.read(slot).unwrap());
    assert_eq!((last.state, last.counters), (SlotState::Closed, counters(2)));
    assert!(!reader.free(slot, 6), "another tunnel");
    assert!(reader.free(slot, 5));
    assert!(!reader.free(slot, 5), "only once");
    assert_eq!(reader.read(slot).unwrap(), SlotRead::Free);

    let again = writer.open(&entry(8)).unwrap();
    assert_eq!(again, slot, "the freed slot is used before a new one");
    let fresh = used(reader.read(slot).unwrap());
    assert_eq!((fresh.entry, fresh.counters), (entry(8), TunnelCounters::default()));
}

#[test]
fn a_full_ledger_refuses_until_a_slot_is_freed() {
    let (_dir, path) = place();
    let mut writer = LedgerWriter::create(&path, 1, 0, 200).unwrap();
    let slots: Vec<SlotId> = (0..200).map(|n| writer.open(&entry(n)).unwrap()).collect();
    assert_eq!(writer.open(&entry(200)), None);
    writer.close(slots[120], &counters(1));
    assert_eq!(writer.open(&entry(200)), None, "closed is not exported");
    let reader = LedgerReader::open(&path).unwrap();
    assert!(reader.free(slots[120], 120));
    assert_eq!(writer.open(&entry(200)), Some(slots[120]));
    assert_eq!(reader.iter().count(), 200);
}

#[test]
fn the_file_is_private_exclusive_sparse_and_bounded() {
    let (_dir, path) = place();
    let writer = LedgerWriter::create(&path, 1, 0, 10_000).unwrap();
    let meta = fs::metadata(&path).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    assert_eq!(meta.len(), 4096 + 10_000 * SLOT_BYTES as u64);
    let allocated = std::os::unix::fs::MetadataExt::blocks(&meta) * 512;
    assert!(allocated < 200_000, "{allocated} bytes for an empty ledger");
    let error = LedgerWriter::create(&path, 1, 0, 10).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    drop(writer);
    for slots in [0, SLOTS_MAX + 1] {
        let (_dir, path) = place();
        assert!(LedgerWriter::create(&path, 1, 0, slots).is_err());
        assert!(!path.exists());
    }
}

#[test]
fn a_dead_writer_is_told_from_a_live_one_and_its_numbers_stay() {
    let (_dir, path) = place();
    let mut writer = LedgerWriter::create(&path, 9, 1, 8).unwrap();
    let open = writer.open(&entry(1)).unwrap();
    let closed = writer.open(&entry(2)).unwrap();
    writer.publish(open, &counters(3));
    writer.close(closed, &counters(4));
    let reader = LedgerReader::open(&path).unwrap();
    assert!(reader.writer_is_alive().unwrap());
    drop(writer);
    assert!(!reader.writer_is_alive().unwrap());
    let reader = LedgerReader::open(&path).unwrap();
    let left: Vec<SlotSnapshot> = reader.iter().map(Result::unwrap).collect();
    assert_eq!(left.len(), 2);
    assert_eq!((left[0].state, left[0].counters), (SlotState::Open, counters(3)));
    assert_eq!((left[1].state, left[1].counters), (SlotState::Closed, counters(4)));
}

/// Every way to die within a publication: some prefix of its stores was done, in order. The
/// copies' places are those of the layout (words 24 and 64 of a slot of 104).
#[test]
fn a_publication_that_was_cut_short_leaves_the_one_before() {
    let (_dir, path) = place();
    let mut writer = LedgerWriter::create(&path, 9, 1, 8).unwrap();
    let slot = writer.open(&entry(1)).unwrap();
    for publications in 1..=4u64 {
        writer.publish(slot, &counters(publications));
        // The opening was publication 1; the next one goes to the other copy.
        let next_copy = if (publications + 2).is_multiple_of(2) { 24 } else { 64 };
        let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        for torn_words in 0..=36u64 {
            let garbage = vec![0xEE; torn_words as usize * 8];
            file.write_all_at(&garbage, 4096 + next_copy * 8).unwrap();
            let reader = LedgerReader::open(&path).unwrap();
            let found = used(reader.read(slot).unwrap());
            assert_eq!(found.counters, counters(publications), "torn after {torn_words} words");
        }
    }
    writer.publish(slot, &counters(9));
    let reader = LedgerReader::open(&path).unwrap();
    assert_eq!(used(reader.read(slot).unwrap()).counters, counters(9), "the tear was overwritten");
}

#[test]
fn a_reader_never_sees_a_mixture_while_the_writer_runs() {
    let (_dir, path) = place();
    let mut writer = LedgerWriter::create(&path, 9, 1, 4).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = LedgerReader::open(&path).unwrap();
        let stop = &stop;
        let exporter = scope.spawn(move || {
            let (mut reads, mut freed) = (0u64, 0u64);
            let mut last = [(0u128, 0u64); 4];
            while !stop.load(Ordering::Relaxed) || freed == 0 {
                for snapshot in reader.iter() {
                    let snapshot = snapshot.unwrap();
                    let n = snapshot.counters.up.received.bytes / 1000;
                    let expected = if snapshot.counters == TunnelCounters::default() {
                        TunnelCounters::default()
                    } else {
                        counters(n)
                    };
                    assert_eq!(snapshot.counters, expected, "a mixture");
                    assert_eq!(snapshot.entry, entry(snapshot.entry.tunnel), "a mixture");
                    let last = &mut last[snapshot.slot.0 as usize];
                    assert!((snapshot.entry.tunnel, n) >= *last, "never backwards");
                    *last = (snapshot.entry.tunnel, n);
                    reads += 1;
                    if snapshot.state == SlotState::Closed {
                        // Final means final: the writer closes with number 999.
                        assert_eq!(n, 999);
                        assert!(reader.free(snapshot.slot, snapshot.entry.tunnel));
                        freed += 1;
                    }
                }
            }
            (reads, freed)
        });
        let mut tunnel = 0;
        for _ in 0..2000 {
            if let Some(slot) = writer.open(&entry(tunnel)) {
                tunnel += 1;
                for n in 1..50 {
                    writer.publish(slot, &counters(n));
                }
                writer.close(slot, &counters(999));
            } else {
                thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
        let (reads, freed) = exporter.join().unwrap();
        assert!(reads > 0 && freed > 0, "{reads} reads, {freed} freed");
    });
}

fn damaged(words: &[(u64, u64)]) -> Error {
    let (_dir, path) = place();
    drop(LedgerWriter::create(&path, 9, 1, 8).unwrap());
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    for (word, value) in words {
        file.write_all_at(&value.to_ne_bytes(), word * 8).unwrap();
    }
    LedgerReader::open(&path).unwrap_err()
}

#[test]
fn damage_is_named_with_its_place() {
    for (words, offset, says) in [
        (vec![(0, 1)], 0, "magic"),
        (vec![(1, 2)], 8, "layout version is 0x2"),
        (vec![(2, 1)], 16, "words per slot"),
        (vec![(3, 9)], 24, "9 slots"),
        (vec![(3, u64::MAX)], 24, "slots"),
        (vec![(5, 1 << 40)], 40, "worker"),
    ] {
        let error = damaged(&words);
        assert!(error.to_string().contains(says), "{error}");
        assert!(matches!(error, Error::Ledger { offset: at, .. } if at == offset), "{error}");
    }
    let (_dir, path) = place();
    fs::write(&path, b"short").unwrap();
    assert!(matches!(LedgerReader::open(&path), Err(Error::Ledger { offset: 0, .. })));
    fs::remove_file(&path).unwrap();
    assert!(matches!(LedgerReader::open(&path), Err(Error::LedgerIo { step: "open", .. })));
}

#[test]
fn a_damaged_slot_is_an_error_and_the_others_are_read() {
    let (_dir, path) = place();
    let mut writer = LedgerWriter::create(&path, 9, 1, 8).unwrap();
    for n in 0..3 {
        writer.open(&entry(n)).unwrap();
    }
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    // Word 9 of slot 1: lane and transport.
    let at = 4096 + SLOT_BYTES as u64 + 9 * 8;
    file.write_all_at(&u64::MAX.to_ne_bytes(), at).unwrap();
    let reader = LedgerReader::open(&path).unwrap();
    let read: Vec<_> = reader.iter().collect();
    assert!(read[0].is_ok() && read[2].is_ok());
    assert!(matches!(&read[1], Err(Error::Ledger { offset, .. }) if *offset == at));
}

#[derive(Clone, Debug)]
enum Step {
    Open,
    Publish(usize, u64),
    Close(usize, u64),
    Free(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Open),
        4 => (any::<usize>(), 1..1000u64).prop_map(|(n, v)| Step::Publish(n, v)),
        1 => (any::<usize>(), 1..1000u64).prop_map(|(n, v)| Step::Close(n, v)),
        1 => any::<usize>().prop_map(Step::Free),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The file says what a list of tunnels says.
    #[test]
    fn the_file_agrees_with_a_model(steps in steps()) {
        const SLOTS: u32 = 6;
        let (_dir, path) = place();
        let mut writer = LedgerWriter::create(&path, 9, 1, SLOTS).unwrap();
        let reader = LedgerReader::open(&path).unwrap();
        let mut model: Vec<(SlotId, u128, u64, SlotState)> = Vec::new();
        let mut next = 0;
        for step in steps {
            let pick = |state: SlotState, n: usize| {
                let of: Vec<usize> =
                    (0..model.len()).filter(|&i| model[i].3 == state).collect();
                (!of.is_empty()).then(|| of[n % of.len()])
            };
            match step {
                Step::Open => match writer.open(&entry(next)) {
                    Some(slot) => {
                        prop_assert!(model.iter().all(|tunnel| tunnel.0 != slot));
                        model.push((slot, next, 0, SlotState::Open));
                        next += 1;
                    }
                    None => prop_assert_eq!(model.len(), SLOTS as usize),
                },
                Step::Publish(n, value) => if let Some(i) = pick(SlotState::Open, n) {
                    writer.publish(model[i].0, &counters(value));
                    model[i].2 = value;
                },
                Step::Close(n, value) => if let Some(i) = pick(SlotState::Open, n) {
                    writer.close(model[i].0, &counters(value));
                    model[i].2 = value;
                    model[i].3 = SlotState::Closed;
                },
                Step::Free(n) => if let Some(i) = pick(SlotState::Closed, n) {
                    prop_assert!(reader.free(model[i].0, model[i].1));
                    model.remove(i);
                },
            }
            let mut expected: Vec<_> = model
                .iter()
                .map(|&(slot, tunnel, value, state)| {
                    let counters = if value == 0 { TunnelCounters::default() } else { counters(value) };
                    SlotSnapshot { slot, state, entry: entry(tunnel), counters }
                })
                .collect();
            expected.sort_by_key(|snapshot| snapshot.slot.0);
            let found: Vec<_> = reader.iter().map(Result::unwrap).collect();
            prop_assert_eq!(found, expected);
        }
    }

    /// No bytes in a file make a reader panic.
    #[test]
    fn any_slot_contents_are_survived(words in prop::collection::vec(any::<u64>(), 104)) {
        let (_dir, path) = place();
        let mut writer = LedgerWriter::create(&path, 9, 1, 2).unwrap();
        writer.open(&entry(0)).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        file.write_all_at(&bytes, 4096).unwrap();
        file.write_all_at(&u64::MAX.to_ne_bytes(), 6 * 8).unwrap();
        let reader = LedgerReader::open(&path).unwrap();
        for snapshot in reader.iter().flatten() {
            prop_assert!(snapshot.slot.0 < 2);
        }
    }
}

#[test]
fn every_drop_reason_has_its_place() {
    assert_eq!(DropReason::ALL.len(), DROP_REASONS);
    let (_dir, path) = place();
    let mut writer = LedgerWriter::create(&path, 9, 1, 2).unwrap();
    let slot = writer.open(&entry(0)).unwrap();
    let mut only = TunnelCounters::default();
    for reason in DropReason::ALL {
        only.down.drop_one(reason, 10 + reason as usize);
    }
    writer.publish(slot, &only);
    let reader = LedgerReader::open(&path).unwrap();
    assert_eq!(used(reader.read(slot).unwrap()).counters, only);
}
