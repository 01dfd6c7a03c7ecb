//! Counts and latencies of a run.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::spec::Latency;

/// Percentiles of a plot.
const CURVE: [f64; 20] = [
    0.0, 1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 98.0, 99.0, 99.5,
    99.9, 99.95, 99.99, 100.0,
];

/// Durations, 3 significant digits, up to a minute.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    ns: Histogram<u64>,
}

impl Latencies {
    pub(crate) fn new() -> Latencies {
        let ns = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("sensible bounds");
        Latencies { ns }
    }

    pub(crate) fn record(&mut self, duration: Duration) {
        self.ns.saturating_record(duration.as_nanos() as u64);
    }

    pub(crate) fn clear(&mut self) {
        self.ns.reset();
    }

    /// Microseconds at a percentile.
    pub(crate) fn at(&self, percentile: f64) -> f64 {
        self.ns.value_at_quantile(percentile / 100.0) as f64 / 1e3
    }

    /// None if nothing was recorded.
    pub(crate) fn summary(&self) -> Option<Latency> {
        (!self.ns.is_empty()).then(|| Latency {
            count: self.ns.len(),
            p50: self.at(50.0),
            p90: self.at(90.0),
            p99: self.at(99.0),
            p999: self.at(99.9),
            max: self.ns.max() as f64 / 1e3,
            curve: CURVE.iter().map(|&percentile| (percentile, self.at(percentile))).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_has_the_percentiles_of_what_was_recorded() {
        let mut latencies = Latencies::new();
        assert!(latencies.summary().is_none());
        for us in 1..=1000 {
            latencies.record(Duration::from_micros(us));
        }
        let summary = latencies.summary().unwrap();
        let near = |a: f64, b: f64| (a - b).abs() <= b / 500.0;
        assert_eq!(summary.count, 1000);
        assert!(near(summary.p50, 500.0) && near(summary.p99, 990.0), "{summary:?}");
        assert!(near(summary.p999, 999.0) && near(summary.max, 1000.0), "{summary:?}");
        assert!(summary.curve.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
        assert!(near(summary.curve[0].1, 1.0));
        latencies.clear();
        assert!(latencies.summary().is_none());
    }
}
