//! `/metrics`: everything that is counted, in the Prometheus text format.

use std::fmt::{Display, Write as _};

use weir_core::CreditLine;
use weir_core::credit::Standing;
use weir_core::ledger::{DropReason, TunnelCounters};

use crate::control::export::{KindTotals, Totals};
use crate::state::State;
use crate::worker::Snapshot;
use crate::worker::latency::Latency;

/// Upper bounds of the latency buckets, in nanoseconds: 1-2-5 from 1 us to 100 ms.
const BUCKETS_NS: [u64; 16] = [
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
];

/// The whole page.
pub(super) fn render(state: &State) -> String {
    let mut page = Page::default();
    let config = state.config.load();
    let snapshots = state.peers.snapshots();
    let build = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("name", config.relay.name.as_str()),
        ("backend", state.backend.kind.as_str()),
        ("steering", state.steering.kind.as_str()),
        ("xdp", state.xdp.mode()),
    ];
    page.family("weir_build_info", "gauge", "What runs; the value is always 1.");
    page.sample("weir_build_info", &build, 1);
    page.family("weir_uptime_seconds", "gauge", "Seconds since the relay started.");
    page.sample("weir_uptime_seconds", &[], state.started.elapsed().as_secs());
    page.family("weir_draining", "gauge", "1 while the relay takes no new work.");
    page.sample("weir_draining", &[], u8::from(state.drain.has_begun()));
    engine(&mut page, &snapshots);
    per_worker(&mut page, "weir_worker", &snapshots, |worker| worker.turns.entries().to_vec());
    per_worker(&mut page, "weir_io", &snapshots, |worker| worker.io.clone());
    latency(&mut page, &snapshots);
    let (totals, lag) = {
        let mut export = state.export.lock().expect("no holder of this lock panics");
        export.collect();
        (export.totals(), export.lag())
    };
    ledgers(&mut page, &totals);
    access(&mut page, state);
    page.family("weir_export_tunnels_waiting", "gauge", "Tunnels not reported up to date.");
    page.sample("weir_export_tunnels_waiting", &[], lag.0);
    page.family("weir_export_records_in_flight", "gauge", "Records sent and not on disk yet.");
    page.sample("weir_export_records_in_flight", &[], lag.1);
    page.family("weir_settlement_connected", "gauge", "1 while the settlement sidecar is there.");
    page.sample("weir_settlement_connected", &[], u8::from(state.resources.is_connected()));
    credit(&mut page, state);
    if let Some(tokens) = &state.tokens {
        page.family("weir_tokens_total", "counter", "Blind tokens shown, by what became of them.");
        for (outcome, count) in tokens.counters.entries() {
            page.sample("weir_tokens_total", &[("outcome", outcome)], count);
        }
    }
    for metric in state.xdp.metrics() {
        page.family(metric.name, metric.kind, metric.help);
        for (labels, value) in &metric.samples {
            page.sample(metric.name, labels, value);
        }
    }
    page.text
}

fn engine(page: &mut Page, snapshots: &[std::sync::Arc<Snapshot>]) {
    let entries: Vec<Vec<_>> = snapshots.iter().map(|s| s.engine.entries().collect()).collect();
    let Some(first) = entries.first() else { return };
    for (row, (name, help, _)) in first.iter().enumerate() {
        let gauge = help.ends_with("(gauge).");
        let name = if gauge { format!("weir_{name}") } else { format!("weir_{name}_total") };
        page.family(&name, if gauge { "gauge" } else { "counter" }, help);
        for (worker, values) in entries.iter().enumerate() {
            page.sample(&name, &[("worker", &worker.to_string())], values[row].2);
        }
    }
}

fn per_worker(
    page: &mut Page,
    prefix: &str,
    snapshots: &[std::sync::Arc<Snapshot>],
    entries: impl Fn(&Snapshot) -> Vec<(&'static str, &'static str, u64)>,
) {
    let all: Vec<_> = snapshots.iter().map(|worker| entries(worker)).collect();
    // A worker that hasn't published yet has no rows.
    let Some(longest) = all.iter().max_by_key(|rows| rows.len()) else { return };
    for (row, (name, help, _)) in longest.iter().enumerate() {
        let name = format!("{prefix}_{name}_total");
        page.family(&name, "counter", help);
        for (worker, rows) in all.iter().enumerate() {
            if let Some((_, _, value)) = rows.get(row) {
                page.sample(&name, &[("worker", &worker.to_string())], value);
            }
        }
    }
}

fn latency(page: &mut Page, snapshots: &[std::sync::Arc<Snapshot>]) {
    let name = "weir_relay_latency_seconds";
    let help = "Time from the wake-up of a turn to the end of its flush, per UDP datagram.";
    page.family(name, "histogram", help);
    for (worker, snapshot) in snapshots.iter().enumerate() {
        let worker = worker.to_string();
        let latency: &Latency = &snapshot.latency;
        for bound in BUCKETS_NS {
            let le = (bound as f64 / 1e9).to_string();
            let labels = [("worker", worker.as_str()), ("le", le.as_str())];
            page.sample(&format!("{name}_bucket"), &labels, latency.count_below(bound));
        }
        let labels = [("worker", worker.as_str()), ("le", "+Inf")];
        page.sample(&format!("{name}_bucket"), &labels, latency.count());
        page.sample(&format!("{name}_sum"), &labels[..1], latency.sum_seconds());
        page.sample(&format!("{name}_count"), &labels[..1], latency.count());
    }
}

type Row = (&'static str, &'static str, u64);

/// Name, help, and what to show of a transport.
type Family = (&'static str, &'static str, fn(&KindTotals) -> Vec<Row>);

/// Forwarded and dropped payload of ledger A, and ledger B, by transport and direction.
fn ledgers(page: &mut Page, totals: &Totals) {
    let kinds = [("tcp", &totals.tcp), ("udp", &totals.udp)];
    let families: [Family; 4] = [
        ("weir_ledger_a_bytes_total", "Payload bytes of tunnels (ledger A).", |kind| {
            a_rows(&kind.a, |amount| amount.bytes)
        }),
        ("weir_ledger_a_datagrams_total", "Datagrams of tunnels (ledger A).", |kind| {
            a_rows(&kind.a, |amount| amount.datagrams)
        }),
        ("weir_ledger_b_payload_bytes_total", "Payload the kernel saw (ledger B).", |kind| {
            vec![("up", "", kind.b.up.payload_bytes), ("down", "", kind.b.down.payload_bytes)]
        }),
        ("weir_ledger_b_wire_bytes_total", "Wire bytes the kernel saw (ledger B).", |kind| {
            vec![("up", "", kind.b.up.wire_bytes), ("down", "", kind.b.down.wire_bytes)]
        }),
    ];
    for (name, help, rows) in families {
        page.family(name, "counter", help);
        for (transport, kind) in kinds {
            for (direction, fate, value) in rows(kind) {
                let mut labels = vec![("transport", transport), ("direction", direction)];
                if !fate.is_empty() {
                    labels.push(("fate", fate));
                }
                page.sample(name, &labels, value);
            }
        }
    }
}

fn a_rows(a: &TunnelCounters, get: fn(&weir_core::ledger::Amount) -> u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for (direction, counters) in [("up", &a.up), ("down", &a.down)] {
        rows.push((direction, "received", get(&counters.received)));
        rows.push((direction, "forwarded", get(&counters.forwarded)));
        for reason in DropReason::ALL {
            let dropped = &counters.dropped[reason as usize];
            rows.push((direction, reason.label(), get(dropped)));
        }
    }
    rows
}

/// Ledger C, and how far the engines are from it.
fn access(page: &mut Page, state: &State) {
    let Some(reading) = state.access() else { return };
    let sides = [("up", reading.c.up), ("down", reading.c.down)];
    let name = "weir_ledger_c_payload_bytes_total";
    page.family(name, "counter", "Client-facing UDP payload the kernel saw (ledger C).");
    for (direction, count) in sides {
        page.sample(name, &[("direction", direction)], count.payload_bytes);
    }
    let name = "weir_ledger_c_wire_bytes_total";
    page.family(name, "counter", "Client-facing wire bytes the kernel saw (ledger C).");
    for (direction, count) in sides {
        page.sample(name, &[("direction", direction)], count.wire_bytes);
    }
    let name = "weir_ledger_c_discrepancy_bytes";
    page.family(name, "gauge", "The engines' client-facing bytes minus ledger C.");
    for (direction, bytes) in reading.discrepancy() {
        page.sample(name, &[("direction", direction)], bytes);
    }
    let help = "1 while the engines count more client-facing bytes than the kernel saw.";
    page.family("weir_ledger_c_alarm", "gauge", help);
    page.sample("weir_ledger_c_alarm", &[], u8::from(state.access.alarm()));
}

fn credit(page: &mut Page, state: &State) {
    let grants = state.accounts.configured(&state.config.load().grants);
    page.family("weir_grant_used_bytes_total", "counter", "Billable bytes used under a grant.");
    for grant in &grants {
        let labels = [("grant", grant.name.as_str())];
        page.sample("weir_grant_used_bytes_total", &labels, grant.credit.used());
    }
    page.family("weir_grant_credit_bytes", "gauge", "Bytes left before a payer has to sign.");
    for grant in grants.iter().filter(|grant| grant.channel.is_some()) {
        let labels = [("grant", grant.name.as_str())];
        page.sample("weir_grant_credit_bytes", &labels, grant.credit.left());
    }
    let lines: Vec<_> = state.accounts.lanes().into_iter().map(|(_, line, _)| line).collect();
    let families: [CreditFamily; 3] = [
        ("weir_credit_payers", "gauge", "Payers by how they stand.", |line, standing| {
            u64::from(line.standing() == standing)
        }),
        (
            "weir_credit_sessions",
            "gauge",
            "Sessions by how their payer stands.",
            |line, standing| {
                if line.standing() == standing { line.sessions() } else { 0 }
            },
        ),
        (
            "weir_credit_turns_total",
            "counter",
            "Times that a payer was slowed down, stopped, or let go (open).",
            CreditLine::turns_into,
        ),
    ];
    for (name, kind, help, value) in families {
        page.family(name, kind, help);
        for standing in Standing::ALL {
            let sum: u64 = lines.iter().map(|line| value(line, standing)).sum();
            page.sample(name, &[("standing", standing.label())], sum);
        }
    }
}

/// Name, kind, help, and what an account adds to a standing.
type CreditFamily = (&'static str, &'static str, &'static str, fn(&CreditLine, Standing) -> u64);

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            // Values are names from the configuration and our own words: no quotes, no newlines
            // but what is escaped here.
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.line(format_args!("{open}{label}=\"{text}\""));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        self.line(format_args!("{close} {value}\n"));
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("a String takes everything");
    }
}
