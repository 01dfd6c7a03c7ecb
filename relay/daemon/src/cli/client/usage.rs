//! `weir client usage`: what was used, and what was paid for it.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;
use weir_client::purse::{DayReport, JournalReport, read_journal};
use weir_client::{Error, PaymentUsage, UsageSnapshot};

/// Rows of targets in the text; JSON has them all.
const TARGETS_SHOWN: usize = 10;

/// All that is shown.
#[derive(Debug, Serialize)]
pub(super) struct Usage {
    /// Of the running client, if one was asked.
    client: Option<UsageSnapshot>,
    journals: Vec<JournalReport>,
}

/// What a running client says, with its journal, if it may be read here.
pub(super) fn of_client(client: UsageSnapshot) -> Usage {
    let journal = client.payment.as_ref().map(|payment| read_journal(&payment.journal));
    let journals = match journal {
        None => Vec::new(),
        Some(Ok(report)) => vec![report],
        Some(Err(error)) => {
            tracing::warn!(%error, "no days are shown");
            Vec::new()
        }
    };
    Usage { client: Some(client), journals }
}

/// What journals say.
pub(super) fn of_journals(paths: &[PathBuf]) -> Result<Usage, Error> {
    let journals = paths.iter().map(|path| read_journal(path)).collect::<Result<_, _>>()?;
    Ok(Usage { client: None, journals })
}

/// For people.
pub(super) fn text(usage: &Usage) -> String {
    let mut out = String::new();
    if let Some(client) = &usage.client {
        write_client(&mut out, client);
    }
    for journal in &usage.journals {
        write_journal(&mut out, journal);
    }
    out
}

fn write_client(out: &mut String, client: &UsageSnapshot) {
    let UsageSnapshot { relay, connections, uptime_s, .. } = client;
    line(out, format_args!("{relay}: {connections} connections, running for {uptime_s} s"));
    let mut rows = vec![row(["since the start", "tunnels", "up bytes", "down bytes"])];
    for (name, kind) in [("tcp", &client.tcp), ("udp", &client.udp)] {
        let (up, down) = (kind.up.bytes.to_string(), kind.down.bytes.to_string());
        rows.push(row([name, &kind.tunnels.to_string(), &up, &down]));
    }
    for target in client.targets.iter().take(TARGETS_SHOWN) {
        let (up, down) = (target.up.bytes.to_string(), target.down.bytes.to_string());
        rows.push(row([&target.target, &target.tunnels.to_string(), &up, &down]));
    }
    table(out, &rows, 1);
    if client.targets.len() > TARGETS_SHOWN {
        line(out, format_args!("  and {} targets more", client.targets.len() - TARGETS_SHOWN));
    }
    if let Some(payment) = &client.payment {
        write_payment(out, payment);
    }
}

fn write_payment(out: &mut String, payment: &PaymentUsage) {
    if let (Some(up), Some(down)) = (payment.asked_up_bytes, payment.asked_down_bytes) {
        let (own_up, own_down) = (payment.up_bytes, payment.down_bytes);
        line(
            out,
            format_args!(
                "the exit asks for {up} bytes up and {down} down; own counts {own_up} and {own_down}"
            ),
        );
    }
    if payment.overbilled_asks > 0 {
        line(out, format_args!("{} asks were over-billed", payment.overbilled_asks));
    }
    if let Some(problem) = &payment.problem {
        line(out, format_args!("problem: {problem}"));
    }
}

fn write_journal(out: &mut String, journal: &JournalReport) {
    let JournalReport { chain_id, channel, lane, signed_amount, signed_seq, .. } = journal;
    line(out, format_args!("channel {channel} lane {lane} on chain {chain_id}"));
    line(out, format_args!("{signed_amount} units signed, voucher {signed_seq}"));
    let mut rows = vec![row([
        "day",
        "exit",
        "up bytes",
        "down bytes",
        "paid bytes",
        "vouchers",
        "units",
        "units/GiB",
    ])];
    rows.extend(journal.days.iter().map(day));
    let (up, down) = (journal.up_bytes.to_string(), journal.down_bytes.to_string());
    let sum = |field: fn(&DayReport) -> u64| journal.days.iter().map(field).sum::<u64>();
    let paid = sum(|day| day.paid_up_bytes) + sum(|day| day.paid_down_bytes);
    let vouchers = sum(|day| day.vouchers).to_string();
    rows.push(row(["all", "", &up, &down, &paid.to_string(), &vouchers, signed_amount, ""]));
    table(out, &rows, 2);
}

fn day(day: &DayReport) -> Vec<String> {
    let price = match (&day.price_min, &day.price_max) {
        (Some(low), Some(high)) if low != high => format!("{low}-{high}"),
        (Some(price), _) => price.clone(),
        _ => String::new(),
    };
    row([
        day.day.as_deref().unwrap_or("earlier"),
        &day.exit,
        &day.up_bytes.to_string(),
        &day.down_bytes.to_string(),
        &(day.paid_up_bytes + day.paid_down_bytes).to_string(),
        &day.vouchers.to_string(),
        &day.amount,
        &price,
    ])
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a String can't fail.
    let _ = writeln!(out, "{text}");
}

/// Columns as wide as they need to be; the first `left` of them are words, the others numbers.
fn table(out: &mut String, rows: &[Vec<String>], left: usize) {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let mut text = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let _ = match column < left {
                true => write!(text, "  {cell:<width$}"),
                false => write!(text, "  {cell:>width$}"),
            };
        }
        line(out, format_args!("{}", text.trim_end()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_columns_under_their_channel() {
        let of = |day: Option<&str>, price: [&str; 2]| DayReport {
            day: day.map(str::to_owned),
            exit: "https://exit.test:4433".to_owned(),
            up_bytes: 10,
            down_bytes: 1_000,
            paid_up_bytes: 10,
            paid_down_bytes: 900,
            vouchers: 3,
            amount: "910".to_owned(),
            price_min: Some(price[0].to_owned()),
            price_max: Some(price[1].to_owned()),
        };
        let journal = JournalReport {
            chain_id: 1,
            escrow: "0x11".to_owned(),
            channel: "0x22".to_owned(),
            lane: 3,
            up_bytes: 20,
            down_bytes: 2_000,
            signed_amount: "1820".to_owned(),
            signed_seq: 6,
            days: vec![of(None, ["5", "5"]), of(Some("2026-11-23"), ["5", "7"])],
        };
        let shown = text(&Usage { client: None, journals: vec![journal] });
        let expected = "\
channel 0x22 lane 3 on chain 1
1820 units signed, voucher 6
  day         exit                    up bytes  down bytes  paid bytes  vouchers  units  units/GiB
  earlier     https://exit.test:4433        10        1000         910         3    910          5
  2026-11-23  https://exit.test:4433        10        1000         910         3    910        5-7
  all                                       20        2000        1820         6   1820
";
        assert_eq!(shown, expected);
    }
}
