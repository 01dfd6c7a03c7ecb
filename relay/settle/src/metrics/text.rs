//! The Prometheus text format, version 0.0.4.

use std::fmt::{Display, Write};
use std::sync::atomic::Ordering;

use crate::sidecar::Sidecar;
use crate::status::funding_name;

/// All metrics. Amounts are token units and may lose digits past 2^53 in the reader, which is why
/// `status` has them as strings.
pub fn render(sidecar: &Sidecar) -> String {
    let mut out = Text(String::new());
    let view = sidecar.clerk.views().borrow().clone();
    let chain = sidecar.driver.view();
    let now = crate::now_ms();

    out.gauge("weir_settle_exposure_units", "Token units used and not signed for.");
    out.value("weir_settle_exposure_units", "", view.exposure());
    out.gauge("weir_settle_unclaimed_units", "Token units signed for and not claimed.");
    out.value("weir_settle_unclaimed_units", "", view.unclaimed());
    out.gauge("weir_settle_earned_units", "Token units claimed and not yet pulled.");
    out.value("weir_settle_earned_units", "", chain.earned);

    out.gauge("weir_settle_lane_exposure_units", "Token units used and not signed for, by lane.");
    for (key, lane) in &view.lanes {
        let labels = format!("channel=\"{}\",lane=\"{}\"", key.channel, key.lane);
        out.value("weir_settle_lane_exposure_units", &labels, lane.exposure);
    }
    out.gauge("weir_settle_lane_held_back", "1 if nothing new is asked for, by reason.");
    for (key, lane) in &view.lanes {
        let reason = lane.held_back.as_ref().map_or("none", |(_, name, _)| name);
        let labels =
            format!("channel=\"{}\",lane=\"{}\",reason=\"{reason}\"", key.channel, key.lane);
        out.value("weir_settle_lane_held_back", &labels, u8::from(lane.held_back.is_some()));
    }
    out.gauge("weir_settle_lane_funding", "1 for the present funding of a lane's channel.");
    for (key, lane) in &view.lanes {
        let funding = funding_name(lane.credit.funding);
        let labels =
            format!("channel=\"{}\",lane=\"{}\",funding=\"{funding}\"", key.channel, key.lane);
        out.value("weir_settle_lane_funding", &labels, 1);
    }
    let oldest =
        view.lanes.values().filter(|l| l.exposure > 0).map(|lane| {
            now.saturating_sub(lane.voucher_at_ms.unwrap_or(lane.last_record_ms)) / 1000
        });
    out.gauge(
        "weir_settle_oldest_voucher_age_seconds",
        "Age of the oldest best voucher among lanes that owe something.",
    );
    out.value("weir_settle_oldest_voucher_age_seconds", "", oldest.max().unwrap_or(0));
    let newest = view.lanes.values().map(|l| l.last_record_ms).max().unwrap_or(0);
    out.gauge("weir_settle_record_lag_seconds", "Time since the newest usage record's counters.");
    let lag = if newest == 0 { 0 } else { now.saturating_sub(newest) / 1000 };
    out.value("weir_settle_record_lag_seconds", "", lag);

    let counters = view.counters;
    out.counter("weir_settle_records_total", "Usage records since the journal began, by fate.");
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
    out.counter("weir_settle_vouchers_accepted_total", "Vouchers taken since the start.");
    out.value("weir_settle_vouchers_accepted_total", "", view.vouchers_accepted);
    out.counter("weir_settle_vouchers_refused_total", "Vouchers refused since the start.");
    for (reason, count) in &view.vouchers_refused {
        out.value("weir_settle_vouchers_refused_total", &format!("reason=\"{reason}\""), count);
    }

    out.gauge("weir_settle_journal_bytes", "Durable bytes of the journal.");
    out.value("weir_settle_journal_bytes", "", view.journal.bytes);
    out.gauge("weir_settle_journal_failing", "1 while the journal can't be written.");
    out.value("weir_settle_journal_failing", "", u8::from(view.journal.error.is_some()));
    out.gauge("weir_settle_tunnels", "Tunnels remembered.");
    out.value("weir_settle_tunnels", "", view.tunnels);

    let load = |figure: &std::sync::atomic::AtomicU64| figure.load(Ordering::Relaxed);
    out.gauge("weir_settle_relays", "Relays connected.");
    out.value("weir_settle_relays", "", load(&sidecar.server.open));
    out.counter("weir_settle_relays_cut_total", "Connections closed for what the relay sent.");
    out.value("weir_settle_relays_cut_total", "", load(&sidecar.server.misbehaved));
    out.counter("weir_settle_frames_total", "Frames read from relays.");
    out.value("weir_settle_frames_total", "", load(&sidecar.server.frames));

    out.gauge("weir_settle_chain_reachable", "1 if the last look at the chain succeeded.");
    out.value("weir_settle_chain_reachable", "", u8::from(chain.reachable));
    out.gauge("weir_settle_chain_block", "Newest block seen.");
    out.value("weir_settle_chain_block", "", chain.block);
    out.gauge("weir_settle_outbox_open", "Intents that are not final.");
    out.value("weir_settle_outbox_open", "", chain.open.len());
    let refused = chain.open.iter().filter(|i| i.refused.is_some()).count();
    out.gauge("weir_settle_outbox_refused", "Intents whose transaction the node refuses.");
    out.value("weir_settle_outbox_refused", "", refused);
    if let Some(wei) = chain.wallet_wei {
        out.gauge("weir_settle_wallet_wei", "What the gas wallet has.");
        out.value("weir_settle_wallet_wei", "", wei);
        out.gauge("weir_settle_wallet_low", "1 if that is below the configured floor.");
        out.value("weir_settle_wallet_low", "", u8::from(chain.wallet_low));
    }
    out.0
}

struct Text(String);

impl Text {
    fn gauge(&mut self, name: &str, help: &str) {
        self.head(name, help, "gauge");
    }

    fn counter(&mut self, name: &str, help: &str) {
        self.head(name, help, "counter");
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing into a String can't fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, labels: &str, value: impl Display) {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}
