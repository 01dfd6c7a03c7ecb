//! Crashes and failures at every step of the disk: a token is never accepted twice.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::rc::Rc;

use proptest::prelude::*;
use weir_blind::spent::{DirDisk, Disk};
use weir_blind::{Epoch, Nullifier, Outcome, Spent};

const EXIT: [u8; 32] = [5; 32];
const EPOCH: Epoch = Epoch(40);

/// What a failing step does.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The step fails and did nothing.
    Error,
    /// The step fails after it did half of its work.
    Half,
    /// The power fails; what wasn't synced is lost, or kept in part.
    Crash { keep_permille: usize },
    /// The power fails just after the step.
    CrashAfter { keep_permille: usize },
}

#[derive(Clone, Default)]
struct File {
    durable: Vec<u8>,
    content: Vec<u8>,
}

/// A disk as unkind as a real one may be: content and names become durable apart, and a failed sync
/// leaves behind what can be read until the power fails (as Linux does).
#[derive(Default)]
struct Model {
    files: BTreeMap<u64, File>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    next: u64,
    steps: usize,
    fault: Option<(usize, Fault)>,
    crashed: bool,
    /// Content whose sync failed: later syncs say yes and don't write it.
    lost: HashSet<u64>,
}

#[derive(Clone, Default)]
struct FaultyDisk(Rc<RefCell<Model>>);

impl Model {
    /// Whether the step works, half works, or fails.
    fn step(&mut self) -> io::Result<Option<Fault>> {
        if self.crashed {
            return Err(io::Error::other("the power is off"));
        }
        let step = self.steps;
        self.steps += 1;
        match self.fault.filter(|(at, _)| *at == step) {
            None => Ok(None),
            Some((_, Fault::Error)) => Err(io::Error::other("injected")),
            Some((_, Fault::Crash { keep_permille })) => {
                self.crash(keep_permille);
                Err(io::Error::other("the power fails"))
            }
            Some((_, fault)) => Ok(Some(fault)),
        }
    }

    fn after(&mut self, fault: Option<Fault>) -> io::Result<()> {
        match fault {
            Some(Fault::CrashAfter { keep_permille }) => self.crash(keep_permille),
            Some(Fault::Half) => {}
            _ => return Ok(()),
        }
        Err(io::Error::other("injected"))
    }

    fn crash(&mut self, keep_permille: usize) {
        self.crashed = true;
        for file in self.files.values_mut() {
            let shared = file.durable.len().min(file.content.len());
            if file.content[..shared] == file.durable[..shared] {
                let extra = (file.content.len() - shared) * keep_permille / 1000;
                file.durable = file.content[..shared + extra].to_vec();
            }
        }
        if keep_permille > 500 {
            self.durable_names = self.names.clone();
        }
    }

    /// The power is back.
    fn restart(&mut self) {
        self.names = self.durable_names.clone();
        for file in self.files.values_mut() {
            file.content = file.durable.clone();
        }
        (self.crashed, self.fault) = (false, None);
        self.lost.clear();
    }

    fn id(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for FaultyDisk {
    fn list(&mut self) -> io::Result<Vec<String>> {
        let mut model = self.0.borrow_mut();
        model.step()?;
        Ok(model.names.keys().cloned().collect())
    }

    fn read(&mut self, name: &str, _max: usize) -> io::Result<Option<Vec<u8>>> {
        let mut model = self.0.borrow_mut();
        model.step()?;
        Ok(model.names.get(name).map(|id| model.files[id].content.clone()))
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let mut model = self.0.borrow_mut();
        let fault = model.step()?;
        model.next += 1;
        let id = model.next;
        model.files.insert(id, File::default());
        model.names.insert(name.to_owned(), id);
        model.after(fault)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut model = self.0.borrow_mut();
        let fault = model.step()?;
        let id = model.id(name)?;
        let written =
            if matches!(fault, Some(Fault::Half)) { bytes.len() / 2 } else { bytes.len() };
        model.files.get_mut(&id).unwrap().content.extend_from_slice(&bytes[..written]);
        model.after(fault)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut model = self.0.borrow_mut();
        let id = model.id(name)?;
        let fault = match model.step() {
            Ok(fault) => fault,
            Err(error) => {
                model.lost.insert(id);
                return Err(error);
            }
        };
        if !model.lost.contains(&id) && !matches!(fault, Some(Fault::Half)) {
            let file = model.files.get_mut(&id).unwrap();
            file.durable = file.content.clone();
        }
        model.after(fault)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut model = self.0.borrow_mut();
        let fault = model.step()?;
        let id = model.id(from)?;
        model.names.remove(from);
        model.names.insert(to.to_owned(), id);
        model.after(fault)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut model = self.0.borrow_mut();
        let fault = model.step()?;
        model.names.remove(name);
        model.after(fault)
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        let mut model = self.0.borrow_mut();
        let fault = model.step()?;
        if !matches!(fault, Some(Fault::Half)) {
            model.durable_names = model.names.clone();
        }
        model.after(fault)
    }
}

fn nullifier(number: u8) -> Nullifier {
    Nullifier([number; 16])
}

/// Spends groups of tokens, each twice, with one fault, restarting after a crash; returns how many
/// steps there were. Panics when a token is accepted twice.
fn run(groups: &[Vec<u8>], fault: Option<(usize, Fault)>) -> usize {
    let disk = FaultyDisk::default();
    disk.0.borrow_mut().fault = fault;
    let mut accepted = HashSet::new();
    let mut spent = None;
    for round in 0..3 {
        for group in groups {
            if disk.0.borrow().crashed {
                disk.0.borrow_mut().restart();
                spent = None;
            }
            if spent.is_none() {
                // A start that fails is tried again.
                spent = Spent::new(disk.clone(), EXIT, 1000).ok();
            }
            let Some(spent) = &mut spent else { continue };
            let tokens: Vec<_> = group.iter().map(|n| (EPOCH, nullifier(*n))).collect();
            for (number, outcome) in group.iter().zip(spent.spend(&tokens)) {
                match outcome {
                    Outcome::Accepted => {
                        assert!(accepted.insert(*number), "{number} twice: {fault:?}");
                    }
                    Outcome::SpentBefore | Outcome::Storage => {}
                    // The model writes in order, so nothing can look like damage.
                    other => panic!("{other:?} with {fault:?}"),
                }
            }
            if round == 1 {
                // The worst time for the power to fail: what was granted must be found again.
                disk.0.borrow_mut().crash(0);
            }
        }
    }
    let steps = disk.0.borrow().steps;
    let all: HashSet<u8> = groups.iter().flatten().copied().collect();
    assert!(fault.is_some() || accepted == all);
    steps
}

fn every_fault() -> Vec<Fault> {
    let keep = [0, 300, 700, 1000];
    let crashes = keep.map(|keep_permille| Fault::Crash { keep_permille });
    let after = keep.map(|keep_permille| Fault::CrashAfter { keep_permille });
    [Fault::Error, Fault::Half].into_iter().chain(crashes).chain(after).collect()
}

#[test]
fn no_fault_at_any_step_lets_a_token_in_twice() {
    let groups = [vec![1], vec![2, 3, 2], vec![4, 1], vec![5, 6, 7]];
    let steps = run(&groups, None);
    assert!(steps > 20, "{steps}");
    for at in 0..steps {
        for fault in every_fault() {
            run(&groups, Some((at, fault)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn nor_do_faults_in_other_sequences(
        groups in proptest::collection::vec(proptest::collection::vec(0u8..12, 1..6), 1..8),
        at in 0usize..60,
        fault in 0usize..10,
    ) {
        run(&groups, Some((at, every_fault()[fault])));
    }
}

#[test]
fn a_retired_epoch_stays_closed_whatever_fails() {
    for at in 0..40 {
        for fault in every_fault() {
            let disk = FaultyDisk::default();
            let mut spent = Spent::new(disk.clone(), EXIT, 1000).unwrap();
            assert_eq!(spent.spend(&[(EPOCH, nullifier(1))]), [Outcome::Accepted]);
            let steps = disk.0.borrow().steps;
            disk.0.borrow_mut().fault = Some((steps + at, fault));
            let retired = spent.retire(Epoch(41));
            drop(spent);
            disk.0.borrow_mut().restart();
            let mut spent = Spent::new(disk.clone(), EXIT, 1000).unwrap();
            // The clock went back: the token is known, or its epoch is closed.
            let outcome = spent.spend(&[(EPOCH, nullifier(1))])[0];
            assert!(matches!(outcome, Outcome::SpentBefore | Outcome::EpochClosed), "{outcome:?}");
            if retired.is_ok() {
                assert_eq!(outcome, Outcome::EpochClosed);
            }
        }
    }
}

#[test]
fn an_epoch_takes_no_more_than_its_maximum() {
    let mut spent = Spent::new(FaultyDisk::default(), EXIT, 2).unwrap();
    let tokens: Vec<_> = [1, 1, 2, 3].map(|n| (EPOCH, nullifier(n))).to_vec();
    let wanted = [Outcome::Accepted, Outcome::SpentBefore, Outcome::Accepted, Outcome::EpochFull];
    assert_eq!(spent.spend(&tokens), wanted);
    assert_eq!(spent.count(EPOCH), 2);
    // Another epoch has its own.
    assert_eq!(spent.spend(&[(Epoch(41), nullifier(1))]), [Outcome::Accepted]);
}

#[test]
fn a_damaged_file_closes_its_epoch_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut spent = Spent::new(DirDisk::open(dir.path()).unwrap(), EXIT, 1000).unwrap();
    for number in 1..4 {
        assert_eq!(spent.spend(&[(EPOCH, nullifier(number))]), [Outcome::Accepted]);
    }
    drop(spent);
    let file = dir.path().join(format!("{:020}.spent", EPOCH.0));
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[60] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let mut spent = Spent::new(DirDisk::open(dir.path()).unwrap(), EXIT, 1000).unwrap();
    assert_eq!(spent.spend(&[(EPOCH, nullifier(9))]), [Outcome::EpochClosed]);
    let problem = spent.take_problem().unwrap().to_string();
    assert!(problem.contains("damaged at byte 48"), "{problem}");
    assert_eq!(spent.spend(&[(Epoch(41), nullifier(9))]), [Outcome::Accepted]);
}

#[test]
fn a_real_directory_belongs_to_one_and_remembers() {
    let dir = tempfile::tempdir().unwrap();
    let disk = DirDisk::open(dir.path()).unwrap();
    assert_eq!(DirDisk::open(dir.path()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    let mut spent = Spent::new(disk, EXIT, 100_000).unwrap();
    let tokens: Vec<_> = (0..3000u128).map(|n| (EPOCH, Nullifier(n.to_be_bytes()))).collect();
    assert!(spent.spend(&tokens).iter().all(|outcome| *outcome == Outcome::Accepted));
    drop(spent);
    let mut spent = Spent::new(DirDisk::open(dir.path()).unwrap(), EXIT, 100_000).unwrap();
    assert!(spent.spend(&tokens).iter().all(|outcome| *outcome == Outcome::SpentBefore));
    assert_eq!(spent.count(EPOCH), 3000);
    assert!(spent.is_spent(EPOCH, &tokens[7].1));
    spent.retire(Epoch(41)).unwrap();
    assert_eq!(spent.spend(&tokens[..1]), [Outcome::EpochClosed]);
    let left: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}
