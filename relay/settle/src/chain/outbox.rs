//! Every transaction that was ever decided on, and how far it got.
//!
//! The outbox is rebuilt from the journal at start. A step is journaled before it is acted on, so
//! after a crash the worst that can happen is that something is done a second time that is the
//! same bytes: sending a raw transaction again.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use weir_usage::Digest;

use crate::journal::entry::{Action, ClaimedRow, OutboxStep, Step};

/// Finished intents that are kept for `status`; `explain` reads the journal itself.
const DONE_MAX: usize = 256;
/// Replacements of one transaction by higher fees. At 12.5 % each the fee has grown tenfold.
pub const ATTEMPTS_MAX: usize = 20;

/// One transaction that was signed for an intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its hash.
    pub hash: Digest,
    /// Its bytes.
    pub raw: String,
    /// What it offers per gas.
    pub max_fee_per_gas: u128,
}

/// How far an intent got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Decided on.
    Planned,
    /// Signed, perhaps sent.
    Signed,
    /// A node took it.
    Broadcast,
    /// In a block.
    Mined {
        /// Which attempt.
        hash: Digest,
        /// Which block.
        block: u64,
    },
    /// In a block that stays.
    Final(Outcome),
    /// Given up before it was signed.
    Abandoned(String),
    /// Its nonce went to somebody else's transaction.
    Replaced,
}

/// The end of a mined intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which attempt.
    pub hash: Digest,
    /// Which block.
    pub block: u64,
    /// False if it reverted.
    pub success: bool,
    /// Gas it took.
    pub gas_used: u64,
    /// Wei paid per gas.
    pub gas_price: u128,
    /// For a claim: by row.
    pub claimed: Vec<ClaimedRow>,
    /// For a settle: token units moved.
    pub settled: u128,
}

/// Something to be done on chain exactly once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Its number.
    pub id: u64,
    /// What is to be done.
    pub action: Action,
    /// The one nonce that all attempts share.
    pub nonce: Option<u64>,
    /// Oldest first.
    pub attempts: Vec<Attempt>,
    /// How far it got.
    pub state: State,
}

impl Intent {
    /// Whether anything is left to do.
    pub fn is_open(&self) -> bool {
        !matches!(self.state, State::Final(_) | State::Abandoned(_) | State::Replaced)
    }

    /// A name for logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self.action {
            Action::Claim { .. } => "claim",
            Action::Settle { .. } => "settle",
            Action::Anchor { .. } => "anchor",
            Action::AnchorDay { .. } => "day",
            Action::Answer { .. } => "answer",
            Action::Fees { .. } => "fees",
        }
    }

    /// A name for the state.
    pub fn state_name(&self) -> &'static str {
        match self.state {
            State::Planned => "planned",
            State::Signed => "signed",
            State::Broadcast => "broadcast",
            State::Mined { .. } => "mined",
            State::Final(_) => "final",
            State::Abandoned(_) => "abandoned",
            State::Replaced => "replaced",
        }
    }
}

/// All intents.
#[derive(Debug, Clone, Default)]
pub struct Outbox {
    open: BTreeMap<u64, Intent>,
    done: VecDeque<Intent>,
    last_id: u64,
    next_nonce: Option<u64>,
}

impl Outbox {
    /// The number of the next intent.
    pub fn next_id(&self) -> u64 {
        self.last_id + 1
    }

    /// The lowest nonce that no transaction of ours has, if one was ever signed.
    pub fn next_nonce(&self) -> Option<u64> {
        self.next_nonce
    }

    /// Intents with something left to do, oldest first.
    pub fn open(&self) -> impl Iterator<Item = &Intent> {
        self.open.values()
    }

    /// Intents that are done, oldest first; the last few hundred.
    pub fn done(&self) -> impl Iterator<Item = &Intent> {
        self.done.iter()
    }

    /// An intent, open or lately done.
    pub fn get(&self, id: u64) -> Option<&Intent> {
        self.open.get(&id).or_else(|| self.done.iter().find(|i| i.id == id))
    }

    /// The outbox that [`Outbox::done`] and the others told of.
    pub(super) fn of(
        open: Vec<Intent>,
        done: Vec<Intent>,
        last_id: u64,
        nonce: Option<u64>,
    ) -> Self {
        Self {
            open: open.into_iter().map(|intent| (intent.id, intent)).collect(),
            done: done.into(),
            last_id,
            next_nonce: nonce,
        }
    }

    /// Takes a step.
    ///
    /// # Errors
    /// What the step contradicts: a second nonce, or a step of an intent that isn't open.
    pub fn apply(&mut self, step: &OutboxStep) -> Result<(), String> {
        if let Step::Planned { action } = &step.step {
            if step.intent <= self.last_id {
                return Err(format!("intent {} was planned before", step.intent));
            }
            self.last_id = step.intent;
            let intent = Intent {
                id: step.intent,
                action: action.clone(),
                nonce: None,
                attempts: Vec::new(),
                state: State::Planned,
            };
            self.open.insert(step.intent, intent);
            return Ok(());
        }
        let intent = self
            .open
            .get_mut(&step.intent)
            .ok_or_else(|| format!("intent {} is not open", step.intent))?;
        advance(intent, &step.step)?;
        if let Step::Signed { nonce, .. } = step.step {
            self.next_nonce = Some(self.next_nonce.unwrap_or(0).max(nonce + 1));
        }
        if !intent.is_open()
            && let Some(done) = self.open.remove(&step.intent)
        {
            if self.done.len() == DONE_MAX {
                self.done.pop_front();
            }
            self.done.push_back(done);
        }
        Ok(())
    }
}

fn advance(intent: &mut Intent, step: &Step) -> Result<(), String> {
    let known = |hash: &Digest| {
        let found = intent.attempts.iter().any(|a| a.hash == *hash);
        if found {
            Ok(())
        } else {
            Err(format!("{hash} is no transaction of intent {}", intent.id))
        }
    };
    match step {
        Step::Planned { .. } => return Err(format!("intent {} was planned before", intent.id)),
        Step::Signed { nonce, hash, raw, max_fee_per_gas } => {
            if let Some(first) = intent.nonce
                && first != *nonce
            {
                return Err(format!("intent {} has nonce {first}, not {nonce}", intent.id));
            }
            intent.nonce = Some(*nonce);
            intent.attempts.push(Attempt {
                hash: *hash,
                raw: raw.clone(),
                max_fee_per_gas: *max_fee_per_gas,
            });
            intent.state = State::Signed;
        }
        Step::Broadcast { hash } => {
            known(hash)?;
            intent.state = State::Broadcast;
        }
        Step::Mined { hash, block } => {
            known(hash)?;
            intent.state = State::Mined { hash: *hash, block: *block };
        }
        Step::Unmined => intent.state = State::Signed,
        Step::Final { hash, block, success, gas_used, gas_price, claimed, settled } => {
            known(hash)?;
            intent.state = State::Final(Outcome {
                hash: *hash,
                block: *block,
                success: *success,
                gas_used: *gas_used,
                gas_price: *gas_price,
                claimed: claimed.clone(),
                settled: *settled,
            });
        }
        Step::Abandoned { reason } => {
            if intent.nonce.is_some() {
                return Err(format!("intent {} is signed and can't be abandoned", intent.id));
            }
            intent.state = State::Abandoned(reason.clone());
        }
        Step::Replaced => intent.state = State::Replaced,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(id: u64) -> OutboxStep {
        let action = Action::Anchor { epoch: id, root: Digest::ZERO, total: 0 };
        OutboxStep { intent: id, step: Step::Planned { action } }
    }

    fn signed(id: u64, nonce: u64, hash: u8) -> OutboxStep {
        let hash = Digest([hash; 32]);
        let step = Step::Signed { nonce, hash, raw: "0x".into(), max_fee_per_gas: 1 };
        OutboxStep { intent: id, step }
    }

    #[test]
    fn an_intent_never_gets_a_second_nonce() {
        let mut outbox = Outbox::default();
        outbox.apply(&planned(1)).unwrap();
        outbox.apply(&signed(1, 7, 1)).unwrap();
        assert!(outbox.apply(&signed(1, 8, 2)).unwrap_err().contains("has nonce 7, not 8"));
        outbox.apply(&signed(1, 7, 2)).unwrap();
        assert_eq!(outbox.get(1).unwrap().attempts.len(), 2);
        assert_eq!(outbox.next_nonce(), Some(8));
    }

    #[test]
    fn steps_that_do_not_follow_are_refused() {
        let mut outbox = Outbox::default();
        assert!(outbox.apply(&signed(1, 7, 1)).is_err(), "not planned");
        outbox.apply(&planned(1)).unwrap();
        assert!(outbox.apply(&planned(1)).is_err(), "planned twice");
        outbox.apply(&signed(1, 7, 1)).unwrap();
        let abandoned = Step::Abandoned { reason: "no".into() };
        assert!(outbox.apply(&OutboxStep { intent: 1, step: abandoned }).is_err(), "signed");
        let foreign = Step::Mined { hash: Digest([9; 32]), block: 1 };
        assert!(outbox.apply(&OutboxStep { intent: 1, step: foreign }).is_err(), "not ours");
        outbox.apply(&OutboxStep { intent: 1, step: Step::Replaced }).unwrap();
        assert!(outbox.apply(&signed(1, 7, 1)).is_err(), "done is done");
        assert_eq!((outbox.open().count(), outbox.done().count()), (0, 1));
    }
}
