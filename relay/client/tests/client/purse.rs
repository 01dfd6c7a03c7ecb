//! Crashes and failures at every step of a payer's journal: it never signs for more than arrived,
//! for less than before, or beyond its budget, and goes on after each of them.

#[path = "../../../blind/tests/disk/mod.rs"]
mod disk;

use std::collections::HashMap;
use std::time::Instant;

use disk::{Fault, FaultyDisk, every_fault};
use proptest::prelude::*;
use weir_client::Budget;
use weir_client::purse::{Answer, JournalError, Now, Options, Problem, Purse, Terms};
use weir_usage::{Ask, Digest, Price, SignedVoucher, Voucher};

use crate::support::ledger;

const NAME: &str = "journal";
const DAY_MS: u64 = 86_400_000;
/// One unit per byte.
const PRICE: u128 = 1 << 30;

/// What happens around a purse in one round.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    up: u64,
    down: u64,
    /// The exit asks for so much that never arrived.
    extra: u64,
    /// A day passes before.
    is_tomorrow: bool,
    exit: Exit,
    after: After,
}

/// What the exit does with a voucher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Exit {
    #[default]
    Takes,
    /// It holds it, and its answer is lost.
    TakesSilently,
    /// It never came.
    IsAway,
    Refuses,
}

/// What happens to the client afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum After {
    #[default]
    GoesOn,
    Stops,
    IsKilled,
}

#[derive(Clone, Copy)]
struct Limits {
    total: Option<u128>,
    per_day: Option<u128>,
    allowance: u64,
    journal_bytes_max: usize,
}

const LIMITS: Limits =
    Limits { total: None, per_day: None, allowance: 0, journal_bytes_max: 1 << 20 };

/// All that outlives a client, and what must hold.
struct World {
    disk: FaultyDisk,
    limits: Limits,
    purse: Option<Purse<FaultyDisk>>,
    /// What really arrived: in all, and since the client that runs was started.
    arrived: (u64, u64),
    since_start: (u64, u64),
    days: u64,
    starts: u64,
    held: Option<SignedVoucher>,
    heads: u8,
    sent: u128,
    by_seq: HashMap<u64, Voucher>,
    refused: Vec<Voucher>,
}

impl World {
    fn new(limits: Limits, fault: Option<(usize, Fault)>) -> World {
        let disk = FaultyDisk::default();
        disk.0.borrow_mut().fault = fault;
        World {
            disk,
            limits,
            purse: None,
            arrived: (0, 0),
            since_start: (0, 0),
            days: 1,
            starts: 0,
            held: None,
            heads: 0,
            sent: 0,
            by_seq: HashMap::new(),
            refused: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        Now { instant: Instant::now(), unix_ms: (20_000 + self.days) * DAY_MS }
    }

    /// The client, started again if it isn't running; a start that fails is tried again later.
    fn start(&mut self) -> bool {
        if self.disk.0.borrow().crashed {
            self.purse = None;
            self.disk.0.borrow_mut().restart();
        }
        if self.purse.is_some() {
            return true;
        }
        self.since_start = (0, 0);
        let Limits { total, per_day, allowance, journal_bytes_max } = self.limits;
        let terms = Terms {
            domain: ledger::domain(),
            channel: ledger::channel(),
            lane: ledger::LANE,
            price_max: Price::new(PRICE).unwrap(),
            budget: Budget { total, per_day },
        };
        let options = Options {
            crash_allowance_bytes: allowance,
            journal_bytes_max,
            ..Options::new("https://exit.test:4433")
        };
        let disk = self.disk.clone();
        match Purse::open(disk, NAME, terms, ledger::key(), &options, self.now()) {
            Ok(purse) => {
                self.purse = Some(purse);
                self.starts += 1;
                true
            }
            Err(JournalError::Storage { .. }) => false,
            Err(error) => panic!("a crash looks like damage: {error}"),
        }
    }

    fn ask(&self, extra: u64) -> Ask {
        let price = Price::new(PRICE).unwrap();
        let (up_bytes, down_bytes) = (self.arrived.0, self.arrived.1 + extra);
        Ask {
            domain: ledger::domain(),
            channel: ledger::channel(),
            lane: ledger::LANE,
            price,
            seq: self.held.map_or(1, |held| held.voucher.seq + 1),
            up_bytes,
            down_bytes,
            amount: price.amount_of(up_bytes, down_bytes).unwrap(),
            usage_head: Digest([self.heads; 32]),
            last: self.held,
        }
    }

    fn play(&mut self, round: Round) {
        if round.is_tomorrow {
            self.days += 1;
        }
        let runs = self.start();
        self.heads = self.heads.wrapping_add(1);
        if runs {
            self.arrived = (self.arrived.0 + round.up, self.arrived.1 + round.down);
            self.since_start = (self.since_start.0 + round.up, self.since_start.1 + round.down);
        }
        let (ask, counted, now) = (self.ask(round.extra), self.since_start, self.now());
        let Some(purse) = &mut self.purse else { return };
        match purse.consider(&ask, counted, now) {
            Ok(Answer::Send(signed, _)) => {
                self.check(&signed);
                self.deliver(signed, round.exit);
            }
            Ok(Answer::Nothing) | Err(Problem::Objection(_) | Problem::Journal(_)) => {}
            Err(other) => panic!("{other}"),
        }
        let Some(purse) = &mut self.purse else { return };
        match round.after {
            After::GoesOn => {}
            After::Stops => {
                let _ = purse.stop(counted, now);
                self.purse = None;
            }
            After::IsKilled => self.purse = None,
        }
    }

    fn deliver(&mut self, signed: SignedVoucher, exit: Exit) {
        let purse = self.purse.as_mut().unwrap();
        let voucher = signed.voucher;
        match exit {
            Exit::Takes | Exit::TakesSilently => {
                self.held = Some(signed);
                if exit == Exit::Takes {
                    purse.accepted(voucher.seq);
                }
            }
            Exit::IsAway => {}
            Exit::Refuses => {
                purse.rejected(voucher.seq);
                self.refused.push(voucher);
            }
        }
    }

    /// Of everything that leaves the client.
    fn check(&mut self, signed: &SignedVoucher) {
        let Voucher { amount, seq, .. } = signed.voucher;
        signed.verify(&ledger::domain(), ledger::key().address()).unwrap();
        let arrived = u128::from(self.arrived.0) + u128::from(self.arrived.1);
        let allowed = u128::from(self.limits.allowance) * u128::from(self.starts);
        assert!(amount <= arrived + allowed, "{amount} for {arrived} bytes");
        assert!(amount >= self.sent, "{amount} after {}", self.sent);
        if let Some(before) = self.by_seq.insert(seq, signed.voucher) {
            let again = before == signed.voucher || self.refused.contains(&before);
            assert!(again, "seq {seq} with two contents, the first not refused");
        }
        if let Some(total) = self.limits.total {
            assert!(amount <= total, "{amount} with a budget of {total}");
        }
        if let Some(per_day) = self.limits.per_day {
            let budget = per_day * u128::from(self.days);
            assert!(amount <= budget, "{amount} in {} days of {per_day}", self.days);
        }
        self.sent = amount;
    }
}

/// Plays the rounds with one fault, then two more without; returns the steps that the disk did.
fn run(limits: Limits, rounds: &[Round], fault: Option<(usize, Fault)>) -> usize {
    let mut world = World::new(limits, fault);
    for round in rounds {
        world.play(*round);
    }
    let steps = world.disk.0.borrow().steps;
    world.disk.0.borrow_mut().fault = None;
    for _ in 0..2 {
        world.play(Round { is_tomorrow: true, ..Round::default() });
    }
    let amount = world.sent;
    world.play(Round { up: 1, is_tomorrow: true, ..Round::default() });
    if limits.total.is_none() {
        assert_eq!(world.sent, amount + 1, "it goes on after {fault:?}");
    }
    steps
}

fn course() -> Vec<Round> {
    let takes = |up, down| Round { up, down, ..Round::default() };
    vec![
        takes(10, 1000),
        Round { extra: 500, ..takes(0, 50) },
        Round { exit: Exit::IsAway, ..takes(7, 0) },
        Round { after: After::IsKilled, ..takes(0, 30) },
        Round { exit: Exit::TakesSilently, ..takes(1, 1) },
        Round { after: After::Stops, ..takes(5, 5) },
        Round { is_tomorrow: true, ..takes(0, 900) },
        Round { exit: Exit::Refuses, ..takes(3, 3) },
        takes(4, 4),
        Round { exit: Exit::IsAway, after: After::IsKilled, ..takes(0, 60) },
        Round { is_tomorrow: true, extra: 9, ..takes(2, 2) },
        takes(0, 8),
    ]
}

#[test]
fn no_fault_at_any_step_makes_it_pay_too_much_or_stop_for_good() {
    let budget = Limits { total: Some(1800), per_day: Some(1100), ..LIMITS };
    let small = Limits { journal_bytes_max: 1500, ..LIMITS };
    let trusting = Limits { allowance: 20, ..LIMITS };
    for limits in [LIMITS, budget, small, trusting] {
        let steps = run(limits, &course(), None);
        assert!(steps > 40, "{steps}");
        for at in 0..steps {
            for fault in every_fault() {
                run(limits, &course(), Some((at, fault)));
            }
        }
    }
}

#[test]
fn without_a_fault_every_byte_of_an_orderly_course_is_paid() {
    let rounds: Vec<Round> =
        course().into_iter().map(|round| Round { after: After::Stops, ..round }).collect();
    let mut world = World::new(LIMITS, None);
    for round in &rounds {
        world.play(*round);
    }
    assert_eq!(world.sent, u128::from(world.arrived.0 + world.arrived.1));
}

fn any_round() -> impl Strategy<Value = Round> {
    let exits = [Exit::Takes, Exit::TakesSilently, Exit::IsAway, Exit::Refuses];
    let afters = [After::GoesOn, After::GoesOn, After::Stops, After::IsKilled];
    let exit = proptest::sample::select(exits.to_vec());
    let after = proptest::sample::select(afters.to_vec());
    let bytes = (0u64..400, 0u64..400, 0u64..100);
    (bytes, 0u8..8, exit, after).prop_map(|((up, down, extra), day, exit, after)| Round {
        up,
        down,
        extra: if extra < 70 { 0 } else { extra },
        is_tomorrow: day == 0,
        exit,
        after,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn nor_do_faults_in_other_courses(
        rounds in proptest::collection::vec(any_round(), 1..25),
        at in 0usize..200,
        fault in 0usize..10,
        per_day in proptest::option::of(300u128..2000),
        allowance in 0u64..100,
        journal_bytes_max in 800usize..20_000,
    ) {
        let limits = Limits { total: Some(3_000), per_day, allowance, journal_bytes_max };
        run(limits, &rounds, Some((at, every_fault()[fault])));
    }
}
