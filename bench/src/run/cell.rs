//! One scenario with one subject: its repeats, and what they amount to.

use std::collections::BTreeMap;

use weir_load::spec::Latency;

use super::repeat::Sample;
use super::scenario::Scenario;
use crate::report::{LatencyUs, Outcome};
use crate::stats::{Spread, median};

/// A subject that failed so often without ever working isn't tried again.
const FAILURES_MAX: usize = 2;

/// From here on a run stands still more than it works.
const LOST_PERCENT_MAX: f64 = 5.0;

/// From here on a figure isn't the host's, but what its neighbours left over.
const STEAL_PERCENT_MAX: f64 = 2.0;
const OTHERS_PERCENT_MAX: f64 = 5.0;

/// Repeats so far.
#[derive(Debug, Default)]
pub struct Cell {
    samples: Vec<Sample>,
    failures: Vec<String>,
}

impl Cell {
    pub fn add(&mut self, result: anyhow::Result<Sample>) {
        match result {
            Ok(sample) => self.samples.push(sample),
            Err(error) => self.failures.push(format!("{error:#}")),
        }
    }

    /// Whether another repeat is of any use.
    pub fn is_hopeless(&self) -> bool {
        self.samples.is_empty() && self.failures.len() >= FAILURES_MAX
    }

    /// The last failure, if the last repeat was one.
    pub fn failure(&self) -> Option<&str> {
        self.failures.last().map(String::as_str)
    }

    pub fn last(&self) -> Option<&Sample> {
        self.samples.last()
    }

    /// What goes into the report.
    pub fn outcome(&self, scenario: &Scenario, subject: &str) -> Outcome {
        let samples = &self.samples;
        let timed = || samples.iter().filter(|sample| sample.seconds > 0.0);
        Outcome {
            scenario: scenario.name.to_owned(),
            subject: subject.to_owned(),
            unit: scenario.unit.to_owned(),
            cpu_ns_per_unit: Spread::of(samples.iter().filter_map(|of| of.cpu_ns_per_unit)),
            rate_per_s: Spread::of(timed().map(|of| of.units as f64 / of.seconds)),
            latency_us: latency(samples),
            rss_bytes: median(&all(samples, |of| Some(of.rss_bytes? as f64)))
                .map(|bytes| bytes as u64),
            ratio_to_floor: None,
            repeats: samples.len() as u32,
            lost: samples.iter().map(|of| of.lost).sum(),
            corrupt: samples.iter().map(|of| of.corrupt).sum(),
            figures: figures(samples),
            notes: self.notes(),
        }
    }

    /// Warnings first. What a repeat noted is noted once, as of the last one.
    fn notes(&self) -> Vec<String> {
        let samples = &self.samples;
        let mut notes = Vec::new();
        if samples.is_empty() {
            let why = self.failure().unwrap_or("there was no time left");
            return vec![format!("not measured: {why}")];
        }
        for failure in &self.failures {
            notes.push(format!("a repeat failed: {failure}"));
        }
        let limited = samples.iter().filter(|of| of.generator_limited).count();
        if limited > 0 {
            let of = samples.len();
            notes.push(format!("{GENERATOR_LIMIT} in {limited} of {of} repeats"));
        }
        for (what, most, pick) in NOISE {
            let percent = median(&all(samples, |of| Some(pick(of)))).unwrap_or(0.0);
            if percent > most {
                notes.push(format!("{NOISY}: {percent:.0} % of the CPU time went to {what}"));
            }
        }
        let lost = median(&all(samples, |of| of.figures.get("lost_percent").copied()));
        if let Some(percent) = lost.filter(|percent| *percent > LOST_PERCENT_MAX) {
            notes.push(format!("{LOSSY}: {percent:.0} % of what was sent never came back"));
        }
        if let Some(last) = samples.last() {
            notes.extend(last.notes.iter().cloned());
        }
        notes
    }
}

/// How the warnings begin, so that the table can show them.
pub const GENERATOR_LIMIT: &str = "the generator was the limit";
pub const LOSSY: &str = "much was lost";
pub const NOISY: &str = "noisy host";

type Pick = fn(&Sample) -> f64;
const NOISE: [(&str, f64, Pick); 2] = [
    ("other virtual machines (steal)", STEAL_PERCENT_MAX, |of| of.steal_percent),
    ("other processes", OTHERS_PERCENT_MAX, |of| of.others_percent),
];

fn all(samples: &[Sample], pick: impl Fn(&Sample) -> Option<f64>) -> Vec<f64> {
    samples.iter().filter_map(pick).collect()
}

/// Medians of every figure that any repeat has.
fn figures(samples: &[Sample]) -> BTreeMap<String, f64> {
    let names = samples.iter().flat_map(|of| of.figures.keys());
    names
        .filter_map(|name| {
            let values = all(samples, |of| of.figures.get(name).copied());
            Some(((*name).to_owned(), median(&values)?))
        })
        .collect()
}

fn latency(samples: &[Sample]) -> Option<LatencyUs> {
    let seen: Vec<&Latency> = samples.iter().filter_map(|of| of.latency.as_ref()).collect();
    let values = |pick: fn(&Latency) -> f64| seen.iter().map(|of| pick(of)).collect::<Vec<_>>();
    let p99_all = values(|of| of.p99);
    let p99 = median(&p99_all)?;
    let nearest = |of: &&&Latency| (of.p99 - p99).abs();
    let typical = seen.iter().min_by(|a, b| nearest(a).total_cmp(&nearest(b)))?;
    Some(LatencyUs {
        p50: median(&values(|of| of.p50))?,
        p99,
        p999: median(&values(|of| of.p999))?,
        p50_all: values(|of| of.p50),
        p99_all,
        curve: typical.curve.clone(),
    })
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn sample(cpu: f64, p99: f64) -> Sample {
        Sample {
            units: 1000,
            seconds: 0.5,
            cpu_ns_per_unit: Some(cpu),
            latency: Some(Latency {
                p50: p99 / 2.0,
                p99,
                p999: p99 * 2.0,
                curve: vec![(99.0, p99)],
                ..Latency::default()
            }),
            lost: 1,
            figures: BTreeMap::from([("core_ns_per_unit", cpu * 2.0)]),
            ..Sample::default()
        }
    }

    fn udp() -> &'static Scenario {
        Scenario::find("udp-1200").unwrap()
    }

    #[test]
    fn repeats_become_medians_and_losses_a_sum() {
        let mut cell = Cell::default();
        for (cpu, p99) in [(3.0, 30.0), (1.0, 10.0), (2.0, 90.0)] {
            cell.add(Ok(sample(cpu, p99)));
        }
        let outcome = cell.outcome(udp(), "weir");
        assert_eq!(outcome.cpu_ns_per_unit.unwrap().median, 2.0);
        assert_eq!(outcome.rate_per_s.unwrap().median, 2000.0);
        let latency = outcome.latency_us.unwrap();
        assert_eq!((latency.p50, latency.p99, latency.p999), (15.0, 30.0, 60.0));
        assert_eq!(latency.curve, [(99.0, 30.0)], "of the repeat in the middle");
        assert_eq!((outcome.lost, outcome.repeats), (3, 3));
        assert_eq!(outcome.figures["core_ns_per_unit"], 4.0);
    }

    #[test]
    fn who_never_works_is_given_up_with_the_reason() {
        let mut cell = Cell::default();
        cell.add(Err(anyhow!("no such backend")));
        assert!(!cell.is_hopeless());
        cell.add(Err(anyhow!("no such backend")));
        assert!(cell.is_hopeless());
        let outcome = cell.outcome(udp(), "xsk");
        assert_eq!((outcome.repeats, outcome.cpu_ns_per_unit), (0, None));
        assert_eq!(outcome.notes, ["not measured: no such backend"]);
    }

    #[test]
    fn a_limiting_generator_and_a_noisy_host_are_said_first() {
        let mut cell = Cell::default();
        let limited = Sample { generator_limited: true, steal_percent: 9.0, ..sample(1.0, 1.0) };
        cell.add(Ok(limited));
        cell.add(Ok(Sample { steal_percent: 9.0, notes: vec!["x".into()], ..sample(1.0, 1.0) }));
        let notes = cell.outcome(udp(), "weir").notes;
        assert_eq!(notes[0], "the generator was the limit in 1 of 2 repeats");
        assert!(notes[1].starts_with(NOISY) && notes[2] == "x", "{notes:?}");
    }
}
