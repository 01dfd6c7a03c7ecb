//! One lane of one channel: what was used, what was asked for, what was signed.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use weir_usage::{
    Address, Ask, ChannelId, Digest, Domain, Funding, Price, SignedVoucher, UsageRecord,
    VoucherOffer,
};

use super::compare::{Comparison, Finding};
use super::tunnel::Grown;

/// Asks that a payer may still answer. At one ask each 200 ms this is a quarter of a minute, much
/// more than a client takes to fetch, sign and post.
pub const LANE_HEADS_MAX: usize = 64;
/// Findings that are kept by tunnel; past it they are only counted.
const FINDINGS_MAX: usize = 1000;

/// Names a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneKey {
    /// The channel.
    pub channel: ChannelId,
    /// The lane of the channel.
    pub lane: u32,
}

/// The best voucher of a lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// As it goes to the chain.
    #[serde(with = "as_claim")]
    pub signed: SignedVoucher,
    /// Bytes it pays for, client to target.
    pub up_bytes: u64,
    /// Bytes it pays for, target to client.
    pub down_bytes: u64,
    /// When it was accepted.
    pub at_ms: u64,
}

/// What was asked for under one usage head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) head: Digest,
    pub(super) up_bytes: u64,
    pub(super) down_bytes: u64,
}

/// The state of a lane. What isn't serialized follows from the configuration, is the chain's to
/// say, or isn't journaled either.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lane {
    /// Whose vouchers count.
    #[serde(skip)]
    pub signer: Address,
    /// `None` for a lane that isn't configured: it is counted and never asked for.
    #[serde(skip)]
    pub price: Option<Price>,
    /// Whether the price is in the journal.
    pub opened: bool,
    /// Billable bytes, client to target.
    pub up_bytes: u64,
    /// Billable bytes, target to client.
    pub down_bytes: u64,
    /// Tunnels seen.
    pub tunnels: u64,
    /// When the last record's counters were read.
    pub last_record_ms: u64,
    /// The best voucher.
    pub accepted: Option<Accepted>,
    /// Bytes used when the best voucher was accepted, which it doesn't pay for.
    unsigned_bytes: u64,
    /// Tunnels and processes whose ledgers disagree, by the id that [`super::subject`] names; while
    /// there is one, nothing new is asked for.
    pub findings: BTreeMap<u128, Finding>,
    /// Findings past the table's size, and those of tunnels that were waived.
    pub findings_dropped: u64,
    /// Tunnels of which the kernel saw more than is billed. They hold nothing back.
    pub undercounted: u64,
    /// Sum over tunnels of the kernel's bytes minus the engine's, client to target.
    pub kernel_minus_relay_up: i64,
    /// The same, target to client.
    pub kernel_minus_relay_down: i64,
    /// What the chain says of the channel.
    #[serde(skip, default = "unknown")]
    pub funding: Funding,
    /// Token units that vouchers of this lane may claim in all, if the chain said so.
    #[serde(skip)]
    pub spendable: Option<u128>,
    /// Token units claimed on this lane, by the chain's last word.
    #[serde(skip)]
    pub claimed: u128,
    /// Cumulative amount that no longer counts as exposure.
    pub written_off: u128,
    askable: Asked,
    last_record: Digest,
    #[serde(skip)]
    asked: VecDeque<Asked>,
    waived: Vec<u128>,
}

impl Lane {
    pub(super) fn new(price: Option<Price>, signer: Address) -> Self {
        let nothing = Asked { head: Digest::ZERO, up_bytes: 0, down_bytes: 0 };
        Self {
            signer,
            price,
            opened: false,
            up_bytes: 0,
            down_bytes: 0,
            tunnels: 0,
            last_record_ms: 0,
            accepted: None,
            unsigned_bytes: 0,
            findings: BTreeMap::new(),
            findings_dropped: 0,
            undercounted: 0,
            kernel_minus_relay_up: 0,
            kernel_minus_relay_down: 0,
            funding: Funding::Unknown,
            spendable: None,
            claimed: 0,
            written_off: 0,
            askable: nothing,
            last_record: Digest::ZERO,
            asked: VecDeque::new(),
            waived: Vec::new(),
        }
    }

    pub(super) fn unknown() -> Self {
        Self::new(None, Address::ZERO)
    }

    /// Amount for all bytes counted, in token units. Zero for a lane without a price.
    pub fn used_amount(&self) -> u128 {
        self.amount(self.up_bytes, self.down_bytes)
    }

    /// Amount that is asked for, in token units.
    pub fn asked_amount(&self) -> u128 {
        self.amount(self.askable.up_bytes, self.askable.down_bytes)
    }

    /// Amount of the best voucher.
    pub fn vouchered(&self) -> u128 {
        self.accepted.as_ref().map_or(0, |a| a.signed.voucher.amount)
    }

    /// What would be lost if the payer never came back: used and not signed for.
    pub fn exposure(&self) -> u128 {
        self.used_amount().saturating_sub(self.vouchered().max(self.written_off))
    }

    /// What is signed for and not yet claimed.
    pub fn unclaimed(&self) -> u128 {
        self.vouchered().saturating_sub(self.claimed.max(self.written_off))
    }

    /// The first reason why nothing new is asked for, and what it is about.
    pub fn held_back(&self) -> Option<(u128, Finding)> {
        self.findings.iter().next().map(|(id, finding)| (*id, *finding))
    }

    pub(super) fn askable_record(&self) -> Digest {
        self.askable.head
    }

    pub(super) fn asked_under(&self, head: &Digest) -> Option<Asked> {
        self.asked.iter().rev().find(|a| a.head == *head).copied()
    }

    pub(super) fn grow(
        &mut self,
        record: &UsageRecord,
        grown: Grown,
        before: Comparison,
        now: Comparison,
        finding: Option<Finding>,
    ) {
        let up = self.up_bytes.checked_add(grown.up_bytes);
        let down = self.down_bytes.checked_add(grown.down_bytes);
        match (up, down) {
            (Some(up), Some(down)) if up.checked_add(down).is_some() => {
                (self.up_bytes, self.down_bytes) = (up, down);
            }
            _ => self.find(record.tunnel, Finding::Overflow),
        }
        let shift =
            |sum: i64, now: i64, before: i64| sum.saturating_add(now.saturating_sub(before));
        self.kernel_minus_relay_up =
            shift(self.kernel_minus_relay_up, now.up_bytes, before.up_bytes);
        self.kernel_minus_relay_down =
            shift(self.kernel_minus_relay_down, now.down_bytes, before.down_bytes);
        if let Some(finding) = finding {
            self.find(record.tunnel, finding);
        }
        self.last_record_ms = self.last_record_ms.max(record.t1_ms);
        if grown.up_bytes > 0 || grown.down_bytes > 0 {
            self.last_record = record.hash();
        }
        self.refresh();
    }

    pub(super) fn find(&mut self, id: u128, finding: Finding) {
        if !finding.holds_back() {
            self.undercounted += 1;
        } else if self.waived.contains(&id) || self.findings.len() >= FINDINGS_MAX {
            self.findings_dropped += 1;
        } else {
            self.findings.insert(id, finding);
        }
    }

    /// Takes a finding about bytes that are counted already: what was not signed for yet isn't
    /// asked for any more.
    pub(super) fn hold(&mut self, id: u128, finding: Finding) {
        self.find(id, finding);
        if self.findings.contains_key(&id) {
            let signed = self.accepted.as_ref().map_or((0, 0), |a| (a.up_bytes, a.down_bytes));
            (self.askable.up_bytes, self.askable.down_bytes) = signed;
        }
    }

    /// What an operator has decided to bill all the same.
    pub(super) fn waived(&self) -> &[u128] {
        &self.waived
    }

    pub(super) fn waive(&mut self, id: u128) {
        if self.findings.remove(&id).is_some() {
            self.waived.push(id);
            self.refresh();
        }
    }

    /// Bytes that are paid for, as far as credit is concerned: those that were signed for, and on
    /// top up to `permille` of them that were used and didn't reach the payer.
    pub(super) fn paid_bytes(&self, permille: u64) -> u64 {
        let signed = self.accepted.as_ref().map_or(0, |a| a.up_bytes.saturating_add(a.down_bytes));
        let share = u128::from(signed) * u128::from(permille) / 1000;
        let share = u64::try_from(share).unwrap_or(u64::MAX);
        signed.saturating_add(share.min(self.unsigned_bytes))
    }

    pub(super) fn accept(&mut self, offer: &VoucherOffer, at_ms: u64) {
        let signed = offer.up_bytes.saturating_add(offer.down_bytes);
        self.unsigned_bytes = self.up_bytes.saturating_add(self.down_bytes).saturating_sub(signed);
        self.accepted = Some(Accepted {
            signed: offer.signed,
            up_bytes: offer.up_bytes,
            down_bytes: offer.down_bytes,
            at_ms,
        });
    }

    pub(super) fn ask(&mut self, key: &LaneKey, domain: Domain, head: Digest) -> Option<Ask> {
        let price = self.price?;
        let asked = Asked { head, ..self.askable };
        let amount = price.amount_of(asked.up_bytes, asked.down_bytes).ok()?;
        if self.asked_under(&head).is_none() {
            if self.asked.len() == LANE_HEADS_MAX {
                self.asked.pop_front();
            }
            self.asked.push_back(asked);
        }
        Some(Ask {
            domain,
            channel: key.channel,
            lane: key.lane,
            price,
            seq: self.next_seq(),
            up_bytes: asked.up_bytes,
            down_bytes: asked.down_bytes,
            amount,
            usage_head: head,
            last: self.accepted.as_ref().map(|a| a.signed),
        })
    }

    /// The sequence number that the next voucher must carry.
    pub fn next_seq(&self) -> u64 {
        self.accepted.as_ref().map_or(1, |a| a.signed.voucher.seq.saturating_add(1))
    }

    fn amount(&self, up_bytes: u64, down_bytes: u64) -> u128 {
        // An amount past 128 bits can't be asked for either; it shows as zero and as no ask.
        self.price.and_then(|p| p.amount_of(up_bytes, down_bytes).ok()).unwrap_or(0)
    }

    /// What may be asked for follows what was counted, except while the ledgers disagree.
    fn refresh(&mut self) {
        if self.findings.is_empty() {
            self.askable = Asked {
                head: self.last_record,
                up_bytes: self.up_bytes,
                down_bytes: self.down_bytes,
            };
        }
    }
}

fn unknown() -> Funding {
    Funding::Unknown
}

/// A voucher as the rows of claims have it.
mod as_claim {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use weir_usage::{SignedVoucher, Voucher};

    use crate::journal::entry::ClaimRow;

    pub(super) fn serialize<S: Serializer>(
        signed: &SignedVoucher,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let Voucher { channel, lane, amount, seq, usage_head } = signed.voucher;
        let signature = signed.signature;
        ClaimRow { channel, lane, amount, seq, usage_head, signature }.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<SignedVoucher, D::Error> {
        let ClaimRow { channel, lane, amount, seq, usage_head, signature } =
            ClaimRow::deserialize(d)?;
        let voucher = Voucher { channel, lane, amount, seq, usage_head };
        Ok(SignedVoucher { voucher, signature })
    }
}
