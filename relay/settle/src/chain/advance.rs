//! From planned to final, one journaled step at a time.

use std::time::Duration;

use alloy::consensus::{TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Decodable2718;
use alloy::primitives::{B256, Bytes, TxKind, U256};
use alloy::rpc::types::TransactionReceipt;
use alloy::sol_types::SolEvent;
use tokio::time::Instant;
use tracing::warn;
use weir_usage::{ChannelId, Digest};

use super::contracts::{self, IExitEscrow};
use super::outbox::{ATTEMPTS_MAX, Intent, State};
use super::rpc::{Fees, Sent};
use super::{Driver, SentAt};
use crate::error::Error;
use crate::journal::entry::{Action, ClaimedRow, Step};

/// A transaction that isn't mined is sent again that often: nodes forget.
const RESEND: Duration = Duration::from_secs(30);
/// One that was refused is offered again that often: the wallet may have been filled up.
const REOFFER: Duration = Duration::from_secs(5);
/// A node counts a transaction before it finds its receipt: state, blocks and the index of
/// transactions are three things, and endpoints behind a balancer are several nodes.
const GONE_FOR: Duration = Duration::from_secs(1);

impl Driver {
    /// Moves every open intent as far as the chain allows. `head` is the newest block.
    pub(super) async fn advance(&mut self, head: u64) -> Result<(), Error> {
        // What would be lost otherwise is signed first, whatever was planned before it. Then
        // answers whose time runs out, then the rest in its order.
        let urgency = |i: &Intent| match i.action {
            _ if self.left(i).is_some() => 0,
            Action::Answer { challenge, .. } if self.ends_soon(challenge) => 1,
            _ => 2,
        };
        let mut intents: Vec<(u8, u64)> =
            self.past.outbox.open().map(|i| (urgency(i), i.id)).collect();
        intents.sort_unstable();
        let ids: Vec<u64> = intents.into_iter().map(|(_, id)| id).collect();
        // All that were signed come first: where one's block has left the chain, its nonce is the
        // next one, and nothing that is signed before it is sent again can be mined.
        for id in &ids {
            if let Some(intent) = self.past.outbox.get(*id).filter(|i| i.nonce.is_some()).cloned() {
                self.follow(intent, head).await?;
            }
        }
        for id in ids {
            // One transaction under way at a time: then the account's nonce on chain says where to
            // go on, and a stuck transaction can't be overtaken by the ones behind it.
            let waiting = |i: &Intent| matches!(i.state, State::Signed | State::Broadcast);
            if self.past.outbox.open().any(waiting) {
                break;
            }
            if let Some(intent) = self.past.outbox.get(id).filter(|i| i.nonce.is_none()).cloned() {
                self.sign_first(intent, head).await?;
            }
        }
        Ok(())
    }

    /// Signs the first transaction of an intent and sends it.
    async fn sign_first(&mut self, intent: Intent, head: u64) -> Result<(), Error> {
        let to = match intent.action {
            Action::Claim { .. } | Action::Settle { .. } => Some(self.config.domain.escrow),
            Action::Anchor { .. }
            | Action::AnchorDay { .. }
            | Action::Answer { .. }
            | Action::Fees { .. } => self.config.anchor,
        };
        let Some(to) = to else {
            let reason = "no anchor contract is configured any more".into();
            return self.step(intent.id, Step::Abandoned { reason }).await;
        };
        let to = contracts::address(to);
        let input = contracts::input(&intent.action);
        let gas = match self.rpc.estimate(self.address(), to, input.clone()).await {
            Ok(gas) => gas,
            Err(Error::Transaction { reason, .. }) => {
                self.pause(intent.kind());
                return self.step(intent.id, Step::Abandoned { reason }).await;
            }
            Err(other) => return Err(other),
        };
        let fees = self.rpc.fees().await?;
        self.chain.fees = Some(fees);
        let left = self.left(&intent);
        if let Some(reason) = self.prices().too_expensive(left) {
            // Nothing is lost: what is due is planned anew, with the vouchers of then.
            return self.step(intent.id, Step::Abandoned { reason }).await;
        }
        let fees = Fees { max_fee: fees.max_fee.min(self.prices().ceiling(left)), tip: fees.tip };
        let Some(nonce) = self.free_nonce(head).await? else { return Ok(()) };
        self.sign(intent.id, self.transaction(nonce, gas, fees, to, input)).await
    }

    /// Looks where a signed intent is, and sends it again or pays more if it is nowhere.
    async fn follow(&mut self, intent: Intent, head: u64) -> Result<(), Error> {
        if let Some((hash, receipt)) = self.receipt(&intent).await? {
            let block = receipt.block_number.unwrap_or(head);
            let mined = State::Mined { hash, block };
            if intent.state != mined {
                self.step(intent.id, Step::Mined { hash, block }).await?;
            }
            if head >= block.saturating_add(self.config.confirmations) {
                if !receipt.status() {
                    self.pause(intent.kind());
                }
                self.step(intent.id, outcome(&intent, hash, block, &receipt)).await?;
            }
            return Ok(());
        }
        if matches!(intent.state, State::Mined { .. }) {
            self.step(intent.id, Step::Unmined).await?;
        }
        let is_gone = self.nonce_is_gone(&intent, head).await?;
        let at = self.sent.entry(intent.id).or_insert_with(SentAt::now);
        if is_gone {
            if at.gone.get_or_insert_with(Instant::now).elapsed() < GONE_FOR {
                return Ok(());
            }
            self.pause(intent.kind());
            return self.step(intent.id, Step::Replaced).await;
        }
        at.gone = None;
        let is_stuck = at.made.elapsed() >= self.config.stuck_after;
        if at.next <= Instant::now() {
            self.send(&intent).await?;
        } else if is_stuck && intent.attempts.len() < ATTEMPTS_MAX {
            self.pay_more(&intent).await?;
        }
        Ok(())
    }

    /// Replaces a stuck transaction by one that differs in its fee only. A new estimate of the gas
    /// would be wrong: the node may count the stuck transaction as done.
    async fn pay_more(&mut self, intent: &Intent) -> Result<(), Error> {
        let Some(last) = intent.attempts.last() else { return Ok(()) };
        let mut tx = decode(intent, &last.raw)?;
        let current = self.rpc.fees().await?;
        // Nodes want at least 10 % more, for the fee and for the tip, and round as they like.
        let more = |wei: u128| wei.saturating_mul(9) / 8 + 1;
        tx.max_fee_per_gas = current.max_fee.max(more(tx.max_fee_per_gas));
        tx.max_priority_fee_per_gas =
            current.tip.max(more(tx.max_priority_fee_per_gas)).min(tx.max_fee_per_gas);
        let fee = tx.max_fee_per_gas;
        // It may be in the way of one that is more urgent than itself.
        let left = self.past.outbox.open().filter_map(|i| self.left(i)).min();
        let ceiling = self.prices().ceiling(left);
        if fee > ceiling {
            warn!(id = intent.id, fee, ceiling, "stuck, and the fee ceiling forbids to pay more");
            self.sent.insert(intent.id, SentAt::now());
            return Ok(());
        }
        warn!(id = intent.id, fee, "stuck; paying more with the same nonce");
        self.sign(intent.id, tx).await
    }

    /// Signs, journals, and only then sends.
    async fn sign(&mut self, id: u64, tx: TxEip1559) -> Result<(), Error> {
        let (nonce, max_fee_per_gas) = (tx.nonce, tx.max_fee_per_gas);
        let signed = self.wallet.sign(tx)?;
        let raw = Bytes::from(signed.raw).to_string();
        self.step(id, Step::Signed { nonce, hash: signed.hash, raw, max_fee_per_gas }).await?;
        self.sent.insert(id, SentAt::now());
        match self.past.outbox.get(id).cloned() {
            Some(intent) => self.send(&intent).await,
            None => Ok(()),
        }
    }

    /// Sends the newest transaction of an intent.
    async fn send(&mut self, intent: &Intent) -> Result<(), Error> {
        let Some(newest) = intent.attempts.last() else { return Ok(()) };
        let raw = bytes(intent, &newest.raw)?;
        let answer = self.rpc.send_raw(&raw).await?;
        let at = self.sent.entry(intent.id).or_insert_with(SentAt::now);
        match answer {
            Sent::Taken => {
                at.next = Instant::now() + RESEND.min(self.config.stuck_after / 4);
                at.refused = None;
            }
            Sent::Refused(reason) => {
                at.next = Instant::now() + REOFFER;
                if at.refused.as_ref() != Some(&reason) {
                    warn!(id = intent.id, kind = intent.kind(), reason, "the node refuses it");
                }
                at.refused = Some(reason);
                return Ok(());
            }
        }
        if intent.state == State::Signed {
            self.step(intent.id, Step::Broadcast { hash: newest.hash }).await?;
        }
        Ok(())
    }

    async fn receipt(
        &self,
        intent: &Intent,
    ) -> Result<Option<(Digest, TransactionReceipt)>, Error> {
        for attempt in intent.attempts.iter().rev() {
            if let Some(receipt) = self.rpc.receipt(B256::from(attempt.hash.0)).await? {
                return Ok(Some((attempt.hash, receipt)));
            }
        }
        Ok(None)
    }

    /// Whether the nonce was used, deep enough to stay, and not by one of ours.
    async fn nonce_is_gone(&self, intent: &Intent, head: u64) -> Result<bool, Error> {
        let Some(nonce) = intent.nonce else { return Ok(false) };
        let deep = head.saturating_sub(self.config.confirmations);
        if self.rpc.nonce(self.address(), deep).await? <= nonce {
            return Ok(false);
        }
        // It may have been mined between the two questions.
        Ok(self.receipt(intent).await?.is_none())
    }

    /// The nonce for a new intent, when none of ours is waiting to be mined. `None`: not yet.
    ///
    /// Only mined transactions count. What somebody else has pending may never be mined, and what
    /// somebody else has mined may leave the chain again; a transaction of ours behind it could
    /// then never be mined either. So a pending one is competed with, and a mined one is built upon
    /// when it is as deep as what is final.
    async fn free_nonce(&mut self, head: u64) -> Result<Option<u64>, Error> {
        let mined = self.rpc.nonce(self.address(), head).await?;
        let ours = self.past.outbox.next_nonce().unwrap_or(0);
        if mined < ours {
            // All of ours are mined, so a node that knows less of them is behind or elsewhere.
            return Err(Error::Rpc {
                call: "eth_getTransactionCount",
                rpc: self.rpc.shown(),
                reason: format!(
                    "the next nonce is {mined}, but the journal has used up to {}: the node is \
                     behind, or its chain was reset",
                    ours - 1
                ),
            });
        }
        if mined == ours {
            return Ok(Some(mined));
        }
        if self.stranger != Some(mined) {
            warn!(mined, ours, "somebody else uses this wallet; give the sidecar its own");
            self.stranger = Some(mined);
        }
        let deep = head.saturating_sub(self.config.confirmations);
        Ok((self.rpc.nonce(self.address(), deep).await? == mined).then_some(mined))
    }

    /// How long the shortest of what an intent claims can still be claimed.
    fn left(&self, intent: &Intent) -> Option<Duration> {
        let Action::Claim { rows } = &intent.action else { return None };
        rows.iter().filter_map(|row| self.chain.left(&row.channel)).min()
    }

    fn transaction(
        &self,
        nonce: u64,
        gas: u64,
        fees: Fees,
        to: alloy::primitives::Address,
        input: Bytes,
    ) -> TxEip1559 {
        TxEip1559 {
            chain_id: self.config.domain.chain_id,
            nonce,
            // The estimate is for the state of now; a fifth more covers what changes until then.
            gas_limit: gas.saturating_add(gas / 5),
            max_fee_per_gas: fees.max_fee,
            max_priority_fee_per_gas: fees.tip.min(fees.max_fee),
            to: TxKind::Call(to),
            value: U256::ZERO,
            access_list: Default::default(),
            input,
        }
    }
}

/// A transaction as the journal has it.
fn bytes(intent: &Intent, raw: &str) -> Result<Bytes, Error> {
    raw.parse().map_err(|_| damaged(intent))
}

fn decode(intent: &Intent, raw: &str) -> Result<TxEip1559, Error> {
    let envelope = TxEnvelope::decode_2718(&mut bytes(intent, raw)?.as_ref());
    let signed = envelope.ok().and_then(|e| e.as_eip1559().cloned());
    signed.map(|s| s.strip_signature()).ok_or_else(|| damaged(intent))
}

fn damaged(intent: &Intent) -> Error {
    let detail = format!("the transaction of intent {} can't be read", intent.id);
    Error::Contradiction { offset: 0, detail }
}

/// The last step of a mined intent, with what the contract said.
fn outcome(intent: &Intent, hash: Digest, block: u64, receipt: &TransactionReceipt) -> Step {
    let mut claimed = Vec::new();
    let mut settled = 0u128;
    for log in receipt.inner.logs() {
        let log = &log.inner;
        if let Ok(event) = IExitEscrow::Claimed::decode_log(log) {
            claimed.push(ClaimedRow {
                channel: ChannelId(event.channelId.0),
                lane: event.lane,
                paid: event.paid,
                total: event.claimed,
                skipped: String::new(),
            });
        } else if let Ok(event) = IExitEscrow::ClaimSkipped::decode_log(log) {
            claimed.push(ClaimedRow {
                channel: ChannelId(event.channelId.0),
                lane: event.lane,
                paid: 0,
                total: 0,
                skipped: contracts::skip_reason(event.reason).into(),
            });
        } else if let Ok(event) = IExitEscrow::Settled::decode_log(log) {
            settled = settled.saturating_add(u128::try_from(event.amount).unwrap_or(u128::MAX));
        }
    }
    if !matches!(intent.action, Action::Claim { .. }) {
        claimed.clear();
    }
    Step::Final {
        hash,
        block,
        success: receipt.status(),
        gas_used: receipt.gas_used,
        gas_price: receipt.effective_gas_price,
        claimed,
        settled,
    }
}
