//! When to claim, to settle and to anchor.

use std::collections::BTreeSet;
use std::time::Duration;

use alloy::primitives::B256;
use tokio::time::Instant;
use weir_usage::merkle::{self, Leaf};
use weir_usage::{Address, Digest};

use super::Driver;
use super::contracts::{self, IUsageAnchor};
use super::price::{Prices, Waiting};
use crate::book::LaneKey;
use crate::clerk::View;
use crate::error::Error;
use crate::journal::entry::{Action, AnchorLeaf, AnchorLeaves, ClaimRow, Item, OutboxStep, Step};

/// After an intent failed, its kind rests for that long: what failed once mostly fails again.
pub(super) const FAILURE_PAUSE: Duration = Duration::from_secs(60);
/// The same for what would be lost otherwise.
const LEAVING_PAUSE: Duration = Duration::from_secs(5);
/// Epochs tried when the contract holds other values for the next one, as after a lost journal.
const EPOCHS_MAX: u64 = 10_000;

impl Driver {
    /// Decides on everything that is due: first on what would be lost.
    pub(super) async fn plan(&mut self) -> Result<(), Error> {
        let view = self.clerk.view().await?;
        self.plan_leaving(&view).await?;
        if !self.is_paused("claim", FAILURE_PAUSE) && self.claim_is_due(&view) {
            let rows = self.worthwhile(self.claimable(&view));
            if self.is_affordable("claim", !rows.is_empty()) {
                self.intend_claims(&rows).await?;
            }
        }
        if !self.is_paused("settle", FAILURE_PAUSE) {
            let age = self.age("settle");
            let (threshold, period) = (self.policy.settle_threshold, self.policy.settle_period);
            let due = self.settleable(|earned| earned >= threshold || age >= period);
            let due = self.worth_settling(due);
            if self.is_affordable("settle", !due.is_empty()) {
                self.intend_settles(due).await?;
            }
        }
        if !self.is_paused("anchor", FAILURE_PAUSE)
            && self.age("anchor") >= self.policy.anchor_period
            && self.is_affordable("anchor", !view.lanes.is_empty())
        {
            self.plan_anchor(&view).await?;
        }
        self.plan_answers().await?;
        self.plan_days().await
    }

    /// A payer that withdraws takes what isn't claimed by then. Nothing is more urgent, so neither
    /// a claim under way nor a threshold holds this up, and lanes of others don't weigh on it.
    pub(super) async fn plan_leaving(&mut self, view: &View) -> Result<(), Error> {
        self.waiting.clear();
        if self.is_paused("claim", LEAVING_PAUSE) {
            return Ok(());
        }
        let under_way: Vec<&ClaimRow> = self
            .past
            .outbox
            .open()
            .filter_map(|i| match &i.action {
                Action::Claim { rows } => Some(rows),
                _ => None,
            })
            .flatten()
            .collect();
        let is_new = |row: &ClaimRow| {
            let same = |r: &&&ClaimRow| (r.channel, r.lane) == (row.channel, row.lane);
            !under_way.iter().filter(same).any(|r| r.amount >= row.amount)
        };
        let leaving: Vec<ClaimRow> = self
            .claimable(view)
            .into_iter()
            .filter(|row| self.chain.left(&row.channel).is_some() && is_new(row))
            .collect();
        let mut rows = self.worthwhile(leaving);
        let prices = self.prices();
        let mut waiting = Vec::new();
        rows.retain(|row| {
            let expensive = prices.too_expensive(self.chain.left(&row.channel));
            let goes = expensive.is_none();
            waiting.extend(expensive.map(|w| Waiting::expensive("claim", w).of(&row.channel)));
            goes
        });
        self.waiting.extend(waiting);
        // The one that can leave first is in the first batch.
        rows.sort_by_key(|row| self.chain.left(&row.channel));
        self.intend_claims(&rows).await.map(drop)
    }

    /// Plans claims for all lanes that are owed something. Returns the new intents.
    pub(super) async fn plan_claims(&mut self, view: &View) -> Result<Vec<u64>, Error> {
        let rows = self.claimable(view);
        self.intend_claims(&rows).await
    }

    async fn intend_claims(&mut self, rows: &[ClaimRow]) -> Result<Vec<u64>, Error> {
        let actions = rows
            .chunks(self.policy.claim_batch_max)
            .map(|rows| Action::Claim { rows: rows.to_vec() })
            .collect();
        self.intend(actions, Vec::new()).await
    }

    /// Plans settlements of all that is earned. Returns the new intents.
    pub(super) async fn plan_settles(&mut self) -> Result<Vec<u64>, Error> {
        let all = self.settleable(|_| true);
        self.intend_settles(all).await
    }

    /// Receivers and tokens for which `due` says so of what is earned, and how much that is.
    fn settleable(&self, due: impl Fn(u128) -> bool) -> Vec<(Address, Address, u128)> {
        let under_way: BTreeSet<(Address, Address)> = self
            .past
            .outbox
            .open()
            .filter_map(|i| match &i.action {
                Action::Settle { receiver, token } => Some((*receiver, *token)),
                _ => None,
            })
            .collect();
        self.chain
            .earned
            .iter()
            .filter(|(pair, earned)| **earned > 0 && due(**earned) && !under_way.contains(pair))
            .map(|((receiver, token), earned)| (*receiver, *token, *earned))
            .collect()
    }

    async fn intend_settles(
        &mut self,
        due: Vec<(Address, Address, u128)>,
    ) -> Result<Vec<u64>, Error> {
        let settle = |(receiver, token, _)| Action::Settle { receiver, token };
        self.intend(due.into_iter().map(settle).collect(), Vec::new()).await
    }

    /// Plans an anchor of all vouchers held, if they changed since the last one.
    pub(super) async fn plan_anchor(&mut self, view: &View) -> Result<Vec<u64>, Error> {
        let Some(contract) = self.config.anchor else { return Ok(Vec::new()) };
        let leaves: Vec<AnchorLeaf> = view
            .lanes
            .iter()
            .filter_map(|(key, lane)| {
                let voucher = lane.voucher?.voucher;
                Some(AnchorLeaf {
                    channel: key.channel,
                    lane: key.lane,
                    hash: voucher.usage_head,
                    sum: voucher.amount,
                })
            })
            .collect();
        let same = view.last_anchor.as_ref().is_some_and(|last| last.leaves == leaves);
        let under_way = self.past.outbox.open().any(|i| matches!(i.action, Action::Anchor { .. }));
        if leaves.is_empty() || same || under_way {
            return Ok(Vec::new());
        }
        let epoch = self.free_epoch(contract, view).await?;
        let tree: Vec<Leaf> = leaves.iter().map(|l| Leaf { hash: l.hash, sum: l.sum }).collect();
        let merkle::Anchor { root, total, .. } = merkle::anchor(epoch, &tree)?;
        let action = Action::Anchor { epoch, root, total };
        let item = Item::Anchor(AnchorLeaves { epoch, root, total, leaves, day: None });
        self.intend(vec![action], vec![item]).await
    }

    /// The next epoch for which this wallet hasn't committed to anything.
    async fn free_epoch(&mut self, contract: Address, view: &View) -> Result<u64, Error> {
        self.look_for_a_rival(view, None).await?;
        let first = view.last_anchor.as_ref().map_or(1, |last| last.epoch + 1);
        for epoch in first..first + EPOCHS_MAX {
            let call = IUsageAnchor::commitmentsCall { exit: self.address(), epoch };
            let held: B256 = self.rpc.view(contracts::address(contract), call).await?;
            if held.is_zero() {
                return Ok(epoch);
            }
        }
        Err(Error::Transaction {
            action: "anchor".into(),
            reason: format!("{EPOCHS_MAX} epochs from {first} on are taken"),
        })
    }

    /// Journals intents, and what belongs to them, as one unit.
    pub(super) async fn intend(
        &mut self,
        actions: Vec<Action>,
        mut items: Vec<Item>,
    ) -> Result<Vec<u64>, Error> {
        if actions.is_empty() {
            return Ok(Vec::new());
        }
        let first = self.past.outbox.next_id();
        let steps: Vec<OutboxStep> = (first..)
            .zip(actions)
            .map(|(intent, action)| OutboxStep { intent, step: Step::Planned { action } })
            .collect();
        items.extend(steps.iter().cloned().map(Item::Outbox));
        self.clerk.journal(items).await?;
        for step in &steps {
            self.take(step)?;
        }
        Ok(steps.iter().map(|s| s.intent).collect())
    }

    fn claim_is_due(&self, view: &View) -> bool {
        if self.past.outbox.open().any(|i| matches!(i.action, Action::Claim { .. })) {
            return false;
        }
        let owed = self.owed(&self.claimable(view));
        owed > 0
            && (owed >= self.policy.claim_threshold
                || self.age("claim") >= self.policy.claim_period)
    }

    /// What these rows would earn.
    fn owed(&self, rows: &[ClaimRow]) -> u128 {
        rows.iter().map(|row| self.worth(row)).fold(0, u128::saturating_add)
    }

    fn worth(&self, row: &ClaimRow) -> u128 {
        let key = LaneKey { channel: row.channel, lane: row.lane };
        row.amount.saturating_sub(self.claimed(&key))
    }

    /// The rows that bring in more than their gas costs, if together they do; the others wait.
    fn worthwhile(&mut self, mut rows: Vec<ClaimRow>) -> Vec<ClaimRow> {
        let prices = self.prices();
        let mut waiting = Vec::new();
        rows.retain(|row| {
            let uneconomic = prices.row_is_uneconomic(self.worth(row));
            let goes = uneconomic.is_none();
            waiting.extend(uneconomic.map(|w| Waiting::uneconomic("claim", w).of(&row.channel)));
            goes
        });
        let together = prices.claim_is_uneconomic(self.owed(&rows), rows.len());
        if let (false, Some(words)) = (rows.is_empty(), together) {
            waiting.push(Waiting::uneconomic("claim", words));
            rows.clear();
        }
        self.waiting.extend(waiting);
        rows
    }

    fn worth_settling(
        &mut self,
        mut due: Vec<(Address, Address, u128)>,
    ) -> Vec<(Address, Address, u128)> {
        let prices = self.prices();
        let mut waiting = Vec::new();
        due.retain(|(_, _, earned)| {
            let uneconomic = prices.settle_is_uneconomic(*earned);
            let goes = uneconomic.is_none();
            waiting.extend(uneconomic.map(|words| Waiting::uneconomic("settle", words)));
            goes
        });
        self.waiting.extend(waiting);
        due
    }

    /// Whether gas is below the ceiling; notes that a kind waits if it is due and gas is not.
    pub(super) fn is_affordable(&mut self, kind: &'static str, is_due: bool) -> bool {
        if !is_due {
            return false;
        }
        let expensive = self.prices().too_expensive(None);
        let goes = expensive.is_none();
        self.waiting.extend(expensive.map(|words| Waiting::expensive(kind, words)));
        goes
    }

    pub(super) fn prices(&self) -> Prices<'_> {
        Prices { chain: &self.config, policy: &self.policy, fees: self.chain.fees }
    }

    /// Vouchers that would earn something now. An empty escrow earns nothing and costs gas.
    fn claimable(&self, view: &View) -> Vec<ClaimRow> {
        view.lanes
            .iter()
            .filter_map(|(key, lane)| {
                let signed = lane.voucher?;
                let voucher = signed.voucher;
                let channel = self.chain.channels.get(&key.channel)?;
                let refused = self.past.refused.get(key) == Some(&voucher.seq);
                if channel.balance == 0 || refused || voucher.amount <= self.claimed(key) {
                    return None;
                }
                Some(ClaimRow {
                    channel: voucher.channel,
                    lane: voucher.lane,
                    amount: voucher.amount,
                    seq: voucher.seq,
                    usage_head: Digest(voucher.usage_head.0),
                    signature: signed.signature,
                })
            })
            .collect()
    }

    fn claimed(&self, key: &LaneKey) -> u128 {
        self.chain.claimed.get(key).copied().unwrap_or(0)
    }

    /// Since the last time such an action was planned, or since the journal began. In one process
    /// it doesn't depend on this host's clock; over a restart it does, and if the journal is from
    /// the future, the clock was set back and everything is due: early costs gas, never costs all.
    fn age(&self, kind: &'static str) -> Duration {
        if let Some(planned) = self.planned.get(kind) {
            return planned.elapsed();
        }
        let since = self.past.last_planned_ms.get(kind).copied().or(self.past.started_ms);
        let age = since.map_or(Some(0), |ms| self.started_ms.checked_sub(ms));
        age.map_or(Duration::MAX, |ms| Duration::from_millis(ms) + self.started.elapsed())
    }

    pub(super) fn is_paused(&self, kind: &'static str, pause: Duration) -> bool {
        self.paused.get(kind).is_some_and(|since| since.elapsed() < pause)
    }

    /// After an intent failed, its kind rests.
    pub(super) fn pause(&mut self, kind: &'static str) {
        self.paused.insert(kind, Instant::now());
    }
}
