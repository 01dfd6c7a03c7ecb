//! Many runs at once, and what they came to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use serde::Serialize;

use crate::run::run;
use crate::verdict::Verdict;

/// Bad runs that are shown.
const FAILURES_SHOWN: usize = 10;

/// What many runs came to.
#[derive(Debug, Default, Serialize)]
pub struct Summary {
    /// Runs made.
    pub runs: u64,
    /// Units lost by the exit beyond the window of each session, over all runs.
    pub lost_beyond_window: u64,
    /// Units billed twice, over all runs.
    pub double_billed: u64,
    /// Units delivered, over all runs.
    pub delivered: u64,
    /// Units that reached the receivers, over all runs.
    pub received: u128,
    /// Days of samples anchored, over all runs.
    pub days: u64,
    /// Challenges answered, over all runs.
    pub answers: u64,
    /// Epochs signed for, over all runs.
    pub statements: u64,
    /// Crashes, over all runs.
    pub crashes: u64,
    /// By name of a step: how often the sidecar died there.
    pub crash_points: BTreeMap<String, u64>,
    /// Steps that were seen and never died at.
    pub never_crashed_at: Vec<String>,
    /// Bad runs, with their seeds.
    pub failures: Vec<Verdict>,
}

impl Summary {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.lost_beyond_window == 0
            && self.double_billed == 0
            && self.failures.is_empty()
            && self.never_crashed_at.is_empty()
    }
}

/// Makes `runs` runs with the seeds from `first` on, on all processors; `done` is told how many
/// there are so far.
pub fn torture(first: u64, runs: u64, done: impl Fn(u64) + Sync) -> Summary {
    let next = AtomicU64::new(first);
    let verdicts = Mutex::new(Vec::new());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + runs {
                        return;
                    }
                    let verdict = run(seed, target(seed));
                    let mut verdicts = verdicts.lock().unwrap_or_else(PoisonError::into_inner);
                    verdicts.push(verdict);
                    done(verdicts.len() as u64);
                }
            });
        }
    });
    let mut verdicts = verdicts.into_inner().unwrap_or_else(PoisonError::into_inner);
    verdicts.sort_by_key(|v| v.seed);
    sum(verdicts)
}

/// The step that a seed aims at. It follows from the seed alone, so that a seed is all it takes to
/// repeat a run.
fn target(seed: u64) -> Option<&'static str> {
    // Every sixth has no aim; the others take turns.
    let aimed = seed / 6 * 5 + (seed % 6).checked_sub(1)?;
    Some(POINTS[(aimed % POINTS.len() as u64) as usize])
}

fn sum(verdicts: Vec<Verdict>) -> Summary {
    let mut summary = Summary::default();
    let mut seen = BTreeMap::new();
    for verdict in verdicts {
        summary.runs += 1;
        summary.lost_beyond_window += verdict.lost_beyond_window;
        summary.double_billed += verdict.double_billed;
        summary.delivered += verdict.delivered;
        summary.received += verdict.received;
        summary.days += verdict.days;
        summary.answers += verdict.answers;
        summary.statements += verdict.statements;
        for (name, count) in &verdict.seen {
            *seen.entry(name.clone()).or_insert(0) += count;
        }
        for (name, count) in &verdict.crashed {
            *summary.crash_points.entry(name.clone()).or_insert(0) += count;
            summary.crashes += count;
        }
        if !verdict.is_good() && summary.failures.len() < FAILURES_SHOWN {
            summary.failures.push(verdict);
        }
    }
    let known = POINTS.iter().map(|name| (*name).to_owned());
    let mut all: Vec<String> = seen.into_keys().chain(known).collect();
    all.sort_unstable();
    all.dedup();
    all.retain(|name| !summary.crash_points.contains_key(name));
    summary.never_crashed_at = all;
    summary
}

/// Every step of the journal, the outbox and the calls. One that is missing here and is met in a
/// run has to be crashed at all the same.
const POINTS: [&str; 96] = [
    "write state",
    "sync state",
    "synced state",
    "discard state",
    "cut new file",
    "cut torn tail",
    "sync recovered",
    "synced recovered",
    "write header",
    "sync header",
    "synced header",
    "write record",
    "sync record",
    "synced record",
    "write lane",
    "sync lane",
    "synced lane",
    "write voucher",
    "sync voucher",
    "synced voucher",
    "write note",
    "sync note",
    "synced note",
    "write root",
    "sync root",
    "synced root",
    "write planned claim",
    "sync planned claim",
    "synced planned claim",
    "write planned settle",
    "sync planned settle",
    "synced planned settle",
    "write planned anchor",
    "sync planned anchor",
    "synced planned anchor",
    "write sample",
    "sync sample",
    "synced sample",
    "write planned day",
    "sync planned day",
    "synced planned day",
    "write planned answer",
    "sync planned answer",
    "synced planned answer",
    "write planned fees",
    "sync planned fees",
    "synced planned fees",
    "write vouched",
    "sync vouched",
    "synced vouched",
    "write signed",
    "sync signed",
    "synced signed",
    "write broadcast",
    "sync broadcast",
    "synced broadcast",
    "write mined",
    "sync mined",
    "synced mined",
    "write unmined",
    "sync unmined",
    "synced unmined",
    "write final",
    "sync final",
    "synced final",
    "write reverted",
    "sync reverted",
    "synced reverted",
    "write abandoned",
    "sync abandoned",
    "synced abandoned",
    "write replaced",
    "sync replaced",
    "synced replaced",
    "asks eth_chainId",
    "told eth_chainId",
    "asks eth_getCode",
    "told eth_getCode",
    "asks eth_blockNumber",
    "told eth_blockNumber",
    "asks eth_getBalance",
    "told eth_getBalance",
    "asks eth_getTransactionCount",
    "told eth_getTransactionCount",
    "asks eth_getTransactionReceipt",
    "told eth_getTransactionReceipt",
    "asks eth_getBlockByNumber",
    "told eth_getBlockByNumber",
    "asks eth_maxPriorityFeePerGas",
    "told eth_maxPriorityFeePerGas",
    "asks eth_estimateGas",
    "told eth_estimateGas",
    "asks eth_call",
    "told eth_call",
    "asks eth_sendRawTransaction",
    "told eth_sendRawTransaction",
];
