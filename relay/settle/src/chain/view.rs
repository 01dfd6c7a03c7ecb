//! A copy of the chain's state for everybody who only looks.

use serde::{Serialize, Serializer};

use super::Driver;
use super::answers::ChallengesView;
use super::days::DayView;
use super::outbox::{Intent, Outbox, State};
use super::price::Waiting;
use super::quorum::{EndpointView, Quorum};
use crate::config::Channel;
use crate::error::Error;
use crate::journal::entry::text;
use crate::keys::Wallet;

/// The state as of the last look at the chain.
#[derive(Debug, Clone, Serialize)]
pub struct ChainView {
    /// The endpoints, without credentials.
    pub rpc: String,
    /// How each of them is.
    pub endpoints: Vec<EndpointView>,
    /// What they disagreed on during the last minute; nothing is done on the word of one.
    pub quarrel: Option<String>,
    /// Whether the last look succeeded.
    pub reachable: bool,
    /// Why it didn't.
    pub error: Option<String>,
    /// Newest block seen.
    pub block: u64,
    /// When the chain last answered, Unix time in milliseconds; 0 for never.
    pub last_ok_ms: u64,
    /// Who pays for gas.
    pub wallet: String,
    /// What it has, in wei.
    #[serde(serialize_with = "decimal")]
    pub wallet_wei: Option<u128>,
    /// Whole days that it lasts, by the dearer of the last days and the policy.
    pub wallet_days_left: Option<u64>,
    /// Whether that is below the configured floor, in wei or in days.
    pub wallet_low: bool,
    /// Claimed and not yet pulled, over all receivers and tokens, in token units.
    #[serde(serialize_with = "text::serialize")]
    pub earned: u128,
    /// What is due and isn't done, and why.
    pub waiting: Vec<Waiting>,
    /// Payers that withdraw, and the seconds until they can take their deposits.
    pub leaving: Vec<Leaving>,
    /// What the chain wants per gas, in wei.
    #[serde(serialize_with = "decimal")]
    pub gas_price_wei: Option<u128>,
    /// By agreement, the newest day of samples whose root is journaled.
    pub days: Vec<DayView>,
    /// Days with a root that isn't anchored.
    pub days_pending: usize,
    /// What keeps days from being anchored.
    pub days_trouble: Vec<String>,
    /// Challenges of this exit.
    pub challenges: ChallengesView,
    /// The newest epoch that was signed for.
    pub vouched: Option<u64>,
    /// Why none is signed for.
    pub vouch_trouble: Option<String>,
    /// Intents with something left to do, oldest first.
    pub open: Vec<IntentView>,
    /// Intents that are done, newest first; a few.
    pub done: Vec<IntentView>,
}

/// A payer that withdraws.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leaving {
    /// Its channel.
    pub channel: String,
    /// Until it can take what is left, by the chain's clock.
    pub seconds_left: u64,
}

/// How far an intent got.
#[derive(Debug, Clone, Serialize)]
pub struct IntentView {
    /// Its number.
    pub id: u64,
    /// claim, settle, anchor, day, answer or fees.
    pub kind: &'static str,
    /// planned, signed, broadcast, mined, final, abandoned or replaced.
    pub state: &'static str,
    /// Its account nonce.
    pub nonce: Option<u64>,
    /// Hashes of its transactions, oldest first.
    pub transactions: Vec<String>,
    /// Why the node refused its newest transaction the last time.
    pub refused: Option<String>,
    /// Gas it took.
    pub gas_used: Option<u64>,
    /// False if it reverted.
    pub success: Option<bool>,
}

/// Amounts are decimal strings: JSON numbers lose digits past 2^53.
fn decimal<S: Serializer>(value: &Option<u128>, s: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => s.collect_str(value),
        None => s.serialize_none(),
    }
}

/// Finished intents that `status` shows.
const DONE_SHOWN: usize = 10;

impl ChainView {
    pub(super) fn new(rpc: &Quorum, wallet: &Wallet, outbox: &Outbox) -> Self {
        Self {
            rpc: rpc.shown(),
            endpoints: rpc.endpoints(),
            quarrel: rpc.quarrel(),
            reachable: false,
            error: None,
            block: 0,
            last_ok_ms: 0,
            wallet: wallet.address().to_string(),
            wallet_wei: None,
            wallet_days_left: None,
            wallet_low: false,
            earned: 0,
            waiting: Vec::new(),
            leaving: Vec::new(),
            gas_price_wei: None,
            days: Vec::new(),
            days_pending: 0,
            days_trouble: Vec::new(),
            challenges: ChallengesView::default(),
            vouched: None,
            vouch_trouble: None,
            open: outbox.open().map(IntentView::of).collect(),
            done: last_done(outbox),
        }
    }
}

impl IntentView {
    /// Shows an intent.
    pub fn of(intent: &Intent) -> Self {
        let outcome = match &intent.state {
            State::Final(outcome) => Some(outcome),
            _ => None,
        };
        Self {
            id: intent.id,
            kind: intent.kind(),
            state: intent.state_name(),
            nonce: intent.nonce,
            transactions: intent.attempts.iter().map(|a| a.hash.to_string()).collect(),
            refused: None,
            gas_used: outcome.map(|o| o.gas_used),
            success: outcome.map(|o| o.success),
        }
    }
}

impl Driver {
    /// Publishes the state after a good look.
    pub(super) fn show(&self, head: u64) {
        let wallet_wei = self.chain.wallet_wei;
        self.view.send_modify(|view| {
            *view = std::sync::Arc::new(ChainView {
                reachable: true,
                error: None,
                block: head,
                last_ok_ms: crate::now_ms(),
                wallet_wei,
                wallet_days_left: self.days_left(),
                wallet_low: self.wallet_is_low(),
                earned: self.chain.earned.values().fold(0, |sum, e| sum.saturating_add(*e)),
                waiting: self.waiting.clone(),
                leaving: self.leaving(),
                gas_price_wei: self.chain.fees.map(|fees| fees.now()),
                days: self.days_view(),
                days_pending: self.days_pending(),
                days_trouble: self.days_trouble(),
                challenges: self.challenges_view(),
                vouched: self.past.vouched.as_ref().map(|one| one.said.statement.epoch),
                vouch_trouble: self.voucher.as_ref().and_then(|one| one.trouble.clone()),
                open: self.open_intents(),
                ..ChainView::new(&self.rpc, &self.wallet, &self.past.outbox)
            });
        });
    }

    /// Publishes that a look failed; what was seen before stays.
    pub(super) fn fail(&self, error: &Error) {
        self.view.send_modify(|view| {
            let mut failed = ChainView::clone(view);
            failed.reachable = false;
            failed.error = Some(error.to_string());
            failed.endpoints = self.rpc.endpoints();
            failed.quarrel = self.rpc.quarrel();
            failed.open = self.open_intents();
            failed.done = last_done(&self.past.outbox);
            *view = std::sync::Arc::new(failed);
        });
    }

    fn leaving(&self) -> Vec<Leaving> {
        let left = |channel: &Channel| {
            let seconds_left = self.chain.left(&channel.id)?.as_secs();
            Some(Leaving { channel: channel.id.to_string(), seconds_left })
        };
        self.channels.iter().filter_map(left).collect()
    }

    fn open_intents(&self) -> Vec<IntentView> {
        let with_refusal = |intent: &Intent| IntentView {
            refused: self.sent.get(&intent.id).and_then(|at| at.refused.clone()),
            ..IntentView::of(intent)
        };
        self.past.outbox.open().map(with_refusal).collect()
    }
}

fn last_done(outbox: &Outbox) -> Vec<IntentView> {
    let mut done: Vec<IntentView> = outbox.done().map(IntentView::of).collect();
    done.reverse();
    done.truncate(DONE_SHOWN);
    done
}
