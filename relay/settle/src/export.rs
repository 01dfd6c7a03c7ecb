//! `weir-settle export`: every voucher, claim, settlement and anchor of the journal, exactly, as
//! CSV (RFC 4180) or JSON. Columns are only ever added at the end.

use std::io::{self, Write};

use serde::Serialize;
use weir_usage::Digest;

use crate::chain::Past;
use crate::chain::outbox::{Intent, State};
use crate::error::Error;
use crate::explain::utc;
use crate::journal::entry::{
    Action, ClaimRow, ClaimedRow, Entry, Item, Note, OutboxStep, Step, Vouched,
};
use crate::journal::scan;
use crate::storage::Storage;

/// The columns, in order. What doesn't apply to a row is empty in CSV and null in JSON.
pub const COLUMNS: [&str; 17] = [
    "time", "unix_ms", "kind", "outcome", "channel", "lane", "seq", "amount", "paid", "total",
    "receiver", "token", "intent", "tx", "block", "gas_wei", "detail",
];

/// One row. Token units and wei are decimal strings: JSON numbers lose digits past 2^53.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Row {
    /// When it was journaled, UTC.
    pub time: String,
    /// The same, Unix time in milliseconds.
    pub unix_ms: String,
    /// voucher, claim, settlement, anchor, sample_day, answer, fees, statement or written_off.
    pub kind: &'static str,
    /// accepted, paid, skipped, reverted, abandoned, replaced, done, signed or decided.
    pub outcome: &'static str,
    /// The channel.
    pub channel: Option<String>,
    /// Its lane.
    pub lane: Option<String>,
    /// The voucher's number.
    pub seq: Option<String>,
    /// Cumulative token units that were signed for, or claimed, or are under the root.
    pub amount: Option<String>,
    /// Token units that this moved: to the receiver's account in the escrow by a claim, to the
    /// receiver by a settlement.
    pub paid: Option<String>,
    /// For a claim: what the lane was paid in all.
    pub total: Option<String>,
    /// Who is paid.
    pub receiver: Option<String>,
    /// In which token.
    pub token: Option<String>,
    /// The intent in the outbox.
    pub intent: Option<String>,
    /// The transaction.
    pub tx: Option<String>,
    /// Its block.
    pub block: Option<String>,
    /// What its gas cost, in wei; on the first row of a transaction only, so that sums are right.
    pub gas_wei: Option<String>,
    /// The reason, the root and epoch, or the operator's words.
    pub detail: Option<String>,
}

/// Calls `take` for every row, in the journal's order.
///
/// # Errors
/// Those of reading the journal, or of `take`.
pub fn rows<S: Storage>(
    storage: &S,
    mut take: impl FnMut(Row) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut past = Past::default();
    scan(storage, |_, offset, entry| {
        past.replay(offset, &entry)?;
        of(&past, &entry).into_iter().try_for_each(&mut take)
    })?;
    Ok(())
}

/// Writes all rows as CSV, with a heading.
///
/// # Errors
/// As [`rows`], and of writing.
pub fn csv<S: Storage>(storage: &S, out: &mut impl Write) -> Result<(), Error> {
    let failed = |e: io::Error| Error::io("write", "the export".as_ref())(e);
    write!(out, "{}\r\n", COLUMNS.join(",")).map_err(failed)?;
    rows(storage, |row| {
        let value = serde_json::to_value(&row).unwrap_or_default();
        let cell = |name: &&str| quoted(value[*name].as_str().unwrap_or_default());
        let line: Vec<String> = COLUMNS.iter().map(cell).collect();
        write!(out, "{}\r\n", line.join(",")).map_err(failed)
    })
}

/// Writes all rows as an array of objects, one per line.
///
/// # Errors
/// As [`rows`], and of writing.
pub fn json<S: Storage>(storage: &S, out: &mut impl Write) -> Result<(), Error> {
    let failed = |e: io::Error| Error::io("write", "the export".as_ref())(e);
    let mut before = "[\n";
    rows(storage, |row| {
        let text = serde_json::to_string(&row).unwrap_or_default();
        write!(out, "{before}{text}").map_err(failed)?;
        before = ",\n";
        Ok(())
    })?;
    let end = if before == "[\n" { "[]\n" } else { "\n]\n" };
    write!(out, "{end}").map_err(failed)
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\r', '\n']) {
        return format!("\"{}\"", cell.replace('"', "\"\""));
    }
    cell.to_owned()
}

fn of(past: &Past, entry: &Entry) -> Vec<Row> {
    let at = |kind, outcome| Row {
        time: utc(entry.at_ms),
        unix_ms: entry.at_ms.to_string(),
        kind,
        outcome,
        ..Row::default()
    };
    match &entry.item {
        Item::Voucher(offer) => {
            let voucher = offer.signed.voucher;
            vec![Row {
                channel: Some(voucher.channel.to_string()),
                lane: Some(voucher.lane.to_string()),
                seq: Some(voucher.seq.to_string()),
                amount: Some(voucher.amount.to_string()),
                ..at("voucher", "accepted")
            }]
        }
        Item::Note(Note::WrittenOff { channel, lane, amount, reason }) => vec![Row {
            channel: Some(channel.to_string()),
            lane: Some(lane.to_string()),
            amount: Some(amount.to_string()),
            detail: Some(reason.clone()),
            ..at("written_off", "decided")
        }],
        Item::Vouched(Vouched { said, .. }) => vec![Row {
            amount: Some(said.statement.total.to_string()),
            detail: Some(format!(
                "{} signature {}",
                root_of(said.statement.epoch, &said.statement.root),
                said.signature
            )),
            ..at("statement", "signed")
        }],
        Item::Outbox(step) => match past.outbox.get(step.intent) {
            Some(intent) if !intent.is_open() => ended(intent, step, at),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// An intent came to its end with this step.
fn ended(
    intent: &Intent,
    step: &OutboxStep,
    at: impl Fn(&'static str, &'static str) -> Row,
) -> Vec<Row> {
    let (ok, words) = match &intent.state {
        State::Final(outcome) if outcome.success => (None, None),
        State::Final(_) => (Some("reverted"), None),
        State::Abandoned(reason) => (Some("abandoned"), Some(reason.clone())),
        _ => (Some("replaced"), Some("another transaction took its nonce".to_owned())),
    };
    let mut common = Row { intent: Some(intent.id.to_string()), detail: words, ..at("", "") };
    let mut settled = 0;
    let mut claimed: &[ClaimedRow] = &[];
    if let Step::Final { hash, block, gas_used, gas_price, claimed: c, settled: s, .. } = &step.step
    {
        common.tx = Some(hash.to_string());
        common.block = Some(block.to_string());
        common.gas_wei = Some(gas_price.saturating_mul(u128::from(*gas_used)).to_string());
        (claimed, settled) = (c, *s);
    }
    match &intent.action {
        Action::Claim { rows } => rows
            .iter()
            .enumerate()
            .map(|(index, row)| {
                let mut made = claim(row, claimed, ok, common.clone());
                made.gas_wei = made.gas_wei.filter(|_| index == 0);
                made
            })
            .collect(),
        Action::Settle { receiver, token } => vec![Row {
            kind: "settlement",
            outcome: ok.unwrap_or("paid"),
            paid: Some(settled.to_string()),
            receiver: Some(receiver.to_string()),
            token: Some(token.to_string()),
            ..common
        }],
        Action::Anchor { epoch, root, total } => vec![Row {
            kind: "anchor",
            outcome: ok.unwrap_or("done"),
            amount: Some(total.to_string()),
            detail: common.detail.clone().or(Some(root_of(*epoch, root))),
            ..common
        }],
        Action::AnchorDay { sla, day, root, .. } => vec![Row {
            kind: "sample_day",
            outcome: ok.unwrap_or("done"),
            detail: common.detail.clone().or_else(|| {
                let date = weir_sla::calendar::date(day * weir_sla::calendar::DAY_S);
                Some(format!("{date} of agreement {sla} root {root}"))
            }),
            ..common
        }],
        Action::Answer { challenge, epoch, .. } => vec![Row {
            kind: "answer",
            outcome: ok.unwrap_or("done"),
            detail: common
                .detail
                .clone()
                .or_else(|| Some(format!("challenge {challenge} of epoch {epoch}"))),
            ..common
        }],
        Action::Fees { account } => vec![Row {
            kind: "fees",
            outcome: ok.unwrap_or("done"),
            receiver: Some(account.to_string()),
            ..common
        }],
    }
}

fn root_of(epoch: u64, root: &Digest) -> String {
    format!("epoch {epoch} root {root}")
}

fn claim(row: &ClaimRow, claimed: &[ClaimedRow], ok: Option<&'static str>, common: Row) -> Row {
    let found = claimed.iter().find(|c| (c.channel, c.lane) == (row.channel, row.lane));
    let skipped = found.filter(|c| !c.skipped.is_empty()).map(|c| c.skipped.clone());
    let paid = found.filter(|c| c.skipped.is_empty());
    let outcome = match (ok, &skipped) {
        (Some(outcome), _) => outcome,
        (None, Some(_)) => "skipped",
        (None, None) => "paid",
    };
    Row {
        kind: "claim",
        outcome,
        channel: Some(row.channel.to_string()),
        lane: Some(row.lane.to_string()),
        seq: Some(row.seq.to_string()),
        amount: Some(row.amount.to_string()),
        paid: Some(paid.map_or(0, |c| c.paid).to_string()),
        total: paid.map(|c| c.total.to_string()),
        detail: common.detail.clone().or(skipped),
        ..common
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_the_fields_in_their_order() {
        let text = serde_json::to_string(&Row::default()).unwrap();
        let places: Vec<usize> =
            COLUMNS.iter().map(|c| text.find(&format!("\"{c}\":")).unwrap()).collect();
        assert!(places.is_sorted());
        assert_eq!(text.matches("\":").count(), COLUMNS.len());
    }

    #[test]
    fn cells_with_commas_and_quotes_stay_one_cell() {
        assert_eq!(quoted("a \"b\", c"), "\"a \"\"b\"\", c\"");
        assert_eq!(quoted("plain"), "plain");
    }
}
