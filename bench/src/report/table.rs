//! A run on the terminal.

use std::fmt::Write as _;

use super::{Outcome, Run};
use crate::run::cell::{GENERATOR_LIMIT, LOSSY, NOISY};

/// All scenarios in the order in which they ran, then what is to be known about the figures.
pub fn render(run: &Run) -> String {
    let mut text = host(run);
    for results in run.results.chunk_by(|a, b| a.scenario == b.scenario) {
        scenario(&mut text, run, results);
    }
    text
}

fn host(run: &Run) -> String {
    let host = &run.host;
    let mut text = format!(
        "{} x {}, Linux {}, {}; commit {}\n",
        host.cpus, host.cpu, host.kernel, host.pinning, host.commit
    );
    let _ = writeln!(text, "lab: {}; {}", host.lab, host.links.join("; "));
    for (name, state) in &host.backends {
        let _ = writeln!(text, "backend {name}: {state}");
    }
    if host.steal_percent >= 1.0 || host.others_percent >= 5.0 {
        let _ = writeln!(
            text,
            "WARNING: {NOISY}: {:.1} % of the CPU time was stolen, {:.1} % went to other processes",
            host.steal_percent, host.others_percent
        );
    }
    text
}

fn scenario(text: &mut String, run: &Run, results: &[Outcome]) {
    let Some(first) = results.first() else { return };
    let unit = Unit::of(&first.unit);
    let _ = writeln!(text, "\n{}", first.scenario);
    let _ = writeln!(
        text,
        "  {:<12} {:>10} {:>17} {:>7} {:>7} {:>12} {:>18} {:>8} {:>8}",
        "subject",
        unit.cpu,
        "min .. max",
        "/floor",
        "/plain",
        unit.rate,
        "p50 / p99 us",
        "RSS MiB",
        "lost"
    );
    for outcome in results {
        line(text, run, outcome, &unit);
    }
    added(text, run, results);
    figures(text, results);
    for outcome in results {
        for note in warnings(outcome) {
            let _ = writeln!(text, "  ! {}: {note}", outcome.subject);
        }
    }
}

fn line(text: &mut String, run: &Run, outcome: &Outcome, unit: &Unit) {
    let cpu = outcome.cpu_ns_per_unit.as_ref();
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let ratio = |metric| run.metric(&outcome.scenario, &outcome.subject, metric);
    let _ = writeln!(
        text,
        "  {:<12} {:>10} {:>17} {:>7} {:>7} {:>12} {:>18} {:>8} {:>8}",
        outcome.subject,
        or_dash(cpu.map(|cpu| unit.cost(cpu.median))),
        or_dash(cpu.map(|cpu| format!("{} .. {}", unit.cost(cpu.min), unit.cost(cpu.max)))),
        or_dash(outcome.ratio_to_floor.map(|ratio| format!("{ratio:.2}"))),
        or_dash(ratio("ratio_to_plain").map(|ratio| format!("{ratio:.2}"))),
        or_dash(outcome.rate_per_s.as_ref().map(|rate| unit.pace(rate.median))),
        or_dash(outcome.latency_us.as_ref().map(|us| format!("{:.0} / {:.0}", us.p50, us.p99))),
        or_dash(outcome.rss_bytes.map(|bytes| format!("{:.1}", bytes as f64 / 1_048_576.0))),
        lost(outcome),
    );
}

fn lost(outcome: &Outcome) -> String {
    match (outcome.repeats, outcome.corrupt) {
        (0, _) => "-".to_owned(),
        (_, 0) => outcome.lost.to_string(),
        (_, corrupt) => format!("{} +{corrupt} WRONG", outcome.lost),
    }
}

/// What a relay adds to the echo time that there is without one.
fn added(text: &mut String, run: &Run, results: &[Outcome]) {
    let values: Vec<String> = results
        .iter()
        .filter(|of| of.subject != "direct" && of.scenario.starts_with("rtt"))
        .filter_map(|of| {
            let us = |metric| run.metric(&of.scenario, &of.subject, metric);
            let (p50, p99) = (us("added_p50_us")?, us("added_p99_us")?);
            Some(format!("{} {p50:.0} / {p99:.0}", of.subject))
        })
        .collect();
    if !values.is_empty() {
        let _ = writeln!(text, "  added to direct, p50 / p99 us: {}", values.join(", "));
    }
}

/// Figures that only some scenarios have.
const SPECIAL: [&str; 7] = [
    "bytes_per_connection",
    "bytes_per_tunnel",
    "polite_lost_percent",
    "polite_p50_us",
    "polite_p99_us",
    "core_ns_per_unit",
    "failures",
];

fn figures(text: &mut String, results: &[Outcome]) {
    for name in SPECIAL {
        let values: Vec<String> = results
            .iter()
            .filter_map(|of| Some(format!("{} {:.1}", of.subject, of.figures.get(name)?)))
            .collect();
        if !values.is_empty() {
            let _ = writeln!(text, "  {name}: {}", values.join(", "));
        }
    }
}

/// Notes that change how a figure is to be read. That the host is noisy is said once, above.
fn warnings(outcome: &Outcome) -> impl Iterator<Item = &String> {
    const STARTS: [&str; 4] = [GENERATOR_LIMIT, LOSSY, "not measured", "a repeat failed"];
    outcome.notes.iter().filter(|note| STARTS.iter().any(|start| note.starts_with(start)))
}

/// How a unit is shown: bytes by the gigabyte, everything else by the piece.
pub(super) struct Unit {
    pub(super) cpu: &'static str,
    pub(super) rate: &'static str,
    bytes: bool,
    small: bool,
}

impl Unit {
    pub(super) fn of(unit: &str) -> Unit {
        match unit {
            "byte" => Unit { cpu: "CPU s/GB", rate: "Gbit/s", bytes: true, small: false },
            "packet" => Unit { cpu: "ns/packet", rate: "", bytes: false, small: true },
            "datagram" => Unit { cpu: "us/dgram", rate: "1000/s", bytes: false, small: false },
            _ => Unit { cpu: "us each", rate: "1000/s", bytes: false, small: false },
        }
    }

    /// From nanoseconds per unit. Nanoseconds per byte are seconds per gigabyte.
    pub(super) fn cost_of(&self, ns: f64) -> f64 {
        if self.bytes || self.small { ns } else { ns / 1e3 }
    }

    fn cost(&self, ns: f64) -> String {
        if self.small { format!("{ns:.0}") } else { format!("{:.3}", self.cost_of(ns)) }
    }

    fn pace(&self, per_s: f64) -> String {
        if self.bytes { format!("{:.2}", per_s * 8.0 / 1e9) } else { format!("{:.1}", per_s / 1e3) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{outcome, run};
    use super::*;

    #[test]
    fn the_table_has_medians_ratios_and_warnings() {
        let mut weir = outcome("udp-1200", "weir", &[1000.0, 1500.0, 1100.0]);
        weir.notes = vec![format!("{GENERATOR_LIMIT} in 1 of 3 repeats"), "uring: fine".into()];
        let xsk = Outcome {
            notes: vec!["not measured: no AF_XDP".into()],
            ..outcome("udp-1200", "xsk", &[])
        };
        let mut run = run(vec![weir, outcome("udp-1200", "floor", &[550.0]), xsk]);
        run.relate_to_floor();
        let text = render(&run);
        assert!(text.contains("1.100") && text.contains("1.000 .. 1.500"), "{text}");
        assert!(text.contains("2.00"), "the ratio to the floor: {text}");
        assert!(text.contains("! weir: the generator was the limit in 1 of 3"), "{text}");
        assert!(text.contains("! xsk: not measured: no AF_XDP"), "{text}");
        assert!(!text.contains("uring: fine"), "{text}");
    }

    #[test]
    fn bytes_are_shown_by_the_gigabyte() {
        let unit = Unit::of("byte");
        assert_eq!((unit.cost(0.9), unit.pace(1e9)), ("0.900".to_owned(), "8.00".to_owned()));
    }
}
