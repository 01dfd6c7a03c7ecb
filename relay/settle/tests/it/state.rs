//! The kept state: equal to the journal whatever happens, and not believed when it can't be.

use std::path::Path;
use std::process::Command;

use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use tempfile::TempDir;
use weir_settle::book::{Book, LaneKey, Uncarried};
use weir_settle::chain::Past;
use weir_settle::config::Config;
use weir_settle::journal::entry::{
    Action, AnchorLeaves, Entry, Item, LaneOpened, Note, OutboxStep, Step,
};
use weir_settle::journal::{Header, Journal, read_header};
use weir_settle::sidecar::{self, Opened};
use weir_settle::state::rebuild::{Rebuilt, Verdict, rebuild};
use weir_settle::state::rows::{Key, keys};
use weir_settle::state::{Beside, Doubt, Place, load};
use weir_usage::{Amount, Digest, ExitFlow, UsageRecord};

use super::common::disk::Disk;
use super::common::{EXIT, PRICE, Rng, channel, config, config_text, domain, pay, terms, usage};

struct Lab {
    directory: TempDir,
    disk: Disk,
    config: Config,
    rng: Rng,
    at_ms: u64,
}

impl Lab {
    fn new(seed: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory, disk: Disk::new(seed), config: config(), rng: Rng(seed), at_ms: 1 }
    }

    fn place(&self) -> Beside {
        Beside::of(&self.directory.path().join("journal"))
    }

    fn open(&self) -> Opened<Disk> {
        let fresh = Header { exit: EXIT.0, secret: [7; 32], created_ms: 1 };
        let place = Box::new(self.place());
        sidecar::resume(&self.config, self.disk.clone(), fresh, place).unwrap()
    }

    /// What `open` finds kept.
    fn doubt(&self) -> Option<Doubt> {
        let header = read_header(&self.disk).unwrap().unwrap();
        load(&self.config, &header, &self.disk, &self.place()).unwrap().err()
    }

    /// Takes entries as the clerk does, in groups, and perhaps writes the state after one.
    fn work(&mut self, open: &mut Opened<Disk>, groups: u64) {
        for _ in 0..groups {
            let mut group = Vec::new();
            for _ in 0..1 + self.rng.below(6) {
                self.at_ms += self.rng.below(90_000_000);
                let item = self.item(open);
                let entry = Entry { at_ms: self.at_ms, item };
                open.book.replay(0, &entry).unwrap();
                open.past.replay(0, &entry).unwrap();
                group.push(entry);
            }
            open.journal.append(&group).unwrap();
            let keeper = open.keeper.as_mut().unwrap();
            for entry in &group {
                keeper.note(0, entry, &open.book).unwrap();
            }
            if self.rng.below(4) == 0 {
                keeper.write(&open.book, open.journal.position());
                assert!(!keeper.is_failing());
            }
        }
    }

    fn item(&mut self, open: &mut Opened<Disk>) -> Item {
        match self.rng.below(13) {
            0 => self.voucher(&mut open.book),
            1 => Item::Outbox(self.step(&open.past)),
            2 => Item::Outbox(self.step(&open.past)),
            3 if self.rng.below(4) == 0 => Item::Anchor(AnchorLeaves {
                epoch: self.rng.below(100),
                root: Digest([self.rng.below(256) as u8; 32]),
                total: 5,
                leaves: Vec::new(),
                day: None,
            }),
            4 => {
                let tunnel = format!("{:032x}", self.rng.below(9));
                Item::Note(Note::Waived { tunnel, reason: "seen".into() })
            }
            12 => self.uncarried(),
            5 => Item::Note(Note::WrittenOff {
                channel: channel(),
                lane: self.rng.below(2) as u32,
                amount: self.rng.below(1000).into(),
                reason: "gone".into(),
            }),
            6 => Item::Lane(LaneOpened {
                channel: channel(),
                lane: self.rng.below(3) as u32,
                price_per_gib: PRICE,
            }),
            _ => self.record(&open.book),
        }
    }

    /// The process whose tunnels are 0 to 8 bills what no kernel saw, or an operator waives it.
    fn uncarried(&mut self) -> Item {
        match self.rng.below(4) {
            0 => {
                let tunnel = format!("{:032x}", u64::MAX);
                Item::Note(Note::Waived { tunnel, reason: "seen".into() })
            }
            epoch => Item::Uncarried(Uncarried { epoch: epoch / 2, billed_up: 9, seen_up: 2 }),
        }
    }

    /// Of a few tunnels, streams and lanes, one of which isn't configured; some contradict the
    /// kernel's count, or themselves.
    fn record(&mut self, book: &Book) -> Item {
        let rng = &mut self.rng;
        let (lane, tunnel) = (rng.below(3) as u32, u128::from(rng.below(9)));
        let (up, down) = (rng.below(10_000), rng.below(10_000));
        let mut record: UsageRecord = usage(channel(), lane, tunnel, up, down);
        record.is_final = rng.below(2) == 0;
        if rng.below(3) == 0 {
            let mut flow = ExitFlow::default();
            flow.up.payload_bytes = up + rng.below(3) * 100_000;
            flow.down.payload_bytes = down.saturating_sub(rng.below(2) * 5_000);
            record.flow = Some(flow);
        }
        if rng.below(9) == 0 {
            record.up.received = Amount::default();
        }
        book.stream(1 + rng.below(3)).stamp(&mut record);
        Item::Record(Box::new(record))
    }

    fn voucher(&mut self, book: &mut Book) -> Item {
        let lane = self.rng.below(2) as u32;
        let ask = book.ask(&LaneKey { channel: channel(), lane }).unwrap();
        Item::Voucher(Box::new(pay(&ask)))
    }

    fn step(&mut self, past: &Past) -> OutboxStep {
        let Some(intent) = past.outbox.open().next().filter(|_| self.rng.below(4) > 0) else {
            let intent = past.outbox.next_id();
            let epoch = self.rng.below(1000);
            let action = Action::Anchor { epoch, root: Digest::ZERO, total: 9 };
            return OutboxStep { intent, step: Step::Planned { action } };
        };
        let (block, mined) = (self.rng.below(1000), intent.attempts.last().map(|a| a.hash));
        let step = match (mined, self.rng.below(5)) {
            (None, 0) => Step::Abandoned { reason: "no need".into() },
            (None, _) | (Some(_), 0) => Step::Signed {
                nonce: intent.nonce.unwrap_or(past.outbox.next_nonce().unwrap_or(3)),
                hash: Digest([self.rng.below(256) as u8; 32]),
                raw: "0x02".into(),
                max_fee_per_gas: u128::from(u64::MAX) * 3,
            },
            (Some(hash), 1) => Step::Mined { hash, block },
            (Some(_), 2) => Step::Unmined,
            (Some(_), 3) if block == 0 => Step::Replaced,
            (Some(hash), _) => Step::Final {
                hash,
                block,
                success: block % 2 == 0,
                gas_used: 50_000,
                gas_price: 7,
                claimed: Vec::new(),
                settled: 0,
            },
        };
        OutboxStep { intent: intent.id, step }
    }
}

/// All rows, byte for byte.
fn rows(book: &Book, past: &Past) -> Vec<(Key, Vec<u8>)> {
    let mut rows: Vec<_> =
        keys(book, past).map(|key| (key, key.value(book, past).unwrap())).collect();
    rows.sort_unstable();
    rows
}

fn replayed(lab: &Lab) -> Vec<(Key, Vec<u8>)> {
    let (_, book, past) = sidecar::open(&lab.config, lab.disk.clone()).unwrap();
    rows(&book, &past)
}

#[test]
fn wherever_it_stops_the_state_and_the_tail_are_the_whole_journal() {
    let mut tails = 0;
    for seed in 0..40 {
        let mut lab = Lab::new(seed);
        for stop in 0..6 {
            let mut open = lab.open();
            assert_eq!(rows(&open.book, &open.past), replayed(&lab), "seed {seed} stop {stop}");
            let groups = lab.rng.below(12);
            lab.work(&mut open, groups);
            let live = rows(&open.book, &open.past);
            drop(open);
            assert_eq!(live, replayed(&lab), "seed {seed} stop {stop}: as it ran");
            assert_eq!(lab.doubt(), None, "seed {seed} stop {stop}");
            let Rebuilt { verdict, kept, journal, .. } =
                rebuild(&lab.config, &lab.disk, Box::new(lab.place()), false).unwrap();
            assert_eq!(verdict, Verdict::Equal, "seed {seed} stop {stop}");
            tails += u64::from(kept.unwrap() != journal);
        }
    }
    assert!(tails > 40, "only {tails} stops left a tail to replay");
}

#[test]
fn a_damaged_file_is_refused_or_unharmed() {
    let mut lab = Lab::new(5);
    let mut open = lab.open();
    lab.work(&mut open, 30);
    let end = open.journal.position();
    open.keeper.as_mut().unwrap().write(&open.book, end);
    drop(open);
    let path = lab.place().path().to_owned();
    let good = std::fs::read(&path).unwrap();
    let expected = replayed(&lab);
    let mut refused = 0;
    for round in 0..60 {
        let mut bytes = good.clone();
        if round % 6 == 0 {
            bytes.truncate(lab.rng.below(good.len() as u64) as usize);
        } else {
            for _ in 0..1 + lab.rng.below(400) {
                let at = lab.rng.below(bytes.len() as u64) as usize;
                bytes[at] = lab.rng.next() as u8;
            }
        }
        std::fs::write(&path, bytes).unwrap();
        refused += u64::from(lab.doubt().is_some());
        let open = lab.open();
        assert_eq!(rows(&open.book, &open.past), expected, "round {round}");
        drop(open);
        assert_eq!(lab.doubt(), None, "round {round}: made anew");
    }
    assert!(refused > 20, "only {refused} were refused");
}

#[test]
fn a_state_beyond_the_journal_is_not_believed() {
    let mut lab = Lab::new(6);
    let mut open = lab.open();
    lab.work(&mut open, 8);
    let early = open.journal.position();
    lab.work(&mut open, 8);
    let end = open.journal.position();
    open.keeper.as_mut().unwrap().write(&open.book, end);
    drop(open);
    // A disk that lied about syncing: whole groups are gone.
    let bytes = lab.disk.bytes();
    lab.disk.set(bytes[..early.offset as usize].to_vec());
    assert_eq!(lab.doubt(), Some(Doubt::NotInJournal { offset: end.offset }));
    let open = lab.open();
    assert_eq!(rows(&open.book, &open.past), replayed(&lab));
    drop(open);
    assert_eq!(lab.doubt(), None, "made anew");
}

#[test]
fn a_state_of_another_journal_or_configuration_is_not_believed() {
    let mut lab = Lab::new(7);
    let mut open = lab.open();
    lab.work(&mut open, 5);
    drop(open);
    let other = Lab::new(8);
    let header = Header { exit: [9; 32], secret: [1; 32], created_ms: 1 };
    drop(Journal::open(other.disk.clone(), header, |_, _, _| Ok(())).unwrap());
    std::fs::copy(lab.place().path(), other.place().path()).unwrap();
    assert_eq!(other.doubt(), Some(Doubt::Foreign));

    lab.config.tolerance.udp_bytes += 1;
    assert_eq!(lab.doubt(), Some(Doubt::Configuration));
    let open = lab.open();
    assert_eq!(rows(&open.book, &open.past), replayed(&lab));
    drop(open);
    assert_eq!(lab.doubt(), None);
    // What the book doesn't depend on doesn't matter.
    lab.config.policy.claim_threshold += 1;
    assert_eq!(lab.doubt(), None);
}

/// Changes a row behind the sidecar's back, by redb itself.
fn tamper(path: &Path, table: &str, change: impl Fn(&mut Vec<u8>)) {
    let db = redb::Database::open(path).unwrap();
    let table: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(table);
    let read = db.begin_read().unwrap();
    let rows = read.open_table(table).unwrap();
    let (key, mut value) = {
        let (key, value) = rows.first().unwrap().unwrap();
        (key.value().to_vec(), value.value().to_vec())
    };
    drop((rows, read));
    change(&mut value);
    let write = db.begin_write().unwrap();
    write.open_table(table).unwrap().insert(key.as_slice(), value.as_slice()).unwrap();
    write.commit().unwrap();
}

#[test]
fn a_row_that_was_changed_is_refused_at_start_and_named_by_the_check() {
    let mut lab = Lab::new(9);
    let mut open = lab.open();
    lab.work(&mut open, 20);
    drop(open);
    let path = lab.place().path().to_owned();
    tamper(&path, "tunnels", |value| *value.last_mut().unwrap() ^= 1);
    assert!(matches!(lab.doubt(), Some(Doubt::Damaged(_))));
    let check = |renew| rebuild(&lab.config, &lab.disk, Box::new(lab.place()), renew).unwrap();
    let Verdict::Differs { row, kept, journal } = check(false).verdict else {
        panic!("the change wasn't seen");
    };
    assert!(row.starts_with("tunnel "), "{row}");
    assert!(kept.is_some() && journal.is_some() && kept != journal);
    assert!(matches!(check(false).verdict, Verdict::Differs { .. }), "a check writes nothing");
    assert!(matches!(check(true).verdict, Verdict::Differs { .. }));
    let after = check(false);
    assert_eq!((after.verdict, after.kept), (Verdict::Equal, Some(after.journal)));
    assert_eq!(lab.doubt(), None);
}

#[test]
fn a_state_of_another_version_is_not_believed() {
    let mut lab = Lab::new(10);
    let mut open = lab.open();
    lab.work(&mut open, 3);
    drop(open);
    let db = redb::Database::open(lab.place().path()).unwrap();
    let meta: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
    let write = db.begin_write().unwrap();
    let row = br#"{"schema":99,"unheard_of":1}"#.as_slice();
    write.open_table(meta).unwrap().insert("state", row).unwrap();
    write.commit().unwrap();
    drop(db);
    assert_eq!(lab.doubt(), Some(Doubt::Schema { found: 99 }));
    drop(lab.open());
    assert_eq!(lab.doubt(), None);
}

#[test]
fn a_state_that_cannot_be_written_stops_nothing() {
    let mut lab = Lab::new(11);
    // A folder is where the file should be.
    std::fs::create_dir(lab.place().path()).unwrap();
    let mut open = lab.open();
    assert!(open.keeper.as_ref().unwrap().is_failing());
    for _ in 0..9 {
        let item = lab.record(&open.book);
        let entry = Entry { at_ms: 1, item };
        open.book.replay(0, &entry).unwrap();
        open.journal.append(std::slice::from_ref(&entry)).unwrap();
        open.keeper.as_mut().unwrap().note(0, &entry, &open.book).unwrap();
    }
    // It is gone, and the next write makes up for all that was missed.
    std::fs::remove_dir(lab.place().path()).unwrap();
    let keeper = open.keeper.as_mut().unwrap();
    keeper.write(&open.book, open.journal.position());
    assert!(!keeper.is_failing());
    drop(open);
    assert_eq!(lab.doubt(), None);
}

#[test]
fn the_command_says_whether_the_state_is_equal() {
    let mut lab = Lab::new(12);
    let journal = lab.directory.path().join("journal");
    let text = config_text(
        domain(),
        &terms(),
        &format!("[files]\njournal = \"{}\"", journal.display()),
        "http://127.0.0.1:9",
    );
    let settings = lab.directory.path().join("settle.toml");
    std::fs::write(&settings, text).unwrap();
    let rebuild = |check: bool| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir-settle"));
        command.args(["rebuild", "-c"]).arg(&settings).args(check.then_some("--check"));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(rebuild(true).0, Some(1));
    assert!(!journal.exists(), "looking for a journal makes none");

    let mut open = lab.open();
    lab.work(&mut open, 20);
    drop(open);
    std::fs::write(&journal, lab.disk.bytes()).unwrap();
    let (code, said) = rebuild(true);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("equal"), "{said}");
    tamper(lab.place().path(), "lanes", |value| value.push(b' '));
    let (code, said) = rebuild(true);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("DIFFERS first in lane 0 of channel 0x"), "{said}");
    assert_eq!(rebuild(false).0, Some(0));
    assert_eq!(rebuild(true).0, Some(0));
    std::fs::remove_file(lab.place().path()).unwrap();
    let (code, said) = rebuild(true);
    assert_eq!((code, said.contains("there is none yet")), (Some(1), true), "{said}");
    assert!(!lab.place().is_there(), "a check makes none");
}
