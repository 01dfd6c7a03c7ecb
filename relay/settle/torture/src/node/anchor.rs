//! `UsageAnchor`, as `deploy/contracts` has it: anchors, challenges of them, and their fees.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::sol_types::SolCall;
use weir_settle::chain::challenge::IChallenges;
use weir_settle::chain::contracts::{IUsageAnchor, commitment};
use weir_usage::Digest;
use weir_usage::merkle::{self, Anchor, Leaf, Node, Proof};

/// The contract's `ANSWER_SECONDS`.
pub const ANSWER_S: u64 = 3 * 86_400;

/// How far a challenge got; the contract's `State`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nobody has shown the leaf.
    Open = 1,
    /// It was shown in time.
    Answered = 2,
    /// It was recorded that it wasn't.
    Unanswered = 3,
}

/// A challenge.
#[derive(Debug, Clone)]
pub struct Challenge {
    /// Who is to answer.
    pub exit: Address,
    /// About which anchor.
    pub epoch: u64,
    /// How far it got.
    pub state: State,
    /// Unix time in seconds up to which an answer counts.
    pub answer_by: u64,
    seed: B256,
    /// In wei.
    fee: u128,
    challenger: Address,
}

/// The contract's storage.
#[derive(Debug, Clone, Default)]
pub struct UsageAnchor {
    anchors: BTreeMap<(Address, u64), Anchor>,
    /// By number, from 1.
    challenges: BTreeMap<u64, Challenge>,
    /// Challenged, answered, unanswered.
    records: BTreeMap<Address, (u64, u64, u64)>,
    owed: BTreeMap<Address, u128>,
    paid_in: u128,
    paid_out: u128,
}

/// Who calls, with what, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) from: Address,
    pub(super) value: u128,
    /// The block's, Unix seconds.
    pub(super) time: u64,
    /// What nobody could foresee.
    pub(super) chance: B256,
}

impl UsageAnchor {
    /// What an exit committed to.
    pub fn anchor_of(&self, exit: Address, epoch: u64) -> Option<&Anchor> {
        self.anchors.get(&(exit, epoch))
    }

    /// The epochs that an exit has anchored.
    pub fn epochs(&self, exit: Address) -> Vec<u64> {
        self.anchors.keys().filter(|(by, _)| *by == exit).map(|(_, epoch)| *epoch).collect()
    }

    /// All challenges, by number.
    pub fn challenges(&self) -> &BTreeMap<u64, Challenge> {
        &self.challenges
    }

    /// Whether every fee that was paid in is somewhere.
    pub fn adds_up(&self) -> bool {
        let open = self.challenges.values().filter(|one| one.state == State::Open);
        let held: u128 = self.owed.values().sum::<u128>() + open.map(|one| one.fee).sum::<u128>();
        held + self.paid_out == self.paid_in
    }

    /// Runs a transaction; `None` if it reverts.
    pub(super) fn run(&mut self, call: &Call, input: &[u8]) -> Option<()> {
        match *input.first_chunk()? {
            IUsageAnchor::anchorCall::SELECTOR => self.anchor(call.from, input),
            IChallenges::challengeLeafCall::SELECTOR => self.challenge(call, input),
            IChallenges::answerLeafCall::SELECTOR => self.answer(call.time, input),
            IChallenges::expireChallengeCall::SELECTOR => self.expire(call.time, input),
            IChallenges::payFeesCall::SELECTOR => {
                let account = IChallenges::payFeesCall::abi_decode(input).ok()?.account;
                self.paid_out += self.owed.remove(&account)?;
                Some(())
            }
            _ => None,
        }
    }

    fn anchor(&mut self, from: Address, input: &[u8]) -> Option<()> {
        let IUsageAnchor::anchorCall { epoch, root, total } =
            IUsageAnchor::anchorCall::abi_decode(input).ok()?;
        let anchor = Anchor { epoch, root: Digest(root.0), total };
        let held = self.anchors.entry((from, epoch)).or_insert(anchor);
        // The same again is fine; something else for the same epoch isn't.
        (*held == anchor).then_some(())
    }

    fn challenge(&mut self, call: &Call, input: &[u8]) -> Option<()> {
        let asked = IChallenges::challengeLeafCall::abi_decode(input).ok()?;
        self.anchors.get(&(asked.exit, asked.epoch))?;
        let id = self.challenges.len() as u64 + 1;
        let challenge = Challenge {
            exit: asked.exit,
            epoch: asked.epoch,
            state: State::Open,
            answer_by: call.time + ANSWER_S,
            seed: keccak256([call.chance.0, B256::from(U256::from(id)).0].concat()),
            fee: call.value,
            challenger: call.from,
        };
        self.paid_in += call.value;
        self.challenges.insert(id, challenge);
        self.records.entry(asked.exit).or_default().0 += 1;
        Some(())
    }

    fn answer(&mut self, time: u64, input: &[u8]) -> Option<()> {
        let shown = IChallenges::answerLeafCall::abi_decode(input).ok()?;
        let id = u64::try_from(shown.challengeId).ok()?;
        let challenge = self.challenges.get_mut(&id)?;
        if challenge.state != State::Open || time > challenge.answer_by {
            return None;
        }
        let anchor = self.anchors.get(&(challenge.exit, challenge.epoch))?;
        let leaf = Leaf { hash: Digest(shown.hash.0), sum: shown.sum };
        if shown.leaves == 0 {
            let empty = merkle::anchor(challenge.epoch, &[]).ok()?;
            let is_nothing = leaf == Leaf { hash: Digest::ZERO, sum: 0 };
            (is_nothing && shown.siblings.is_empty() && empty == *anchor).then_some(())?;
        } else {
            let index = U256::from_be_bytes(challenge.seed.0) % U256::from(shown.leaves);
            let node = |one: &IChallenges::Node| Node { hash: Digest(one.hash.0), sum: one.sum };
            let siblings = shown.siblings.iter().map(node).collect();
            let proof = Proof { index: index.saturating_to(), leaves: shown.leaves, siblings };
            proof.verify(&leaf, anchor).ok()?;
        }
        challenge.state = State::Answered;
        self.records.entry(challenge.exit).or_default().1 += 1;
        *self.owed.entry(challenge.exit).or_default() += challenge.fee;
        Some(())
    }

    fn expire(&mut self, time: u64, input: &[u8]) -> Option<()> {
        let id = IChallenges::expireChallengeCall::abi_decode(input).ok()?.challengeId;
        let challenge = self.challenges.get_mut(&u64::try_from(id).ok()?)?;
        if challenge.state != State::Open || time <= challenge.answer_by {
            return None;
        }
        challenge.state = State::Unanswered;
        self.records.entry(challenge.exit).or_default().2 += 1;
        *self.owed.entry(challenge.challenger).or_default() += challenge.fee;
        Some(())
    }

    /// Answers a call that only reads; `None` if it is none of this contract.
    pub(super) fn read(&self, input: &[u8]) -> Option<Vec<u8>> {
        Some(match *input.first_chunk()? {
            IUsageAnchor::commitmentsCall::SELECTOR => {
                let call = IUsageAnchor::commitmentsCall::abi_decode(input).ok()?;
                let held = self.anchor_of(call.exit, call.epoch);
                let held = held.map(|anchor| commitment(&anchor.root, anchor.total));
                IUsageAnchor::commitmentsCall::abi_encode_returns(&held.unwrap_or_default())
            }
            IChallenges::challengesCall::SELECTOR => {
                let call = IChallenges::challengesCall::abi_decode(input).ok()?;
                let found = self.challenges.get(&call.challengeId.saturating_to());
                IChallenges::challengesCall::abi_encode_returns(&IChallenges::challengesReturn {
                    exit: found.map_or(Address::ZERO, |one| one.exit),
                    epoch: found.map_or(0, |one| one.epoch),
                    state: found.map_or(0, |one| one.state as u8),
                    challenger: found.map_or(Address::ZERO, |one| one.challenger),
                    answerBy: found.map_or(0, |one| one.answer_by),
                    seed: found.map_or(B256::ZERO, |one| one.seed),
                    fee: found.map_or(U256::ZERO, |one| U256::from(one.fee)),
                })
            }
            IChallenges::challengeCountCall::SELECTOR => {
                let count = U256::from(self.challenges.len());
                IChallenges::challengeCountCall::abi_encode_returns(&count)
            }
            IChallenges::recordsCall::SELECTOR => {
                let call = IChallenges::recordsCall::abi_decode(input).ok()?;
                let (challenged, answered, unanswered) =
                    self.records.get(&call.exit).copied().unwrap_or_default();
                IChallenges::recordsCall::abi_encode_returns(&IChallenges::recordsReturn {
                    challenged,
                    answered,
                    unanswered,
                })
            }
            IChallenges::owedCall::SELECTOR => {
                let call = IChallenges::owedCall::abi_decode(input).ok()?;
                let owed = self.owed.get(&call.account).copied().unwrap_or(0);
                IChallenges::owedCall::abi_encode_returns(&U256::from(owed))
            }
            _ => return None,
        })
    }
}
