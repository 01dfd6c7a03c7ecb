//! The kernel programs alone: the kernel runs them many times on one packet.

use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use weir_xdp::{VerdictCost, measure_verdicts};

use super::repeat::Sample;

/// Every packet is timed in one go, so each repeat of all the scenarios takes one measurement.
#[derive(Debug, Default)]
pub struct Costs(RefCell<Vec<Vec<VerdictCost>>>);

impl Costs {
    /// The cost of `packet` in repeat `round`.
    pub(super) fn sample(&self, packet: &str, round: usize) -> Result<Sample> {
        let mut rounds = self.0.borrow_mut();
        while rounds.len() <= round {
            rounds.push(measure_verdicts().context("BPF_PROG_TEST_RUN")?);
        }
        let costs = &rounds[round];
        let Some(cost) = costs.iter().find(|cost| cost.name == packet) else {
            let names: Vec<&str> = costs.iter().map(|cost| cost.name).collect();
            bail!("no packet is called {packet:?}: {}", names.join("; "));
        };
        Ok(Sample {
            units: 1,
            cpu_ns_per_unit: Some(f64::from(cost.nanoseconds)),
            figures: BTreeMap::from([("net_ns_per_unit", f64::from(cost.nanoseconds_net))]),
            notes: vec![format!("verdict {:?}", cost.verdict)],
            ..Sample::default()
        })
    }
}
