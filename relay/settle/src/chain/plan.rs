//! When to claim, to settle and to anchor.

use std::collections::BTreeSet;
use std::time::Duration;

use alloy::primitives::B256;
use tokio::time::Instant;
use weir_usage::merkle::{self, Leaf};
use weir_usage::{Address, Digest};

use super::Driver;
use super::contracts::{self, IUsageAnchor};
use crate::book::LaneKey;
use crate::clerk::View;
use crate::error::Error;
use crate::journal::entry::{Action, AnchorLeaf, AnchorLeaves, ClaimRow, Item, OutboxStep, Step};

/// After an intent failed, its kind rests for that long: what failed once mostly fails again.
const FAILURE_PAUSE: Duration = Duration::from_secs(60);
/// Epochs tried when the contract holds other values for the next one, as after a lost journal.
const EPOCHS_MAX: u64 = 10_000;

impl Driver {
    /// Decides on everything that is due.
    pub(super) async fn plan(&mut self) -> Result<(), Error> {
        let view = self.clerk.view().await?;
        if !self.is_paused("claim") && self.claim_is_due(&view) {
            self.plan_claims(&view).await?;
        }
        if !self.is_paused("settle") {
            let age = self.age("settle");
            let (threshold, period) = (self.policy.settle_threshold, self.policy.settle_period);
            self.plan_settles(|earned| earned >= threshold || age >= period).await?;
        }
        if !self.is_paused("anchor") && self.age("anchor") >= self.policy.anchor_period {
            self.plan_anchor(&view).await?;
        }
        Ok(())
    }

    /// Plans claims for all lanes that are owed something. Returns the new intents.
    pub(super) async fn plan_claims(&mut self, view: &View) -> Result<Vec<u64>, Error> {
        let rows = self.claimable(view);
        let actions = rows
            .chunks(self.policy.claim_batch_max)
            .map(|rows| Action::Claim { rows: rows.to_vec() })
            .collect();
        self.intend(actions, Vec::new()).await
    }

    /// Plans settlements where `due` says so of what is earned. Returns the new intents.
    pub(super) async fn plan_settles(
        &mut self,
        due: impl Fn(u128) -> bool,
    ) -> Result<Vec<u64>, Error> {
        let under_way: BTreeSet<(Address, Address)> = self
            .past
            .outbox
            .open()
            .filter_map(|i| match &i.action {
                Action::Settle { receiver, token } => Some((*receiver, *token)),
                _ => None,
            })
            .collect();
        let actions = self
            .chain
            .earned
            .iter()
            .filter(|(pair, earned)| **earned > 0 && due(**earned) && !under_way.contains(pair))
            .map(|((receiver, token), _)| Action::Settle { receiver: *receiver, token: *token })
            .collect();
        self.intend(actions, Vec::new()).await
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
        let item = Item::Anchor(AnchorLeaves { epoch, root, total, leaves });
        self.intend(vec![action], vec![item]).await
    }

    /// The next epoch for which this wallet hasn't committed to anything.
    async fn free_epoch(&self, contract: Address, view: &View) -> Result<u64, Error> {
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
    async fn intend(
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
        let rows = self.claimable(view);
        let owed = rows.iter().fold(0u128, |sum, row| {
            let key = LaneKey { channel: row.channel, lane: row.lane };
            sum.saturating_add(row.amount.saturating_sub(self.claimed(&key)))
        });
        // A payer who leaves takes what isn't claimed by then: nothing is more urgent.
        let leaving = rows
            .iter()
            .any(|row| self.chain.channels.get(&row.channel).is_some_and(|c| c.withdrawing));
        owed > 0
            && (leaving
                || owed >= self.policy.claim_threshold
                || self.age("claim") >= self.policy.claim_period)
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

    /// Since the last time such an action was planned, or since the journal began.
    fn age(&self, kind: &'static str) -> Duration {
        let since = self.past.last_planned_ms.get(kind).copied().or(self.past.started_ms);
        since.map_or(Duration::ZERO, |ms| Duration::from_millis(crate::now_ms().saturating_sub(ms)))
    }

    fn is_paused(&self, kind: &'static str) -> bool {
        self.paused.get(kind).is_some_and(|until| *until > Instant::now())
    }

    pub(super) fn pause(&mut self, kind: &'static str) {
        self.paused.insert(kind, Instant::now() + FAILURE_PAUSE);
    }
}
