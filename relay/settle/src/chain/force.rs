//! `settle-now`: claim, then settle, then anchor, each after the one before is final.

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::Driver;
use super::outbox::{Intent, State};
use crate::error::Error;
use crate::journal::entry::text;

/// What `settle-now` did. Token units are decimal strings in JSON, as everywhere.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Report {
    /// Every transaction, in order.
    pub transactions: Vec<Done>,
    /// Token units credited to the receivers.
    #[serde(with = "text")]
    pub claimed: u128,
    /// Token units moved to the receivers.
    #[serde(with = "text")]
    pub settled: u128,
    /// Gas of all transactions.
    pub gas_used: u64,
    /// The epoch of the newest usage root.
    pub epoch: Option<u64>,
    /// The newest usage root.
    pub root: Option<String>,
    /// The total under it, in token units.
    pub total: Option<String>,
    /// Rows that the contract skipped and intents that failed, in words.
    pub problems: Vec<String>,
}

/// One transaction that is final.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Done {
    /// claim, settle, anchor, day, answer or fees.
    pub kind: String,
    /// Its hash.
    pub tx: String,
    /// Its block.
    pub block: u64,
    /// Gas it took.
    pub gas_used: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Claim,
    Settle,
    Anchor,
    Done,
}

/// A `settle-now` that runs.
#[derive(Debug)]
pub(super) struct Job {
    reply: oneshot::Sender<Report>,
    phase: Phase,
    waiting: Vec<u64>,
    report: Report,
}

impl Job {
    pub(super) fn new(reply: oneshot::Sender<Report>) -> Self {
        Self { reply, phase: Phase::Claim, waiting: Vec::new(), report: Report::default() }
    }
}

impl Driver {
    /// Moves the running job on as far as the outbox allows.
    pub(super) async fn run_job(&mut self, head: u64) -> Result<(), Error> {
        let Some(mut job) = self.job.take() else { return Ok(()) };
        let outcome = self.phases(&mut job, head).await;
        if job.phase == Phase::Done {
            let view = self.clerk.view().await?;
            if let Some(anchor) = &view.last_anchor {
                job.report.epoch = Some(anchor.epoch);
                job.report.root = Some(anchor.root.to_string());
                job.report.total = Some(anchor.total.to_string());
            }
            // Who stopped waiting needs no report; the journal has it.
            drop(job.reply.send(job.report));
        } else {
            self.job = Some(job);
        }
        outcome
    }

    async fn phases(&mut self, job: &mut Job, head: u64) -> Result<(), Error> {
        while job.phase != Phase::Done {
            // Also what was planned before this job: it holds vouchers that are claimed by it.
            if job.waiting.is_empty() {
                job.waiting = self.past.outbox.open().map(|i| i.id).collect();
            }
            if job.waiting.iter().any(|id| self.past.outbox.get(*id).is_some_and(Intent::is_open)) {
                return Ok(());
            }
            for id in std::mem::take(&mut job.waiting) {
                if let Some(intent) = self.past.outbox.get(id) {
                    job.report.add(intent);
                }
            }
            self.refreshed = None;
            self.refresh(head).await?;
            let view = self.clerk.view().await?;
            (job.waiting, job.phase) = match job.phase {
                Phase::Claim => (self.plan_claims(&view).await?, Phase::Settle),
                Phase::Settle => (self.plan_settles().await?, Phase::Anchor),
                Phase::Anchor => (self.plan_anchor(&view).await?, Phase::Done),
                Phase::Done => return Ok(()),
            };
            if job.phase == Phase::Done && !job.waiting.is_empty() {
                // The anchor must be final too: come back through this phase, which then finds
                // nothing new to anchor.
                job.phase = Phase::Anchor;
            }
            self.advance(head).await?;
        }
        Ok(())
    }
}

impl Report {
    fn add(&mut self, intent: &Intent) {
        match &intent.state {
            State::Final(outcome) => {
                self.transactions.push(Done {
                    kind: intent.kind().into(),
                    tx: outcome.hash.to_string(),
                    block: outcome.block,
                    gas_used: outcome.gas_used,
                });
                self.gas_used += outcome.gas_used;
                self.settled = self.settled.saturating_add(outcome.settled);
                if !outcome.success {
                    self.problems.push(format!("{} {} reverted", intent.kind(), outcome.hash));
                }
                for row in &outcome.claimed {
                    self.claimed = self.claimed.saturating_add(row.paid);
                    if !row.skipped.is_empty() {
                        self.problems.push(format!(
                            "channel {} lane {} was skipped: {}",
                            row.channel, row.lane, row.skipped
                        ));
                    }
                }
            }
            State::Abandoned(reason) => {
                self.problems.push(format!("{} would fail: {reason}", intent.kind()));
            }
            State::Replaced => {
                self.problems
                    .push(format!("{}: another transaction took its nonce", intent.kind()));
            }
            _ => {}
        }
    }
}
