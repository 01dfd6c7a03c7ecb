//! What the journal can say, and what follows from it.

use serde::{Deserialize, Serialize};
use weir_usage::{Address, ChannelId, Digest, Domain, Price, Signature, SignedVoucher, Voucher};

use super::super::days::Row;
use super::super::state::{Day, Paid, State};

/// Raised when old clients would misread new files.
pub(super) const VERSION: u32 = 1;

/// The first line: whose journal it is. One of another channel must not be taken for this one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(super) weir_payer_journal: u32,
    pub(crate) chain_id: u64,
    pub(crate) escrow: Address,
    pub(crate) channel: ChannelId,
    pub(crate) lane: u32,
}

/// Any further line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Unix time in milliseconds, by this host's clock.
    pub(crate) at_ms: u64,
    #[serde(flatten)]
    pub(crate) record: Record,
}

/// What happened. Counts are cumulative over all runs: (up, down) in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(crate) enum Record {
    /// A client began to use this exit. The counts are not final before `Stop`.
    Start { exit: String },
    /// The budget of a UTC day begins.
    Day(DayFields),
    /// A voucher was signed; written before it was sent.
    Voucher { own: (u64, u64), price: Units, voucher: VoucherFields },
    /// Bytes or a voucher were taken over that this journal didn't know of.
    Recovered { own: (u64, u64), voucher: Option<VoucherFields>, day: DayFields },
    /// The own counts grew and nothing was signed.
    Counts { own: (u64, u64) },
    /// The client ended in order.
    Stop { own: (u64, u64) },
    /// All of the above so far, in the place of the lines that said it.
    Snapshot {
        exit: String,
        own: (u64, u64),
        clean: bool,
        voucher: Option<VoucherFields>,
        day: DayFields,
        rows: Vec<Row>,
    },
}

/// Token units: a decimal string, since JSON numbers lose digits in many readers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Units(pub(crate) u128);

/// A signed voucher of the header's lane and the bytes that it pays for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VoucherFields {
    pub(crate) seq: u64,
    pub(crate) amount: Units,
    /// (up, down), cumulative.
    pub(crate) bytes: (u64, u64),
    pub(crate) usage_head: Digest,
    pub(crate) signature: Signature,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DayFields {
    /// UTC days since 1970.
    pub(crate) number: u64,
    /// Signed before it, cumulative.
    pub(crate) before: Units,
}

impl Header {
    pub(crate) fn new(domain: &Domain, channel: ChannelId, lane: u32) -> Header {
        let Domain { chain_id, escrow } = *domain;
        Header { weir_payer_journal: VERSION, chain_id, escrow, channel, lane }
    }
}

impl VoucherFields {
    pub(crate) fn of(paid: &Paid) -> VoucherFields {
        let SignedVoucher { voucher, signature } = paid.signed;
        let Voucher { amount, seq, usage_head, .. } = voucher;
        VoucherFields { seq, amount: Units(amount), bytes: paid.bytes, usage_head, signature }
    }

    pub(crate) fn paid(&self, header: &Header) -> Paid {
        let voucher = Voucher {
            channel: header.channel,
            lane: header.lane,
            amount: self.amount.0,
            seq: self.seq,
            usage_head: self.usage_head,
        };
        let signed = SignedVoucher { voucher, signature: self.signature };
        Paid { signed, bytes: self.bytes, accepted: false }
    }
}

impl DayFields {
    pub(crate) fn of(day: Day) -> DayFields {
        DayFields { number: day.number, before: Units(day.before) }
    }

    pub(crate) fn day(self) -> Day {
        Day { number: self.number, before: self.before.0 }
    }
}

impl Record {
    /// A snapshot of these.
    pub(crate) fn snapshot(state: &State, exit: &str, rows: Vec<Row>) -> Record {
        Record::Snapshot {
            exit: exit.to_owned(),
            own: (state.up_bytes, state.down_bytes),
            clean: state.clean,
            voucher: state.paid.as_ref().map(VoucherFields::of),
            day: DayFields::of(state.day),
            rows,
        }
    }
}

impl From<Price> for Units {
    fn from(price: Price) -> Units {
        Units(price.units_per_gib())
    }
}

impl Serialize for Units {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Units {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Units, D::Error> {
        let text = String::deserialize(deserializer)?;
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let units = plain.then(|| text.parse().ok()).flatten();
        units.map(Units).ok_or_else(|| serde::de::Error::custom("not a 128-bit amount"))
    }
}
