//! A run as one page that needs nothing else.

use std::fmt::Write as _;

use super::svg::{self, Bar, Line, Tick, escape};
use super::table::{self, Unit};
use super::{Outcome, Run};

const STYLE: &str = "body{font-family:sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
color:#222}pre{overflow-x:auto;background:#f6f6f6;padding:1rem;font-size:12px}svg{width:100%;\
height:auto;margin:1rem 0}td,th{text-align:left;padding:.15rem .8rem .15rem 0;vertical-align:top}";

/// Bars of 1200-byte datagrams beside those of 64 bytes say most at one glance.
const CPU_SCENARIOS: [&str; 5] =
    ["udp-1200", "udp-1200-singly", "udp-64", "udp-mixed", "udp-scattered"];
const BYTE_SCENARIOS: [&str; 2] = ["tcp-download", "tcp-upload"];

/// The page.
pub fn render(run: &Run) -> String {
    let mut page = format!(
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>weir bench</title>\
         <style>{STYLE}</style><h1>weir bench</h1>"
    );
    page.push_str(&facts(run));
    page.push_str(&cost("CPU per UDP datagram, relayed one way", "us", run, &CPU_SCENARIOS));
    page.push_str(&cost("CPU per GB over TCP", "CPU seconds", run, &BYTE_SCENARIOS));
    for results in run.results.chunk_by(|a, b| a.scenario == b.scenario) {
        page.push_str(&percentiles(results));
    }
    page.push_str(&scaling(run));
    let _ = write!(page, "<h2>All figures</h2><pre>{}</pre>", escape(&table::render(run)));
    page.push_str(&notes(run));
    page + "</html>\n"
}

fn facts(run: &Run) -> String {
    let host = &run.host;
    let mut rows = vec![
        ("CPU", format!("{} x {}", host.cpus, host.cpu)),
        (
            "kernel",
            format!("Linux {}{}", host.kernel, if host.hypervisor { ", in a VM" } else { "" }),
        ),
        ("lab", format!("{}; {}", host.lab, host.pinning)),
        ("links", host.links.join("; ")),
        ("stolen", format!("{:.1} % of the CPU time", host.steal_percent)),
        ("others", format!("{:.1} % of the CPU time", host.others_percent)),
        ("commit", host.commit.clone()),
        ("plan", format!("{}, {:.0} s", host.plan, host.took_s)),
    ];
    rows.extend(host.backends.iter().map(|(name, state)| (name.as_str(), state.clone())));
    let mitigations: Vec<String> =
        host.mitigations.iter().map(|(name, state)| format!("{name}: {state}")).collect();
    rows.push(("mitigations", mitigations.join("; ")));
    let rows = rows.iter().map(|(name, value)| {
        format!("<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value))
    });
    format!("<table>{}</table>", rows.collect::<String>())
}

/// What the relay's CPU costs, by subject.
fn cost(title: &str, y_label: &str, run: &Run, scenarios: &[&str]) -> String {
    let groups: Vec<(String, Vec<Bar>)> = scenarios
        .iter()
        .map(|name| {
            let results = run.results.iter().filter(|of| of.scenario == *name);
            ((*name).to_owned(), results.filter_map(bar).collect())
        })
        .filter(|(_, bars): &(String, Vec<Bar>)| !bars.is_empty())
        .collect();
    svg::bars(title, y_label, &groups)
}

fn bar(outcome: &Outcome) -> Option<Bar> {
    let cpu = outcome.cpu_ns_per_unit.as_ref()?;
    let unit = Unit::of(&outcome.unit);
    Some(Bar {
        name: outcome.subject.clone(),
        value: unit.cost_of(cpu.median),
        min: unit.cost_of(cpu.min),
        max: unit.cost_of(cpu.max),
    })
}

/// Latency over percentiles; each nine takes as much room as the one before.
fn percentiles(results: &[Outcome]) -> String {
    let nines = |percentile: f64| -((100.0 - percentile).max(0.01) / 100.0).log10();
    let lines: Vec<Line> = results
        .iter()
        .filter_map(|outcome| {
            let curve = &outcome.latency_us.as_ref()?.curve;
            let points = curve.iter().map(|&(percentile, us)| (nines(percentile), us)).collect();
            Some(Line { name: outcome.subject.clone(), points })
        })
        .filter(|line| line.points.len() > 1)
        .collect();
    let Some(first) = results.first() else { return String::new() };
    let ticks: Vec<Tick> = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99]
        .map(|percentile| (nines(percentile), format!("{percentile} %")))
        .to_vec();
    let title = format!("{}: echo time, microseconds by percentile", first.scenario);
    svg::lines(&title, "us", &ticks, &lines)
}

/// CPU per datagram over the number of workers.
fn scaling(run: &Run) -> String {
    let counts = [("workers-1", 1.0), ("workers-2", 2.0)];
    let mut lines: Vec<Line> = Vec::new();
    for (scenario, workers) in counts {
        for outcome in run.results.iter().filter(|of| of.scenario == scenario) {
            let Some(bar) = bar(outcome) else { continue };
            match lines.iter_mut().find(|line| line.name == outcome.subject) {
                Some(line) => line.points.push((workers, bar.value)),
                None => lines.push(Line { name: bar.name, points: vec![(workers, bar.value)] }),
            }
        }
    }
    let ticks: Vec<Tick> = counts.map(|(_, workers)| (workers, format!("{workers}"))).to_vec();
    svg::lines("CPU per UDP datagram by number of workers", "us", &ticks, &lines)
}

fn notes(run: &Run) -> String {
    let mut list = String::new();
    for outcome in &run.results {
        for note in &outcome.notes {
            let _ = write!(
                list,
                "<li>{} {}: {}</li>",
                escape(&outcome.scenario),
                escape(&outcome.subject),
                escape(note)
            );
        }
    }
    format!("<h2>Notes</h2><ul>{list}</ul>")
}

#[cfg(test)]
mod tests {
    use super::super::LatencyUs;
    use super::super::tests::{outcome, run};
    use super::*;

    #[test]
    fn the_page_has_its_plots_and_loads_nothing() {
        let mut rtt = outcome("rtt-10", "weir", &[1000.0]);
        rtt.latency_us = Some(LatencyUs {
            curve: vec![(0.0, 80.0), (50.0, 100.0), (99.99, 900.0), (100.0, 1000.0)],
            ..LatencyUs::default()
        });
        rtt.notes.push("<script>alert(1)</script>".to_owned());
        let page = render(&run(vec![
            outcome("udp-1200", "weir", &[1000.0, 1100.0]),
            outcome("udp-1200", "floor", &[500.0]),
            rtt,
            outcome("workers-1", "weir", &[900.0]),
            outcome("workers-2", "weir", &[950.0]),
        ]));
        assert_eq!(page.matches("<svg").count(), 3, "CPU, percentiles, scaling");
        assert!(page.contains("<polyline") && page.contains("<rect"));
        assert!(!page.contains("<script") && !page.contains(" src="), "self-contained");
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }
}
