//! `weir-settle explain`: where every unit of a channel went, in words, from the journal alone.

use std::collections::BTreeMap;
use std::fmt::Write;

use weir_usage::ChannelId;

use crate::book::{Book, LaneKey, subject};
use crate::chain::Past;
use crate::chain::outbox::State;
use crate::config::Config;
use crate::error::Error;
use crate::journal::entry::{Action, Entry, Item, Note, OutboxStep, SampleDay, Step};
use crate::journal::{Header, scan};
use crate::storage::Storage;

/// What the journal says of one lane beyond what the book keeps.
#[derive(Debug, Default)]
struct Story {
    records: u64,
    vouchers: u64,
    claimed: u128,
    lines: Vec<String>,
}

/// Tells the story of a channel.
///
/// # Errors
/// Those of reading the journal; [`Error::JournalForeign`] if there is none.
pub fn explain<S: Storage>(
    config: &Config,
    storage: &S,
    channel: ChannelId,
) -> Result<String, Error> {
    let mut past = Past::default();
    let mut book = None;
    let mut stories: BTreeMap<u32, Story> = BTreeMap::new();
    let mut days = Vec::new();
    let found = scan(storage, |header, offset, entry| {
        past.replay(offset, &entry)?;
        tell(&mut stories, &past, channel, &entry);
        days.extend(day(channel, &entry));
        book.get_or_insert_with(|| Book::new(config, header.secret)).replay(offset, &entry)
    })?;
    let (Some(found), Some(book)) = (found, book) else {
        return Ok("The journal is empty: nothing was ever counted.\n".into());
    };
    Ok(write(&book, &found.header, channel, &stories, &days, found.torn_bytes))
}

/// What is said of a day of the channel's samples.
fn day(channel: ChannelId, entry: &Entry) -> Option<String> {
    let Item::Anchor(anchor) = &entry.item else { return None };
    let SampleDay { sla, day } = anchor.day?;
    anchor.leaves.iter().any(|leaf| leaf.channel == channel).then(|| {
        let date = weir_sla::calendar::date(day * weir_sla::calendar::DAY_S);
        let (at, root) = (utc(entry.at_ms), anchor.root);
        format!("{at}  samples of {date} under agreement {sla} committed to in root {root}")
    })
}

fn tell(stories: &mut BTreeMap<u32, Story>, past: &Past, channel: ChannelId, entry: &Entry) {
    let at = utc(entry.at_ms);
    match &entry.item {
        Item::Record(record) if record.channel == channel => {
            stories.entry(record.lane).or_default().records += 1;
        }
        Item::Voucher(offer) if offer.signed.voucher.channel == channel => {
            stories.entry(offer.signed.voucher.lane).or_default().vouchers += 1;
        }
        Item::Lane(lane) if lane.channel == channel => {
            let line = format!("{at}  first billed, at {} units per GiB", lane.price_per_gib);
            stories.entry(lane.lane).or_default().lines.push(line);
        }
        Item::Outbox(step) => tell_step(stories, past, channel, step, &at),
        Item::Anchor(anchor) if anchor.day.is_none() => {
            for leaf in anchor.leaves.iter().filter(|l| l.channel == channel) {
                let line = format!(
                    "{at}  {} units committed to in usage root {} of epoch {}",
                    leaf.sum, anchor.root, anchor.epoch
                );
                stories.entry(leaf.lane).or_default().lines.push(line);
            }
        }
        Item::Note(Note::WrittenOff { channel: of, lane, amount, reason }) if *of == channel => {
            let line = format!("{at}  written off up to {amount} units: {reason}");
            stories.entry(*lane).or_default().lines.push(line);
        }
        _ => {}
    }
}

fn tell_step(
    stories: &mut BTreeMap<u32, Story>,
    past: &Past,
    channel: ChannelId,
    step: &OutboxStep,
    at: &str,
) {
    match &step.step {
        Step::Planned { action: Action::Claim { rows } } => {
            for row in rows.iter().filter(|r| r.channel == channel) {
                let line = format!(
                    "{at}  claim {} planned for {} units in all, voucher {}",
                    step.intent, row.amount, row.seq
                );
                stories.entry(row.lane).or_default().lines.push(line);
            }
        }
        Step::Final { hash, block, success, claimed, .. } => {
            for row in claimed.iter().filter(|r| r.channel == channel) {
                let story = stories.entry(row.lane).or_default();
                let line = if row.skipped.is_empty() {
                    story.claimed += row.paid;
                    format!(
                        "{at}  claim {} paid {} units in {hash}, block {block}",
                        step.intent, row.paid
                    )
                } else {
                    format!("{at}  claim {} paid nothing: {}", step.intent, row.skipped)
                };
                story.lines.push(line);
            }
            if let (false, Some(intent)) = (success, past.outbox.get(step.intent))
                && let Action::Claim { rows } = &intent.action
            {
                for row in rows.iter().filter(|r| r.channel == channel) {
                    let line = format!("{at}  claim {} reverted in {hash}", step.intent);
                    stories.entry(row.lane).or_default().lines.push(line);
                }
            }
        }
        Step::Abandoned { .. } | Step::Replaced => {
            let Some(intent) = past.outbox.get(step.intent) else { return };
            let Action::Claim { rows } = &intent.action else { return };
            let why = match &intent.state {
                State::Abandoned(reason) => format!("was given up: {reason}"),
                _ => "lost its nonce to another transaction".into(),
            };
            for row in rows.iter().filter(|r| r.channel == channel) {
                let line = format!("{at}  claim {} {why}", step.intent);
                stories.entry(row.lane).or_default().lines.push(line);
            }
        }
        _ => {}
    }
}

fn write(
    book: &Book,
    header: &Header,
    channel: ChannelId,
    stories: &BTreeMap<u32, Story>,
    days: &[String],
    torn_bytes: u64,
) -> String {
    let mut out = String::new();
    // Writing into a String can't fail.
    let _ = writeln!(out, "Channel {channel} at exit {}", weir_usage::ExitId(header.exit));
    match book.channel(&channel) {
        Some(known) => {
            let _ = writeln!(
                out,
                "  paid by {} (signs with {}) to {} in token {}, {}",
                known.terms.payer,
                known.terms.signer,
                known.terms.receiver,
                known.terms.token,
                known.price
            );
        }
        None => {
            let _ = writeln!(out, "  is not in the configuration: it is counted, never asked for");
        }
    }
    let lanes: Vec<_> = book.lanes().iter().filter(|(key, _)| key.channel == channel).collect();
    if lanes.is_empty() {
        let _ = writeln!(out, "  The journal holds nothing about it.");
    }
    for (LaneKey { lane: number, .. }, lane) in lanes {
        let none = Story::default();
        let story = stories.get(number).unwrap_or(&none);
        let _ = writeln!(
            out,
            "\nLane {number}\n  {} records of {} tunnels: {} bytes up, {} bytes down",
            story.records, lane.tunnels, lane.up_bytes, lane.down_bytes
        );
        let _ = writeln!(out, "  used       {:>20} units for these bytes", lane.used_amount());
        let _ = writeln!(
            out,
            "  signed for {:>20} units by the payer, in {} vouchers",
            lane.vouchered(),
            story.vouchers
        );
        let _ = writeln!(out, "  exposure   {:>20} units used and not signed for", lane.exposure());
        let _ = writeln!(out, "  claimed    {:>20} units paid by the contract", story.claimed);
        let _ = writeln!(
            out,
            "  unclaimed  {:>20} units signed for and not claimed",
            lane.vouchered().saturating_sub(story.claimed.max(lane.written_off))
        );
        if lane.written_off > 0 {
            let _ = writeln!(out, "  written off up to {} units", lane.written_off);
        }
        let _ = writeln!(
            out,
            "  the kernel counted {:+} bytes up and {:+} bytes down against the relay",
            lane.kernel_minus_relay_up, lane.kernel_minus_relay_down
        );
        if lane.undercounted > 0 {
            let _ = writeln!(
                out,
                "  of {} tunnels the kernel saw more than was billed: bytes that nobody read",
                lane.undercounted
            );
        }
        for (id, finding) in &lane.findings {
            let _ = writeln!(
                out,
                "  held back: {}: {finding}. Look into it, then \
                 `weir-settle waive {id:032x} --reason ...`",
                subject(*id)
            );
        }
        for line in &story.lines {
            let _ = writeln!(out, "    {line}");
        }
    }
    if !days.is_empty() {
        let _ = writeln!(out, "\nSamples");
    }
    for line in days {
        let _ = writeln!(out, "    {line}");
    }
    if torn_bytes > 0 {
        let _ = writeln!(out, "\n{torn_bytes} bytes at the end are being written, or were torn.");
    }
    out
}

/// Unix milliseconds as UTC, by Howard Hinnant's days-to-civil.
pub(crate) fn utc(ms: u64) -> String {
    let (days, seconds) = ((ms / 86_400_000) as i64, ms / 1000 % 86_400);
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn dates() {
        assert_eq!(utc(0), "1970-01-01 00:00:00Z");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00Z");
        assert_eq!(utc(1_795_353_684_999), "2026-11-22 13:21:24Z");
    }
}
