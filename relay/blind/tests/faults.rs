//! Crashes and failures at every step of the disk: a token is never accepted twice.

mod disk;

use std::collections::HashSet;
use std::io;

use disk::{Fault, FaultyDisk, every_fault};
use proptest::prelude::*;
use weir_blind::spent::DirDisk;
use weir_blind::{Epoch, Nullifier, Outcome, Spent};

const EXIT: [u8; 32] = [5; 32];
const EPOCH: Epoch = Epoch(40);

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
