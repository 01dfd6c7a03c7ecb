//! What the journal can say.
//!
//! Records and vouchers, of which there are many, are in `weir-usage`'s binary encoding. The rest
//! is rare and is JSON, so that `strings journal` already tells an auditor a lot.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use weir_usage::bond::{BondDomain, EpochStatement, Signed};
use weir_usage::{
    Address, ChannelId, CoSigned, Digest, Frame, SignedSample, SlaId, UsageRecord, VoucherOffer,
};

use crate::audit::Sibling;
use crate::book::Uncarried;

/// One entry: what happened, and when it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Unix time in milliseconds, by this host's clock. The periods of the policy count from it, so
    /// that they go on over restarts.
    pub at_ms: u64,
    /// What happened.
    pub item: Item,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// The relay reported a tunnel.
    Record(Box<UsageRecord>),
    /// A payer's voucher was verified. `query` is zero.
    Voucher(Box<VoucherOffer>),
    /// A lane was first billed, at this price, which it then keeps.
    Lane(LaneOpened),
    /// A transaction took a step.
    Outbox(OutboxStep),
    /// A usage root was computed, and what it commits to.
    Anchor(AnchorLeaves),
    /// An operator's decision.
    Note(Note),
    /// A client's sample that the exit has signed too.
    Sample(Box<CoSigned>),
    /// A measurer's statement that was imported.
    Statement(Box<SignedSample>),
    /// The usage key signed for an epoch.
    Vouched(Vouched),
    /// A relay's process was found to bill what the kernel didn't see come from clients.
    Uncarried(Uncarried),
}

/// A signed statement about an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouched {
    /// Chain and contract that it is good for.
    pub domain: BondDomain,
    /// The statement.
    pub said: Signed<EpochStatement>,
}

/// The price a lane was first billed at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaneOpened {
    /// The channel.
    #[serde(with = "text")]
    pub channel: ChannelId,
    /// The lane.
    pub lane: u32,
    /// Token units per GiB.
    pub price_per_gib: u128,
}

/// Something to be done on chain, exactly once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// `ExitEscrow.claim` with these vouchers.
    Claim {
        /// The lanes and the cumulative amounts that are claimed for them.
        rows: Vec<ClaimRow>,
    },
    /// `ExitEscrow.settle`: pull what was claimed to the receiver.
    Settle {
        /// Who is paid.
        #[serde(with = "text")]
        receiver: Address,
        /// In which token.
        #[serde(with = "text")]
        token: Address,
    },
    /// `UsageAnchor.anchor`.
    Anchor {
        /// The accounting period.
        epoch: u64,
        /// Merkle-sum root over the lanes.
        #[serde(with = "text")]
        root: Digest,
        /// Sum of all leaves.
        total: u128,
    },
    /// `UsageAnchor.anchor` for a day of an agreement's samples.
    AnchorDay {
        /// The agreement.
        sla: SlaId,
        /// Days since 1970, UTC.
        day: u64,
        /// The number it is anchored under.
        epoch: u64,
        /// Merkle-sum root over the hours.
        #[serde(with = "text")]
        root: Digest,
        /// Bytes that the samples tell of.
        total: u128,
    },
    /// `UsageAnchor.answerLeaf`, whole, so that it can be rebuilt from the journal alone.
    Answer {
        /// Number of the challenge.
        challenge: u64,
        /// Which anchor it is about.
        epoch: u64,
        /// The leaf that was picked.
        #[serde(with = "text")]
        hash: Digest,
        /// Its sum.
        sum: u128,
        /// Leaves of the tree.
        leaves: u64,
        /// From the leaf upwards.
        siblings: Vec<Sibling>,
    },
    /// `UsageAnchor.payFees`: fetch what challengers paid for answers.
    Fees {
        /// Whose.
        #[serde(with = "text")]
        account: Address,
    },
}

/// One voucher of a claim, whole, so that the transaction can be rebuilt from the journal alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRow {
    /// The channel.
    #[serde(with = "text")]
    pub channel: ChannelId,
    /// The lane.
    pub lane: u32,
    /// Cumulative amount.
    pub amount: u128,
    /// Sequence number of the voucher.
    pub seq: u64,
    /// What the voucher says about usage.
    #[serde(with = "text")]
    pub usage_head: Digest,
    /// The payer's signature.
    #[serde(with = "text")]
    pub signature: weir_usage::Signature,
}

/// One step of one intent. An intent has one nonce from its first signature on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxStep {
    /// Counts up from 1.
    pub intent: u64,
    /// What happened to it.
    pub step: Step,
}

/// The life of an intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Decided on.
    Planned {
        /// What is to be done.
        action: Action,
    },
    /// A transaction exists. A second one for the same intent has the same nonce.
    Signed {
        /// Account nonce.
        nonce: u64,
        /// Transaction hash.
        #[serde(with = "text")]
        hash: Digest,
        /// The whole transaction, to be sent again as it is, in hexadecimal.
        raw: String,
        /// What it offers, in wei per gas.
        max_fee_per_gas: u128,
    },
    /// A node took it.
    Broadcast {
        /// Which of the intent's transactions.
        #[serde(with = "text")]
        hash: Digest,
    },
    /// It is in a block.
    Mined {
        /// Which of the intent's transactions.
        #[serde(with = "text")]
        hash: Digest,
        /// In which block.
        block: u64,
    },
    /// The block it was in is no longer on the chain.
    Unmined,
    /// It is in a block that is deep enough to stay.
    Final {
        /// Which of the intent's transactions.
        #[serde(with = "text")]
        hash: Digest,
        /// In which block.
        block: u64,
        /// False if it reverted.
        success: bool,
        /// Gas it took.
        gas_used: u64,
        /// What it paid for that gas, in wei per gas.
        gas_price: u128,
        /// For a claim: what the contract says of each row.
        claimed: Vec<ClaimedRow>,
        /// For a settle: token units that were moved.
        settled: u128,
    },
    /// Given up before anything was signed.
    Abandoned {
        /// Why.
        reason: String,
    },
    /// Its nonce was used, deep enough to stay, by a transaction that isn't ours.
    Replaced,
}

/// What the contract did with one row of a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimedRow {
    /// The channel.
    #[serde(with = "text")]
    pub channel: ChannelId,
    /// The lane.
    pub lane: u32,
    /// Token units credited by this transaction.
    pub paid: u128,
    /// Cumulative token units credited on the lane.
    pub total: u128,
    /// Why the row was skipped, empty if it wasn't.
    pub skipped: String,
}

/// A root and its leaves, so that any one of them can be opened later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorLeaves {
    /// The accounting period.
    pub epoch: u64,
    /// Root over `leaves`.
    #[serde(with = "text")]
    pub root: Digest,
    /// Sum of the leaves.
    pub total: u128,
    /// In the order of the tree.
    pub leaves: Vec<AnchorLeaf>,
    /// Which day of samples it is over; `None` for the usage of all lanes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<SampleDay>,
}

/// A day of an agreement's samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleDay {
    /// The agreement.
    pub sla: SlaId,
    /// Days since 1970, UTC.
    pub day: u64,
}

/// One lane in a usage root, or one hour in a day's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorLeaf {
    /// The channel.
    #[serde(with = "text")]
    pub channel: ChannelId,
    /// The lane; of a day, the hour since 1970.
    pub lane: u32,
    /// The usage head of the voucher; of a day, the hash of the hour.
    #[serde(with = "text")]
    pub hash: Digest,
    /// The cumulative amount of the voucher; of a day, the hour's bytes.
    pub sum: u128,
}

/// An operator's decision, kept with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// The ledgers of a tunnel disagree, somebody looked, and ledger A stands.
    Waived {
        /// The tunnel, as 32 hexadecimal digits.
        tunnel: String,
        /// In the operator's words.
        reason: String,
    },
    /// What is still owed on a lane won't be paid, and no longer counts as exposure.
    WrittenOff {
        /// The channel.
        #[serde(with = "text")]
        channel: ChannelId,
        /// The lane.
        lane: u32,
        /// Cumulative amount up to which the lane counts as written off.
        amount: u128,
        /// In the operator's words.
        reason: String,
    },
}

/// Why the bytes of an entry can't be read.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The payload ends inside an entry.
    #[error("an entry is cut short")]
    Truncated,
    /// A kind that this version doesn't know.
    #[error("entry kind {0} is unknown; was it written by a newer version?")]
    Kind(u8),
    /// A record or voucher that isn't one.
    #[error(transparent)]
    Usage(#[from] weir_usage::Error),
    /// JSON that doesn't have the expected shape.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// More or fewer entries than announced.
    #[error("{found} entries where {expected} were announced")]
    Count {
        /// What the group's head says.
        expected: u32,
        /// What is there.
        found: usize,
    },
}

const KIND_RECORD: u8 = 1;
const KIND_VOUCHER: u8 = 2;
const KIND_LANE: u8 = 3;
const KIND_OUTBOX: u8 = 4;
const KIND_ANCHOR: u8 = 5;
const KIND_NOTE: u8 = 6;
const KIND_SAMPLE: u8 = 7;
const KIND_STATEMENT: u8 = 8;
const KIND_VOUCHED: u8 = 9;
const KIND_UNCARRIED: u8 = 10;
/// Kind, time and length.
const HEAD_LEN: usize = 1 + 8 + 4;
/// Length prefix, version and kind of a socket frame.
const FRAME_PREFIX_LEN: usize = 4;

impl Entry {
    /// An entry of now.
    pub fn now(item: Item) -> Self {
        Self { at_ms: crate::now_ms(), item }
    }

    /// Appends the entry's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, body) = match &self.item {
            Item::Record(record) => (KIND_RECORD, record.encode()),
            Item::Voucher(offer) => {
                (KIND_VOUCHER, Frame::Voucher(**offer).encode().split_off(FRAME_PREFIX_LEN))
            }
            Item::Lane(value) => (KIND_LANE, json(value)),
            Item::Outbox(value) => (KIND_OUTBOX, json(value)),
            Item::Anchor(value) => (KIND_ANCHOR, json(value)),
            Item::Note(value) => (KIND_NOTE, json(value)),
            Item::Sample(sample) => (KIND_SAMPLE, sample.encode()),
            Item::Statement(statement) => (KIND_STATEMENT, statement.encode()),
            Item::Vouched(value) => (KIND_VOUCHED, json(value)),
            Item::Uncarried(value) => (KIND_UNCARRIED, json(value)),
        };
        out.push(kind);
        out.extend_from_slice(&self.at_ms.to_be_bytes());
        out.extend_from_slice(&(body.len() as u32).to_be_bytes());
        out.extend_from_slice(&body);
    }

    /// Takes one entry off the front of `input`.
    ///
    /// # Errors
    /// If the bytes aren't an entry of this version.
    pub fn decode(input: &mut &[u8]) -> Result<Self, EntryError> {
        let (head, rest) = input.split_first_chunk::<HEAD_LEN>().ok_or(EntryError::Truncated)?;
        let [kind, t0, t1, t2, t3, t4, t5, t6, t7, l0, l1, l2, l3] = *head;
        let at_ms = u64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
        let len = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let (body, rest) = rest.split_at_checked(len).ok_or(EntryError::Truncated)?;
        let item = match kind {
            KIND_RECORD => Item::Record(Box::new(UsageRecord::decode(body)?)),
            KIND_VOUCHER => match Frame::decode(body)? {
                Frame::Voucher(offer) => Item::Voucher(Box::new(offer)),
                _ => return Err(EntryError::Kind(kind)),
            },
            KIND_LANE => Item::Lane(parse(body)?),
            KIND_OUTBOX => Item::Outbox(parse(body)?),
            KIND_ANCHOR => Item::Anchor(parse(body)?),
            KIND_NOTE => Item::Note(parse(body)?),
            KIND_SAMPLE => Item::Sample(Box::new(CoSigned::decode(body)?)),
            KIND_STATEMENT => Item::Statement(Box::new(SignedSample::decode(body)?)),
            KIND_VOUCHED => Item::Vouched(parse(body)?),
            KIND_UNCARRIED => Item::Uncarried(parse(body)?),
            _ => return Err(EntryError::Kind(kind)),
        };
        *input = rest;
        Ok(Self { at_ms, item })
    }
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    // These types are structs of numbers, strings and lists with string keys: always JSON.
    serde_json::to_vec(value).expect("journal entries are representable in JSON")
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, EntryError> {
    Ok(serde_json::from_slice(body)?)
}

/// `weir-usage` types as their text form.
pub(crate) mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<T: Display, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T, D>(d: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}
