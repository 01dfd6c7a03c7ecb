//! One repeat: a fresh subject, one run of the generator, and what the kernel says it cost.

mod idle;
pub mod load;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use weir_load::spec::Latency;

use super::scenario::{Kind, Scenario};
use super::subject::{Bed, Subject};
use super::target::Target;
use super::xdp::Costs;

/// What a repeat needs besides its subject.
#[derive(Debug)]
pub struct Ground<'a> {
    pub bed: Bed<'a>,
    pub target: &'a Target,
    pub costs: Costs,
}

/// How one repeat is run.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    pub warmup: Duration,
    pub measure: Duration,
    pub seed: u64,
    /// Which repeat it is, from 0.
    pub round: usize,
    /// UDP datagrams per second of a paced scenario.
    pub per_s: f64,
    /// For its configuration and logs.
    pub dir: &'a Path,
}

/// What one repeat showed.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    pub units: u64,
    pub seconds: f64,
    pub cpu_ns_per_unit: Option<f64>,
    pub latency: Option<Latency>,
    pub rss_bytes: Option<u64>,
    pub lost: u64,
    pub corrupt: u64,
    pub figures: BTreeMap<&'static str, f64>,
    pub notes: Vec<String>,
    pub generator_limited: bool,
    pub steal_percent: f64,
    pub others_percent: f64,
}

/// Runs `subject` through `scenario` once.
///
/// # Errors
/// When anything in it fails; with the words of what failed.
pub fn run(
    ground: &Ground,
    scenario: &Scenario,
    subject: &dyn Subject,
    conditions: &Conditions,
) -> Result<Sample> {
    match &scenario.kind {
        Kind::Load(load) => load::run(ground, load, subject, conditions),
        Kind::Idle { connections, tunnels_per_connection } => {
            idle::run(ground, *connections, *tunnels_per_connection, subject, conditions)
        }
        Kind::Xdp(packet) => ground.costs.sample(packet, conditions.round),
        Kind::Test { package, target } => super::cargo_test::run(package, target),
        Kind::Bench { package, target, what } => super::cargo_bench::run(package, target, what),
    }
}
