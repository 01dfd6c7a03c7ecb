//! The payer's state as clients kept it before there was a journal: one JSON object, replaced as a
//! whole. It is read once, and goes on as the first snapshot of a journal.

use serde::Deserialize;
use weir_usage::{SignedVoucher, Voucher};

use super::journal::Header;
use super::state::{Day, Paid, State};

const VERSION: u32 = 1;

#[derive(Deserialize)]
struct Contents {
    version: u32,
    chain_id: u64,
    escrow: String,
    channel: String,
    lane: u32,
    up_bytes: u64,
    down_bytes: u64,
    clean: bool,
    voucher: Option<VoucherContents>,
    /// Files written before there was a budget have none.
    #[serde(default)]
    day: Option<DayContents>,
}

#[derive(Deserialize)]
struct DayContents {
    number: u64,
    before: String,
}

#[derive(Deserialize)]
struct VoucherContents {
    amount: String,
    seq: u64,
    usage_head: String,
    signature: String,
    up_bytes: u64,
    down_bytes: u64,
    accepted: bool,
}

/// Whose state it is, and what it says; `None` if these bytes are something else.
pub(super) fn parse(bytes: &[u8]) -> Option<Result<(Header, State), String>> {
    let contents: Contents = serde_json::from_slice(bytes).ok()?;
    Some(read(&contents))
}

fn read(contents: &Contents) -> Result<(Header, State), String> {
    if contents.version != VERSION {
        return Err(format!("version {} of the payer's state is unknown", contents.version));
    }
    let bad = |error: weir_usage::Error| error.to_string();
    let domain = weir_usage::Domain {
        chain_id: contents.chain_id,
        escrow: contents.escrow.parse().map_err(bad)?,
    };
    let header = Header::new(&domain, contents.channel.parse().map_err(bad)?, contents.lane);
    let paid = contents.voucher.as_ref().map(|voucher| paid(voucher, &header)).transpose()?;
    let day = match &contents.day {
        None => Day::default(),
        Some(day) => Day { number: day.number, before: amount(&day.before)? },
    };
    let (up_bytes, down_bytes, clean) = (contents.up_bytes, contents.down_bytes, contents.clean);
    Ok((header, State { up_bytes, down_bytes, clean, paid, day }))
}

fn paid(contents: &VoucherContents, header: &Header) -> Result<Paid, String> {
    let bad = |error: weir_usage::Error| error.to_string();
    let voucher = Voucher {
        channel: header.channel,
        lane: header.lane,
        amount: amount(&contents.amount)?,
        seq: contents.seq,
        usage_head: contents.usage_head.parse().map_err(bad)?,
    };
    let signature = contents.signature.parse().map_err(bad)?;
    let signed = SignedVoucher { voucher, signature };
    let bytes = (contents.up_bytes, contents.down_bytes);
    Ok(Paid { signed, bytes, accepted: contents.accepted })
}

fn amount(text: &str) -> Result<u128, String> {
    text.parse().map_err(|_| format!("{text:?} is no amount"))
}
