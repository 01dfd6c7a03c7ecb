//! What is done in a run for the sidecar's duties: samples, hours that go by, challenges.

use std::fs;

use weir_settle::chain::vouch;
use weir_settle::evidence::Statements;
use weir_usage::{Frame, SampleOffer};

use super::{FEE_WEI, Run};
use crate::client::INTERVAL_S;
use crate::node::FOREIGN_EPOCH;

/// Hours that a run may last before all is quiet: with the rest of a day, still less than the time
/// in which a challenge can be answered.
const HOURS_MAX: u64 = 38;
/// The least that a challenge may pay.
const LEAST_FEE_WEI: u128 = 200_000_000_000_000;

impl Run {
    pub(super) fn wants_duty(&self) -> bool {
        ["day", "answer", "fees", "vouched", "sample"].iter().any(|step| self.wants(step))
    }

    /// An interval goes by, and the client has its sample signed.
    pub(super) async fn sample(&mut self) -> Option<()> {
        self.connect().await?;
        let now_s = self.host.clock.now_ms() / 1000;
        let (interval, ends_s) = self.client.interval(now_s);
        self.pass(ends_s - now_s);
        let bytes = self.rng.below(10_000);
        let offer = self.client.offer(&self.payers[0], interval, bytes);
        // A client that got no answer asks again.
        for _ in 0..1 + self.rng.below(2) {
            self.offer_sample(&offer).await?;
        }
        if self.rng.one_in(5) {
            let other = self.client.offer(&self.payers[0], interval, bytes + 1);
            self.offer_sample(&other).await?;
        }
        Some(())
    }

    async fn offer_sample(&mut self, offer: &SampleOffer) -> Option<()> {
        let clerk = self.sidecar.as_ref()?.clerk.clone();
        let peer = self.link.as_ref()?.peer.clone();
        self.alive(clerk.sample(*offer, &peer)).await?.ok()?;
        loop {
            match self.frame().await? {
                Frame::RecordAck { next_seq } => self.relay.acked(next_seq),
                Frame::SampleAck(ack) if ack.query == offer.query => {
                    self.client.signed(offer, ack.exit_signature);
                    return Some(());
                }
                Frame::SampleRefused(refused) if refused.query == offer.query => {
                    self.client.refused(offer, &refused);
                    return Some(());
                }
                // To something that was given up.
                _ => {}
            }
        }
    }

    /// Now and then hours go by, on all clocks alike.
    pub(super) fn some_hours(&mut self) {
        if self.rng.one_in(2) || self.wants("day") {
            let hours = (4 + self.rng.below(6)).min(HOURS_MAX - self.hours);
            self.hours += hours;
            self.pass(hours * 3600);
        }
    }

    /// After this all samples are of days that are over.
    pub(super) fn end_the_day(&mut self) {
        let now_s = self.node().time().min(self.host.clock.now_ms() / 1000);
        self.pass(self.client.last_day_ends().saturating_sub(now_s) + INTERVAL_S);
    }

    /// Somebody has leaves picked.
    pub(super) fn challenge(&mut self) {
        let all = self.wants("answer") || self.wants("fees");
        if !all && !self.rng.one_in(2) {
            return;
        }
        let wallet = crate::sidecar::wallet().address();
        let epochs = self.node().world().usage.epochs(wallet);
        for _ in 0..1 + self.rng.below(2) {
            let Some(index) = epochs.len().checked_sub(1) else { return };
            let epoch = epochs[self.rng.below(index as u64 + 1) as usize];
            let fee = if self.is_stingy { LEAST_FEE_WEI } else { FEE_WEI };
            self.node().challenge(epoch, fee);
        }
    }

    /// An answer that its fee doesn't cover is sent shortly before its time is over.
    pub(super) fn wait_for_deadlines(&mut self) {
        let before_s = self.host.config.policy.deadline.as_secs();
        let due = {
            let node = self.node();
            let open = node.world().usage.challenges().values();
            let open = open.filter(|one| one.state == crate::node::State::Open);
            let ours = open.filter(|one| one.epoch != FOREIGN_EPOCH);
            ours.map(|one| (one.answer_by - before_s).saturating_sub(node.time())).min()
        };
        if let Some(left_s @ 1..) = due.filter(|_| self.is_stingy) {
            self.pass(left_s);
        }
    }

    /// Takes what was given out of statements.
    pub(crate) fn collect_statements(&mut self) {
        let Ok(files) = fs::read_dir(vouch::directory(&self.host.config)) else { return };
        for file in files.flatten() {
            // One that is being written isn't given out.
            let path = file.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match Statements::read(&path) {
                Ok(file) => {
                    for said in file.epochs {
                        let held = self.statements.entry(said.statement.epoch).or_default();
                        if !held.contains(&said) {
                            held.push(said);
                        }
                    }
                }
                Err(e) => self.complaints.push(format!("a statement can't be read: {e}")),
            }
        }
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        self.host.clock.put_forward(seconds * 1000);
        self.node().skip(seconds);
    }
}
