//! What is to be said of days, answers and statements at the end of a run.

use std::collections::{BTreeMap, BTreeSet};

use weir_settle::journal::entry::{Action, Item, Step};
use weir_settle::journal::scan;
use weir_usage::CoSigned;
use weir_usage::bond::EpochStatement;
use weir_usage::merkle::Anchor;

use crate::client::{BOND, usage_key};
use crate::node::{FOREIGN_EPOCH, State};
use crate::run::Run;
use crate::sidecar::wallet;

/// What the journal says of duties.
#[derive(Debug, Default)]
pub(super) struct Told {
    samples: Vec<CoSigned>,
    /// By number: all roots that were decided on.
    roots: BTreeMap<u64, Vec<Anchor>>,
    /// The last epoch of usage whose anchor is final.
    last_epoch: Option<u64>,
    /// Days whose anchor is final.
    pub(super) days: BTreeSet<u64>,
    /// By challenge: answers that are final.
    pub(super) answers: BTreeMap<u64, u64>,
    /// By epoch: all statements.
    pub(super) statements: BTreeMap<u64, Vec<EpochStatement>>,
}

impl Told {
    pub(super) fn of(run: &Run) -> Self {
        let mut told = Self::default();
        let mut intents = BTreeMap::new();
        // What can't be read shows as something that wasn't done.
        let _ = scan(&run.host.disk, |_, _, entry| {
            match entry.item {
                Item::Sample(sample) => told.samples.push(*sample),
                Item::Vouched(vouched) => told.said(vouched.said.statement),
                Item::Outbox(step) => match step.step {
                    Step::Planned { action } => {
                        told.planned(&action);
                        intents.insert(step.intent, action);
                    }
                    Step::Final { success: true, .. } => match intents.get(&step.intent) {
                        Some(Action::Answer { challenge, .. }) => {
                            *told.answers.entry(*challenge).or_default() += 1;
                        }
                        Some(Action::Anchor { epoch, .. }) => told.last_epoch = Some(*epoch),
                        Some(Action::AnchorDay { day, .. }) => drop(told.days.insert(*day)),
                        _ => {}
                    },
                    _ => {}
                },
                _ => {}
            }
            Ok(())
        });
        told
    }

    fn planned(&mut self, action: &Action) {
        if let Action::Anchor { epoch, root, total }
        | Action::AnchorDay { epoch, root, total, .. } = *action
        {
            let roots = self.roots.entry(epoch).or_default();
            let anchor = Anchor { epoch, root, total };
            if !roots.contains(&anchor) {
                roots.push(anchor);
            }
        }
    }

    fn said(&mut self, statement: EpochStatement) {
        let said = self.statements.entry(statement.epoch).or_default();
        if !said.contains(&statement) {
            said.push(statement);
        }
    }

    /// What is left to do; nothing, sooner or later.
    pub(super) fn unfinished(&self, run: &Run) -> Vec<String> {
        let mut found = Vec::new();
        let Some(view) = run.view() else { return vec!["the sidecar is down".into()] };
        if !view.open.is_empty() {
            found.push(format!("{} intents are open", view.open.len()));
        }
        let node = run.host.node.lock().expect("no holder of this lock panics");
        let usage = &node.world().usage;
        for (id, one) in usage.challenges() {
            let lost = || view.challenges.open.iter().any(|c| c.id == *id && c.lost.is_some());
            match one.state {
                State::Answered => {}
                // Said for as long as an answer would count.
                State::Open
                    if one.epoch == FOREIGN_EPOCH && (lost() || node.time() > one.answer_by) => {}
                _ => found.push(format!(
                    "challenge {id} of epoch {} is neither answered nor said to be lost",
                    one.epoch
                )),
            }
        }
        match run.client.days(&self.samples, node.time()) {
            Err(e) => found.push(format!("a sample in the journal is none: {e}")),
            Ok(days) => {
                for (day, wanted) in days {
                    if usage.anchor_of(wallet().address(), wanted.epoch) != Some(&wanted) {
                        found.push(format!("day {day} isn't anchored with root {}", wanted.root));
                    }
                }
            }
        }
        if let Some(epoch) = self.last_epoch
            && !run.statements.contains_key(&epoch)
        {
            found.push(format!("epoch {epoch} isn't signed for"));
        }
        found
    }

    /// What must never be.
    pub(super) fn contradictions(&self, run: &Run) -> Vec<String> {
        let mut found = Vec::new();
        for (epoch, roots) in self.roots.iter().filter(|(_, roots)| roots.len() > 1) {
            found.push(format!("number {epoch} was given to {} different roots", roots.len()));
        }
        let mut intervals = BTreeSet::new();
        for sample in &self.samples {
            if !intervals.insert(sample.sample.interval) {
                let interval = sample.sample.interval;
                found.push(format!("the journal has two samples of interval {interval}"));
            }
        }
        for acked in run.client.acked.iter().filter(|acked| !self.samples.contains(acked)) {
            let interval = acked.sample.interval;
            found.push(format!("the sample of interval {interval} was signed and is gone"));
        }
        let node = run.host.node.lock().expect("no holder of this lock panics");
        let usage = &node.world().usage;
        for (id, one) in usage.challenges() {
            let answers = self.answers.get(id).copied().unwrap_or(0);
            if answers != u64::from(one.state == State::Answered) {
                found.push(format!("challenge {id} has {answers} answers, and is {:?}", one.state));
            }
        }
        self.check_statements(run, usage, &mut found);
        if !usage.adds_up() {
            found.push("the fees of challenges don't add up".into());
        }
        found
    }

    fn check_statements(
        &self,
        run: &Run,
        usage: &crate::node::UsageAnchor,
        found: &mut Vec<String>,
    ) {
        let mut all = self.statements.clone();
        for (epoch, given) in &run.statements {
            for said in given {
                if said.verify(&BOND, usage_key().address()).is_err() {
                    found.push(format!("the statement of epoch {epoch} has another signer"));
                }
                if self.statements.get(epoch).is_none_or(|held| !held.contains(&said.statement)) {
                    found.push(format!("the statement of epoch {epoch} isn't in the journal"));
                }
                let held = all.entry(*epoch).or_default();
                if !held.contains(&said.statement) {
                    held.push(said.statement);
                }
            }
        }
        for (epoch, said) in all {
            if said.len() > 1 {
                found.push(format!("epoch {epoch} has {} different statements", said.len()));
            }
            for EpochStatement { epoch, root, total } in said {
                let anchor = Anchor { epoch, root, total };
                if usage.anchor_of(wallet().address(), epoch) != Some(&anchor) {
                    found.push(format!("epoch {epoch} was signed for with what isn't anchored"));
                }
            }
        }
    }
}
