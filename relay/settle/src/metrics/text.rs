//! The Prometheus text format, version 0.0.4.

use std::fmt::{Display, Write};
use std::sync::atomic::Ordering;

use super::families::FAMILIES;
use crate::book::{AccessView, LaneKey};
use crate::chain::ChainView;
use crate::clerk::{LaneView, View};
use crate::sidecar::Sidecar;
use crate::status::{funding_name, status};

/// Lanes with metrics of their own: each costs a scraper five series. Those left out still count in
/// the sums, and how many they are is a metric too.
const LANES_MAX: usize = 2_000;

/// All metrics. Amounts are token units and may lose digits past 2^53 in the reader, which is why
/// `status` has them as strings.
pub fn render(sidecar: &Sidecar) -> String {
    let mut out = Text(String::new());
    let view = sidecar.clerk.views().borrow().clone();
    money(&mut out, &view, sidecar.driver.view().earned);
    lanes(&mut out, &view);
    access(&mut out, &view);
    records(&mut out, &view);
    let load = |figure: &std::sync::atomic::AtomicU64| figure.load(Ordering::Relaxed);
    out.one("weir_settle_relays", load(&sidecar.server.open));
    out.one("weir_settle_relays_cut_total", load(&sidecar.server.misbehaved));
    out.one("weir_settle_frames_total", load(&sidecar.server.frames));
    chain(&mut out, &sidecar.driver.view());
    out.head("weir_settle_troubles");
    for trouble in status(sidecar).troubles {
        out.value("weir_settle_troubles", &format!("trouble=\"{}\"", trouble.name), 1);
    }
    out.0
}

fn money(out: &mut Text, view: &View, earned: u128) {
    out.one("weir_settle_exposure_units", view.exposure());
    out.one("weir_settle_unclaimed_units", view.unclaimed());
    out.one("weir_settle_earned_units", earned);
}

fn lanes(out: &mut Text, view: &View) {
    let now = crate::now_ms();
    let age = |ms: u64| now.saturating_sub(ms) / 1000;
    let shown = || view.lanes.iter().take(LANES_MAX);
    let labels = |key: &LaneKey| format!("channel=\"{}\",lane=\"{}\"", key.channel, key.lane);
    out.head("weir_settle_lane_exposure_units");
    for (key, lane) in shown() {
        out.value("weir_settle_lane_exposure_units", &labels(key), lane.exposure);
    }
    out.head("weir_settle_lane_held_back");
    for (key, lane) in shown() {
        let reason = lane.held_back.as_ref().map_or("none", |(name, _)| name);
        let labels = format!("{},reason=\"{reason}\"", labels(key));
        out.value("weir_settle_lane_held_back", &labels, u8::from(lane.held_back.is_some()));
    }
    out.head("weir_settle_lane_funding");
    for (key, lane) in shown() {
        let labels = format!("{},funding=\"{}\"", labels(key), funding_name(lane.credit.funding));
        out.value("weir_settle_lane_funding", &labels, 1);
    }
    out.head("weir_settle_lane_record_age_seconds");
    for (key, lane) in shown().filter(|(_, lane)| lane.last_record_ms > 0) {
        out.value("weir_settle_lane_record_age_seconds", &labels(key), age(lane.last_record_ms));
    }
    out.head("weir_settle_lane_voucher_age_seconds");
    for (key, lane) in shown() {
        let Some(at) = lane.voucher_at_ms else { continue };
        out.value("weir_settle_lane_voucher_age_seconds", &labels(key), age(at));
    }
    out.one("weir_settle_lanes_not_shown", view.lanes.len().saturating_sub(LANES_MAX));
    let owing = view.lanes.values().filter(|lane| lane.exposure > 0);
    let since = |lane: &LaneView| age(lane.voucher_at_ms.unwrap_or(lane.last_record_ms));
    out.one("weir_settle_oldest_voucher_age_seconds", owing.map(since).max().unwrap_or(0));
    let newest = view.lanes.values().map(|l| l.last_record_ms).max().unwrap_or(0);
    out.one("weir_settle_record_lag_seconds", if newest == 0 { 0 } else { age(newest) });
}

fn access(out: &mut Text, view: &View) {
    let sum = |pick: fn(&AccessView) -> u64| -> u64 {
        view.access.values().map(pick).fold(0, u64::saturating_add)
    };
    for (name, up, down) in [
        ("weir_settle_access_billed_bytes", sum(|a| a.billed_up), sum(|a| a.billed_down)),
        ("weir_settle_access_seen_bytes", sum(|a| a.seen_up), sum(|a| a.seen_down)),
    ] {
        out.head(name);
        out.value(name, "direction=\"up\"", up);
        out.value(name, "direction=\"down\"", down);
    }
}

fn records(out: &mut Text, view: &View) {
    let counters = view.counters;
    out.head("weir_settle_records_total");
    for (fate, count) in [
        ("journaled", counters.records),
        ("duplicate", counters.duplicates),
        ("lower", counters.lower),
        ("invalid", counters.invalid),
        ("unbilled", counters.unbilled),
        ("unknown_channel", counters.unknown_channel),
    ] {
        out.value("weir_settle_records_total", &format!("fate=\"{fate}\""), count);
    }
    out.one("weir_settle_vouchers_accepted_total", view.vouchers_accepted);
    out.head("weir_settle_vouchers_refused_total");
    for (reason, count) in &view.vouchers_refused {
        out.value("weir_settle_vouchers_refused_total", &format!("reason=\"{reason}\""), count);
    }
    out.head("weir_settle_samples_total");
    for (fate, count) in &view.samples {
        out.value("weir_settle_samples_total", &format!("fate=\"{fate}\""), count);
    }
    out.one("weir_settle_journal_bytes", view.journal.bytes);
    out.one("weir_settle_journal_failing", u8::from(view.journal.error.is_some()));
    out.one("weir_settle_tunnels", view.tunnels);
}

fn chain(out: &mut Text, chain: &ChainView) {
    out.one("weir_settle_chain_reachable", u8::from(chain.reachable));
    out.one("weir_settle_chain_block", chain.block);
    out.head("weir_settle_chain_look_age_seconds");
    if chain.last_ok_ms > 0 {
        let age = crate::now_ms().saturating_sub(chain.last_ok_ms) / 1000;
        out.value("weir_settle_chain_look_age_seconds", "", age);
    }
    let newest = chain.endpoints.iter().filter_map(|e| e.block).max().unwrap_or(chain.block);
    out.one("weir_settle_chain_lag_blocks", newest.saturating_sub(chain.block));
    // The place tells apart two endpoints that are shown alike.
    let endpoints = || {
        chain
            .endpoints
            .iter()
            .enumerate()
            .map(|(n, e)| (format!("endpoint=\"{n}\",rpc=\"{}\"", e.rpc), e))
    };
    out.head("weir_settle_rpc_up");
    for (labels, endpoint) in endpoints() {
        out.value("weir_settle_rpc_up", &labels, u8::from(endpoint.up));
    }
    out.head("weir_settle_rpc_behind_blocks");
    for (labels, endpoint) in endpoints().filter(|(_, e)| e.up) {
        out.value("weir_settle_rpc_behind_blocks", &labels, endpoint.behind);
    }
    out.head("weir_settle_rpc_failures_total");
    for (labels, endpoint) in endpoints() {
        out.value("weir_settle_rpc_failures_total", &labels, endpoint.failures);
    }
    out.head("weir_settle_rpc_dissents_total");
    for (labels, endpoint) in endpoints() {
        out.value("weir_settle_rpc_dissents_total", &labels, endpoint.dissents);
    }
    out.one("weir_settle_rpc_disagreement", u8::from(chain.quarrel.is_some()));
    out.some("weir_settle_gas_price_wei", chain.gas_price_wei);
    out.one("weir_settle_outbox_open", chain.open.len());
    let refused = chain.open.iter().filter(|i| i.refused.is_some()).count();
    out.one("weir_settle_outbox_refused", refused);
    out.head("weir_settle_waiting");
    for kind in ["claim", "settle", "anchor", "day", "answer", "fees"] {
        for reason in ["expensive", "uneconomic", "wallet"] {
            let same = |w: &&crate::chain::Waiting| (w.kind, w.reason) == (kind, reason);
            let count = chain.waiting.iter().filter(same).count();
            let labels = format!("kind=\"{kind}\",reason=\"{reason}\"");
            out.value("weir_settle_waiting", &labels, count);
        }
    }
    out.head("weir_settle_withdrawal_seconds_left");
    for leaving in chain.leaving.iter().take(LANES_MAX) {
        let labels = format!("channel=\"{}\"", leaving.channel);
        out.value("weir_settle_withdrawal_seconds_left", &labels, leaving.seconds_left);
    }
    duties(out, chain);
    out.some("weir_settle_wallet_wei", chain.wallet_wei);
    out.some("weir_settle_wallet_days_left", chain.wallet_days_left);
    out.one("weir_settle_wallet_low", u8::from(chain.wallet_low));
}

fn duties(out: &mut Text, chain: &ChainView) {
    let challenges = &chain.challenges;
    let ended = challenges.answered.saturating_add(challenges.unanswered);
    out.head("weir_settle_challenges");
    for (state, count) in [
        ("open", challenges.opened.saturating_sub(ended)),
        ("lost", challenges.lost),
        ("late", challenges.late),
        ("answered", challenges.answered),
        ("unanswered", challenges.unanswered),
    ] {
        out.value("weir_settle_challenges", &format!("state=\"{state}\""), count);
    }
    let soonest = challenges.open.first().map(|one| one.seconds_left);
    out.some("weir_settle_challenge_seconds_left", soonest);
    out.one("weir_settle_challenge_fees_wei", &challenges.owed_wei);
    out.one("weir_settle_sample_days_pending", chain.days_pending);
    out.some("weir_settle_statement_epoch", chain.vouched);
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str) {
        let family = FAMILIES.iter().find(|f| f.name == name);
        let (kind, help) = family.map_or(("untyped", ""), |f| (f.kind, f.help));
        // Writing into a String can't fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, labels: &str, value: impl Display) {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    /// A family of one value.
    fn one(&mut self, name: &str, value: impl Display) {
        self.head(name);
        self.value(name, "", value);
    }

    /// A family of one value that may not be known yet.
    fn some(&mut self, name: &str, value: Option<impl Display>) {
        self.head(name);
        if let Some(value) = value {
            self.value(name, "", value);
        }
    }
}
