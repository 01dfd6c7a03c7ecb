//! Challenges of this exit's anchors are answered, those first that end first.
//!
//! Anybody may challenge, as often as he pays for. An unanswered challenge is a mark on the exit's
//! record and takes no money; an unclaimed voucher does. So an answer never goes before a claim
//! that has a deadline, never pays more than the ordinary gas ceiling, waits while the gas wallet
//! is low, and one at most is planned and not yet mined. While its fee covers the gas it is sent at
//! once; else it waits for cheaper gas until `policy.deadline_s` before its end. Fees are fetched,
//! so what a thousand challenges cost is what their challengers paid.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::U256;
use serde::Serialize;
use tracing::{error, info};
use weir_usage::{Address, Digest};

use super::Driver;
use super::challenge::IChallenges;
use super::contracts::{self, IUsageAnchor};
use super::outbox::{Intent, State};
use super::plan::FAILURE_PAUSE;
use super::price::Waiting;
use crate::audit::{self, Sibling};
use crate::error::Error;
use crate::journal::entry::{Action, AnchorLeaves};

/// Challenges that are read at one look: others' are numbered in the same series.
const LOOKS_MAX: usize = 64;
/// Open challenges that are remembered; the others' turn comes as these are done.
const KNOWN_MAX: usize = 4_096;
/// Answers that are mined and not final.
const UNDER_WAY_MAX: usize = 16;
/// Challenges that `status` shows.
const SHOWN_MAX: usize = 20;
/// Gas of an answer, and of each sibling in it.
const ANSWER_GAS: u64 = 110_000;
const SIBLING_GAS: u64 = 5_000;
/// Gas of fetching fees.
const FEES_GAS: u64 = 45_000;
/// Fees are fetched once they are so many times what that costs.
const FEES_WORTH: u128 = 20;
const OPEN: u8 = 1;

/// An open challenge of this exit.
#[derive(Debug, Clone)]
struct Known {
    epoch: u64,
    answer_by: u64,
    seed: Digest,
    fee_wei: U256,
    /// Why it can't be answered.
    lost: Option<String>,
}

/// What is known of challenges.
#[derive(Debug, Default)]
pub(super) struct Answers {
    on: bool,
    /// The number of the one to be read next.
    next: u64,
    /// All that are in time were read since one was first missed, or are being read.
    is_afresh: bool,
    /// Open ones whose time is over.
    late: u64,
    known: BTreeMap<u64, Known>,
    /// Opened, answered and unanswered so far.
    record: (u64, u64, u64),
    owed_wei: U256,
    /// Why they couldn't be read.
    trouble: Option<String>,
}

/// Challenges, for everybody who only looks.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ChallengesView {
    /// So far.
    pub opened: u64,
    /// Of these.
    pub answered: u64,
    /// Recorded as unanswered.
    pub unanswered: u64,
    /// That can't be answered, among those that are open.
    pub lost: u64,
    /// Open ones whose time is over: nobody has recorded yet that they went unanswered.
    pub late: u64,
    /// Open ones that are remembered. The others' turn comes as these are done.
    pub watched: u64,
    /// Why they couldn't be read the last time.
    pub trouble: Option<String>,
    /// Fees to be fetched.
    pub owed_wei: String,
    /// The open ones that end first.
    pub open: Vec<ChallengeView>,
}

/// An open challenge, for everybody who only looks.
#[derive(Debug, Clone, Serialize)]
pub struct ChallengeView {
    /// Its number.
    pub id: u64,
    /// Which anchor it is about.
    pub epoch: u64,
    /// Until an answer is too late, by the chain's clock.
    pub seconds_left: u64,
    /// Why it can't be answered.
    pub lost: Option<String>,
}

impl Answers {
    pub(super) fn new(on: bool) -> Self {
        Self { on, ..Self::default() }
    }

    /// How many of those that are open aren't known.
    fn missing(&self, open: u64) -> u64 {
        open.saturating_sub(self.known.len() as u64)
    }
}

impl Driver {
    /// Looks for challenges. That they can't be read keeps nobody from claiming.
    pub(super) async fn watch_challenges(&mut self) -> Result<(), Error> {
        self.answers.trouble = match self.look_for_challenges().await {
            Ok(()) => None,
            Err(Error::Stopping) => return Err(Error::Stopping),
            Err(e) => {
                let words = e.to_string();
                if self.answers.trouble.as_ref() != Some(&words) {
                    error!("challenges: {words}");
                }
                Some(words)
            }
        };
        Ok(())
    }

    /// Looks which challenges of this exit are open. Two calls if none is, however many challenges
    /// others have; else a bounded number of them.
    async fn look_for_challenges(&mut self) -> Result<(), Error> {
        let Some(contract) = self.config.anchor.map(contracts::address) else { return Ok(()) };
        let exit = self.address();
        let record = self.rpc.view(contract, IChallenges::recordsCall { exit }).await?;
        // What is recorded as unanswered is open no more; a new one may be at once.
        let recorded = record.unanswered.saturating_sub(self.answers.record.2);
        self.answers.late = self.answers.late.saturating_sub(recorded);
        self.answers.record = (record.challenged, record.answered, record.unanswered);
        if record.challenged == 0 {
            return Ok(());
        }
        let call = IChallenges::owedCall { account: exit };
        self.answers.owed_wei = self.rpc.view(contract, call).await?;
        let ended = record.answered.saturating_add(record.unanswered);
        let open = record.challenged.saturating_sub(ended);
        // Those that end first are looked at again: who answered, and is it too late?
        let mut again: Vec<(u64, u64)> =
            self.answers.known.iter().map(|(id, one)| (one.answer_by, *id)).collect();
        again.sort_unstable();
        for (_, id) in again.into_iter().take(LOOKS_MAX) {
            self.read_challenge(contract, id).await?;
        }
        self.forget_late();
        let call = IChallenges::challengeCountCall {};
        let count: u64 = self.rpc.view(contract, call).await?.saturating_to();
        self.find_challenges(contract, open, count).await
    }

    /// What can't be answered any more makes room for what can.
    fn forget_late(&mut self) {
        let now = self.chain.time;
        let known = &mut self.answers.known;
        let before = known.len();
        known.retain(|_, one| one.answer_by >= now);
        let late = before - known.len();
        self.answers.late = self.answers.late.saturating_add(late as u64);
        if late > 0 {
            error!(late, "challenges went unanswered: their time is over");
        }
    }

    /// Reads challenges until all that are open are known, or are known to be late; a bounded
    /// number, in their order, which is the order in which they end.
    async fn find_challenges(
        &mut self,
        contract: alloy::primitives::Address,
        open: u64,
        count: u64,
    ) -> Result<(), Error> {
        // Blocks left the chain, and challenges with them; others get their numbers.
        self.answers.next = self.answers.next.min(count.saturating_add(1));
        self.answers.late = self.answers.late.min(self.answers.missing(open));
        for _ in 0..LOOKS_MAX {
            let missing = self.answers.missing(open);
            if missing <= self.answers.late || self.answers.known.len() >= KNOWN_MAX {
                break;
            }
            let id = self.answers.next;
            if (1..=count).contains(&id) {
                self.read_challenge(contract, id).await?;
                self.answers.next = id + 1;
            } else if self.answers.is_afresh {
                self.answers.late = missing;
            } else {
                // The first look; or a number that was somebody else's is this exit's now.
                self.answers.next = self.first_in_time(contract, count).await?;
                self.answers.is_afresh = true;
            }
        }
        if self.answers.missing(open) <= self.answers.late {
            self.answers.is_afresh = false;
            // None of the others is this exit's, if all that are known were looked at just now.
            if self.answers.known.len() <= LOOKS_MAX {
                self.answers.next = count.saturating_add(1);
            }
        }
        Ok(())
    }

    /// The number of the first challenge whose time isn't over: each ends no sooner than the one
    /// before it.
    async fn first_in_time(
        &self,
        contract: alloy::primitives::Address,
        count: u64,
    ) -> Result<u64, Error> {
        let (mut low, mut high) = (1, count.saturating_add(1));
        while low < high {
            let middle = low + (high - low) / 2;
            let call = IChallenges::challengesCall { challengeId: U256::from(middle) };
            if self.rpc.view(contract, call).await?.answerBy < self.chain.time {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Reads a challenge, and remembers it if it is one for this exit to answer.
    async fn read_challenge(
        &mut self,
        contract: alloy::primitives::Address,
        id: u64,
    ) -> Result<(), Error> {
        let call = IChallenges::challengesCall { challengeId: U256::from(id) };
        let found = self.rpc.view(contract, call).await?;
        let is_ours = found.exit == self.address() && found.state == OPEN;
        if !is_ours {
            self.answers.known.remove(&id);
        }
        if !is_ours || found.answerBy < self.chain.time {
            return Ok(());
        }
        let mut known = Known {
            epoch: found.epoch,
            answer_by: found.answerBy,
            seed: Digest(found.seed.0),
            fee_wei: found.fee,
            lost: None,
        };
        // What an anchor holds doesn't change while this process lives.
        known.lost = match self.answers.known.get(&id) {
            Some(before) if before.epoch == found.epoch => before.lost.clone(),
            _ => self.shown(contract, found.epoch).await?.err(),
        };
        if self.answers.known.insert(id, known.clone()).is_none() {
            info!(id, epoch = known.epoch, answer_by = known.answer_by, "challenged");
            if let Some(words) = &known.lost {
                error!(id, "a challenge can't be answered: {words}");
            }
        }
        Ok(())
    }

    /// The leaves that were anchored for an epoch, or why there are none.
    async fn shown(
        &self,
        contract: alloy::primitives::Address,
        epoch: u64,
    ) -> Result<Result<AnchorLeaves, String>, Error> {
        let Some(leaves) = self.clerk.leaves(epoch).await? else {
            return Ok(Err(format!("the journal has no anchor of epoch {epoch}")));
        };
        let call = IUsageAnchor::commitmentsCall { exit: self.address(), epoch };
        let held = self.rpc.view(contract, call).await?;
        if held != contracts::commitment(&leaves.root, leaves.total) {
            let root = leaves.root;
            return Ok(Err(format!("epoch {epoch} has root {root} in the journal, not on chain")));
        }
        Ok(Ok(leaves))
    }

    /// Plans the answer to the challenge that ends first, if it is time.
    pub(super) async fn plan_answers(&mut self) -> Result<(), Error> {
        let Some(contract) = self.config.anchor.map(contracts::address) else { return Ok(()) };
        if !self.answers.on || self.is_paused("answer", FAILURE_PAUSE) {
            return Ok(());
        }
        self.plan_fees().await?;
        let answered = |intent: &Intent| match (&intent.action, &intent.state) {
            (Action::Answer { challenge, .. }, State::Final(outcome)) if outcome.success => {
                Some(*challenge)
            }
            _ => None,
        };
        let mut taken: BTreeSet<u64> = self.past.outbox.done().filter_map(answered).collect();
        let mut under_way = 0;
        for intent in self.past.outbox.open() {
            let Action::Answer { challenge, .. } = intent.action else { continue };
            if !matches!(intent.state, State::Mined { .. }) {
                return Ok(());
            }
            taken.insert(challenge);
            under_way += 1;
        }
        let left = |one: &Known| one.answer_by.saturating_sub(self.chain.time);
        let next = self
            .answers
            .known
            .iter()
            .filter(|(id, one)| one.lost.is_none() && !taken.contains(id))
            .min_by_key(|(_, one)| one.answer_by)
            .map(|(id, one)| (*id, one.clone(), left(one)));
        let Some((id, known, left)) = next.filter(|_| under_way < UNDER_WAY_MAX) else {
            return Ok(());
        };
        let leaves = match self.shown(contract, known.epoch).await? {
            Ok(leaves) => leaves,
            Err(words) => {
                self.answers.known.entry(id).and_modify(|one| one.lost = Some(words));
                return Ok(());
            }
        };
        let action = answer(id, &known.seed, &leaves)?;
        if let Some(waiting) = self.answer_waits(&known, &action, left) {
            self.waiting.push(waiting);
        } else if self.is_affordable("answer", true) {
            self.intend(vec![action], Vec::new()).await?;
        }
        Ok(())
    }

    /// Whether a challenge is one of those that don't wait any more.
    pub(super) fn ends_soon(&self, challenge: u64) -> bool {
        let left_s = |one: &Known| one.answer_by.saturating_sub(self.chain.time);
        let known = self.answers.known.get(&challenge);
        known.is_some_and(|one| left_s(one) <= self.policy.deadline.as_secs())
    }

    fn answer_waits(&self, known: &Known, action: &Action, left_s: u64) -> Option<Waiting> {
        let wait = |reason, words| Some(Waiting { kind: "answer", channel: None, reason, words });
        if self.wallet_is_low() {
            let words = "the gas wallet is low, and what it has is for claims".to_owned();
            return wait("wallet", words);
        }
        let siblings = match action {
            Action::Answer { siblings, .. } => siblings.len() as u64,
            _ => 0,
        };
        let gas = ANSWER_GAS + SIBLING_GAS * siblings;
        let cost = self.chain.fees?.now().saturating_mul(gas.into());
        if U256::from(cost) <= known.fee_wei || left_s <= self.policy.deadline.as_secs() {
            return None;
        }
        let words = format!(
            "its gas costs about {cost} wei, the challenger paid {}; it is answered all the same \
             when {} s are left of {left_s} s",
            known.fee_wei,
            self.policy.deadline.as_secs()
        );
        wait("uneconomic", words)
    }

    /// Fetches the fees of answers once they are worth it, and sooner while the wallet is low.
    async fn plan_fees(&mut self) -> Result<(), Error> {
        let Some(fees) = self.chain.fees else { return Ok(()) };
        let cost = fees.now().saturating_mul(FEES_GAS.into());
        let worth = if self.wallet_is_low() { 2 } else { FEES_WORTH };
        let is_worth_it = self.answers.owed_wei >= U256::from(cost.saturating_mul(worth));
        let under_way = self.past.outbox.open().any(|i| matches!(i.action, Action::Fees { .. }));
        if !is_worth_it
            || self.answers.owed_wei.is_zero()
            || under_way
            || self.is_paused("fees", FAILURE_PAUSE)
            || !self.is_affordable("fees", true)
        {
            return Ok(());
        }
        let account = Address(self.address().into_array());
        self.intend(vec![Action::Fees { account }], Vec::new()).await.map(drop)
    }

    pub(super) fn challenges_view(&self) -> ChallengesView {
        let answers = &self.answers;
        let mut open: Vec<ChallengeView> = answers
            .known
            .iter()
            .map(|(id, one)| ChallengeView {
                id: *id,
                epoch: one.epoch,
                seconds_left: one.answer_by.saturating_sub(self.chain.time),
                lost: one.lost.clone(),
            })
            .collect();
        open.sort_by_key(|one| (one.seconds_left, one.id));
        open.truncate(SHOWN_MAX);
        let (opened, answered, unanswered) = answers.record;
        ChallengesView {
            opened,
            answered,
            unanswered,
            lost: answers.known.values().filter(|one| one.lost.is_some()).count() as u64,
            late: answers.late,
            watched: answers.known.len() as u64,
            trouble: answers.trouble.clone(),
            owed_wei: answers.owed_wei.to_string(),
            open,
        }
    }
}

/// The leaf that a seed picks, as the transaction shows it.
fn answer(challenge: u64, seed: &Digest, anchor: &AnchorLeaves) -> Result<Action, Error> {
    let (epoch, leaves) = (anchor.epoch, anchor.leaves.len() as u64);
    if leaves == 0 {
        let (hash, sum, siblings) = (Digest::ZERO, 0, Vec::new());
        return Ok(Action::Answer { challenge, epoch, hash, sum, leaves, siblings });
    }
    let index: u64 = (U256::from_be_bytes(seed.0) % U256::from(leaves)).saturating_to();
    let (leaf, proof) = audit::leaf(anchor, index)?;
    let sibling = |one: &weir_usage::merkle::Node| Sibling { hash: one.hash, sum: one.sum };
    let siblings = proof.siblings.iter().map(sibling).collect();
    Ok(Action::Answer { challenge, epoch, hash: leaf.hash, sum: leaf.sum, leaves, siblings })
}
