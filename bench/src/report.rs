//! A run as it is kept: JSON with a versioned schema, and what is made of it.

pub mod compare;
pub mod html;
mod svg;
pub mod table;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::stats::Spread;

/// Name and version of the form. A field that is added needs no new version; one that changes its
/// meaning does.
pub const SCHEMA: &str = "weir-bench/1";

/// A kept run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub schema: String,
    pub host: Host,
    pub results: Vec<Outcome>,
}

/// What the figures depend on besides the code.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    pub cpu: String,
    pub cpus: usize,
    /// Which CPUs the relay, the generator and the targets were kept on.
    pub pinning: String,
    pub memory_bytes: u64,
    pub kernel: String,
    pub hypervisor: bool,
    /// What the kernel says about each CPU vulnerability that this host has.
    pub mitigations: BTreeMap<String, String>,
    /// `namespaces` or `loopback`.
    pub lab: String,
    /// Link type, MTU and offloads of each interface.
    pub links: Vec<String>,
    /// Each backend and whether it runs here, or why not.
    pub backends: BTreeMap<String, String>,
    /// Share of the CPU time that the hypervisor gave to others while the run lasted.
    pub steal_percent: f64,
    /// Share of the CPU time that went to processes that are no part of the bench.
    pub others_percent: f64,
    pub load_average_before: f64,
    /// When the run began, in seconds since 1970.
    pub started_unix_s: u64,
    pub took_s: f64,
    /// Commit of the checkout, with `-dirty` if it has changes.
    pub commit: String,
    pub plan: String,
}

/// One scenario with one subject.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub scenario: String,
    pub subject: String,
    /// What `cpu_ns_per_unit` and `rate_per_s` count.
    pub unit: String,
    /// The relay's own user and system time. None where there is no relay, or it wasn't measured.
    pub cpu_ns_per_unit: Option<Spread>,
    pub rate_per_s: Option<Spread>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<LatencyUs>,
    /// Resident memory of the relay at the end of a repeat, median.
    pub rss_bytes: Option<u64>,
    /// CPU per unit, divided by that of `floor` in the same scenario.
    pub ratio_to_floor: Option<f64>,
    /// How many were measured; 0 with the reason in `notes` if the subject can't run.
    pub repeats: u32,
    /// In all repeats: sent and not answered, or requests that failed.
    pub lost: u64,
    /// In all repeats: answers with other content than what was asked for.
    pub corrupt: u64,
    /// Whatever else the scenario is about, medians; SLA.md and METHOD.md name them.
    #[serde(default)]
    pub figures: BTreeMap<String, f64>,
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Medians over the repeats, in microseconds; open-loop runs count from when a datagram was due.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyUs {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    /// Each repeat, for comparisons.
    pub p50_all: Vec<f64>,
    pub p99_all: Vec<f64>,
    /// (percentile, microseconds) of the repeat with the median p99, for the plot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<(f64, f64)>,
}

impl Run {
    /// Reads a kept run.
    ///
    /// # Errors
    /// When it can't be read, or has another schema.
    pub fn load(path: &Path) -> Result<Run> {
        let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        let value: serde_json::Value = serde_json::from_str(&text)
            .with_context(|| format!("{} is not JSON", path.display()))?;
        if value["schema"] != SCHEMA {
            bail!(
                "{} has the schema {}, and this program reads {SCHEMA:?}: measure it again",
                path.display(),
                value["schema"]
            );
        }
        serde_json::from_value(value)
            .with_context(|| format!("{} doesn't hold what {SCHEMA} promises", path.display()))
    }

    /// Writes it, indented, with a line feed at the end.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(path, text).with_context(|| format!("can't write {}", path.display()))
    }

    pub fn outcome(&self, scenario: &str, subject: &str) -> Option<&Outcome> {
        self.results.iter().find(|of| of.scenario == scenario && of.subject == subject)
    }

    /// A figure by the name that SLA.md uses. `ratio_to_X` is the CPU per unit divided by that of
    /// the subject X in the same scenario, or of the same subject in the scenario X.
    pub fn metric(&self, scenario: &str, subject: &str, metric: &str) -> Option<f64> {
        let outcome = self.outcome(scenario, subject).filter(|outcome| outcome.repeats > 0)?;
        let cpu = |of: &Outcome| of.cpu_ns_per_unit.as_ref().map(|spread| spread.median);
        let latency = |of: &Outcome, pick: fn(&LatencyUs) -> f64| of.latency_us.as_ref().map(pick);
        if let Some(other) = metric.strip_prefix("ratio_to_") {
            let other = self.outcome(scenario, other).or_else(|| self.outcome(other, subject))?;
            return Some(cpu(outcome)? / cpu(other)?);
        }
        if let Some(which) = metric.strip_prefix("added_") {
            let pick = latency_metric(which)?;
            let direct = self.outcome(scenario, "direct")?;
            return Some(latency(outcome, pick)? - latency(direct, pick)?);
        }
        if let Some(pick) = latency_metric(metric) {
            return latency(outcome, pick);
        }
        match metric {
            "cpu_ns_per_unit" => cpu(outcome),
            "per_cpu_second" => Some(1e9 / cpu(outcome)?),
            "rate_per_s" => outcome.rate_per_s.as_ref().map(|spread| spread.median),
            "rss_bytes" => outcome.rss_bytes.map(|bytes| bytes as f64),
            "lost" => Some(outcome.lost as f64),
            "corrupt" => Some(outcome.corrupt as f64),
            other => outcome.figures.get(other).copied(),
        }
    }

    /// Fills in every `ratio_to_floor`.
    pub fn relate_to_floor(&mut self) {
        let ratios: Vec<Option<f64>> = self
            .results
            .iter()
            .map(|of| self.metric(&of.scenario, &of.subject, "ratio_to_floor"))
            .collect();
        for (outcome, ratio) in self.results.iter_mut().zip(ratios) {
            outcome.ratio_to_floor = ratio;
        }
    }
}

fn latency_metric(name: &str) -> Option<fn(&LatencyUs) -> f64> {
    Some(match name {
        "p50_us" => |latency| latency.p50,
        "p99_us" => |latency| latency.p99,
        "p999_us" => |latency| latency.p999,
        _ => return None,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An outcome with one figure.
    pub(crate) fn outcome(scenario: &str, subject: &str, cpu: &[f64]) -> Outcome {
        Outcome {
            scenario: scenario.to_owned(),
            subject: subject.to_owned(),
            unit: "datagram".to_owned(),
            cpu_ns_per_unit: Spread::of(cpu.iter().copied()),
            rate_per_s: Spread::of(cpu.iter().map(|ns| 1e9 / ns)),
            repeats: cpu.len() as u32,
            ..Outcome::default()
        }
    }

    pub(crate) fn run(results: Vec<Outcome>) -> Run {
        Run { schema: SCHEMA.to_owned(), host: Host::default(), results }
    }

    #[test]
    fn a_kept_run_reads_back_as_it_was_and_has_the_promised_keys() {
        let mut with_latency = outcome("rtt-10", "weir", &[1.0, 2.0, 3.0]);
        with_latency.latency_us = Some(LatencyUs {
            p50: 1.5,
            p99: 2.5,
            p999: 3.5,
            curve: vec![(50.0, 1.5), (100.0, 9.0)],
            ..LatencyUs::default()
        });
        with_latency.figures.insert("core_ns_per_unit".to_owned(), 7.0);
        let run = run(vec![with_latency, outcome("udp-64", "direct", &[])]);
        let file = tempfile::NamedTempFile::new().unwrap();
        run.save(file.path()).unwrap();
        assert_eq!(Run::load(file.path()).unwrap(), run);

        let value: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(file.path()).unwrap()).unwrap();
        let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["host", "results", "schema"]);
        let result = value["results"][0].as_object().unwrap();
        for key in [
            "scenario",
            "subject",
            "unit",
            "cpu_ns_per_unit",
            "rate_per_s",
            "latency_us",
            "rss_bytes",
            "ratio_to_floor",
            "repeats",
            "notes",
            "lost",
            "corrupt",
        ] {
            assert!(result.contains_key(key), "{key}");
        }
        for key in ["median", "min", "max", "all"] {
            assert!(!value["results"][0]["cpu_ns_per_unit"][key].is_null(), "{key}");
        }
        for key in ["p50", "p99", "p999"] {
            assert!(value["results"][0]["latency_us"][key].is_f64(), "{key}");
        }
        assert!(value["results"][1]["cpu_ns_per_unit"].is_null());
    }

    #[test]
    fn another_schema_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), r#"{"schema":"weir-bench/0","host":{},"results":[]}"#).unwrap();
        let error = Run::load(file.path()).unwrap_err().to_string();
        assert!(error.contains("weir-bench/0") && error.contains(SCHEMA), "{error}");
    }

    #[test]
    fn metrics_relate_subjects_and_scenarios() {
        let mut run = run(vec![
            outcome("udp-1200", "weir", &[1000.0]),
            outcome("udp-1200", "floor", &[500.0]),
            outcome("workers-1", "weir", &[800.0]),
            outcome("workers-2", "weir", &[880.0]),
            outcome("udp-1200", "direct", &[]),
        ]);
        run.relate_to_floor();
        assert_eq!(run.outcome("udp-1200", "weir").unwrap().ratio_to_floor, Some(2.0));
        assert_eq!(run.metric("workers-2", "weir", "ratio_to_workers-1"), Some(1.1));
        assert_eq!(run.metric("udp-1200", "weir", "per_cpu_second"), Some(1e6));
        assert_eq!(run.metric("udp-1200", "weir", "no_such_figure"), None);
        assert_eq!(run.metric("udp-1200", "direct", "lost"), None, "it was not measured");
    }
}
