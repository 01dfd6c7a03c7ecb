//! What was paid for what: the journal as people and scripts read it.

use std::io::Read as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::days::Row;
use super::journal::{self, READ_BYTES_MAX};
use crate::Error;

/// All that a journal says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalReport {
    /// Chain of the escrow contract.
    pub chain_id: u64,
    /// The escrow contract, `0x` hex.
    pub escrow: String,
    /// Channel, `0x` hex.
    pub channel: String,
    /// Lane.
    pub lane: u32,
    /// Own cumulative count.
    pub up_bytes: u64,
    /// Own cumulative count.
    pub down_bytes: u64,
    /// The cumulative amount that was signed last, in token units, decimal.
    pub signed_amount: String,
    /// Its sequence number; 0 before the first voucher.
    pub signed_seq: u64,
    /// Oldest first.
    pub days: Vec<DayReport>,
}

/// One day with one exit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayReport {
    /// `YYYY-MM-DD`, UTC; `None` for what was before the journal, or is of an unknown day.
    pub day: Option<String>,
    /// The exit's URL; empty if it is unknown.
    pub exit: String,
    /// Own count of the day.
    pub up_bytes: u64,
    /// Own count of the day.
    pub down_bytes: u64,
    /// What the day's vouchers pay for.
    pub paid_up_bytes: u64,
    /// What the day's vouchers pay for.
    pub paid_down_bytes: u64,
    /// Vouchers signed.
    pub vouchers: u64,
    /// Token units signed on the day, decimal.
    pub amount: String,
    /// Lowest price of the day's vouchers, in token units per GiB, decimal.
    pub price_min: Option<String>,
    /// Highest price.
    pub price_max: Option<String>,
}

/// Reads a payer's journal, also beside a client that writes it. The JSON state of older clients is
/// read as well.
///
/// # Errors
/// [`Error::File`] for a file that can't be read, or is damaged.
pub fn read_journal(path: &Path) -> Result<JournalReport, Error> {
    let wrong = |problem: String| Error::file("payer journal", path, problem);
    let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
    let mut bytes = Vec::new();
    let read = file.take(READ_BYTES_MAX as u64).read_to_end(&mut bytes);
    read.map_err(|error| wrong(error.to_string()))?;
    let found = journal::parse(&bytes).map_err(|error| wrong(error.to_string()))?;
    let (header, state) = (found.header, found.replay.state);
    let voucher = state.paid.map(|paid| paid.signed.voucher);
    Ok(JournalReport {
        chain_id: header.chain_id,
        escrow: header.escrow.to_string(),
        channel: header.channel.to_string(),
        lane: header.lane,
        up_bytes: state.up_bytes,
        down_bytes: state.down_bytes,
        signed_amount: voucher.map_or(0, |voucher| voucher.amount).to_string(),
        signed_seq: voucher.map_or(0, |voucher| voucher.seq),
        days: found.replay.days.rows().map(DayReport::of).collect(),
    })
}

impl DayReport {
    fn of(row: &Row) -> DayReport {
        DayReport {
            day: (row.day > 0).then(|| date(row.day)),
            exit: row.exit.clone(),
            up_bytes: row.bytes.0,
            down_bytes: row.bytes.1,
            paid_up_bytes: row.paid.0,
            paid_down_bytes: row.paid.1,
            vouchers: row.vouchers,
            amount: row.amount.0.to_string(),
            price_min: row.price.map(|price| price.0.0.to_string()),
            price_max: row.price.map(|price| price.1.0.to_string()),
        }
    }
}

/// The date of a day since 1970. The Gregorian calendar repeats every 146,097 days; counted from a
/// first of March, leap days are at the end of their years (Howard Hinnant, `civil_from_days`).
fn date(day: u64) -> String {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (day, text) in [
            (1, "1970-01-02"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (19_782, "2024-02-29"),
            (20_453, "2025-12-31"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(date(day), text);
        }
    }
}
