//! The XDP program alone: the kernel runs it a million times on one packet.

use anyhow::{Context, Result, bail};

use super::repeat::Sample;

pub(super) fn run(packet: &str) -> Result<Sample> {
    let costs = weir_xdp::measure_verdicts().context("BPF_PROG_TEST_RUN")?;
    let Some(cost) = costs.iter().find(|cost| cost.name == packet) else {
        let names: Vec<&str> = costs.iter().map(|cost| cost.name).collect();
        bail!("no packet is called {packet:?}: {}", names.join("; "));
    };
    Ok(Sample {
        units: 1,
        cpu_ns_per_unit: Some(f64::from(cost.nanoseconds)),
        notes: vec![format!("verdict {:?}", cost.verdict)],
        ..Sample::default()
    })
}
