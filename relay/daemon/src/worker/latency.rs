//! How long the relay keeps a packet: from the moment a turn woke up to the end of its flush.

use std::time::Duration;

use hdrhistogram::Histogram;

/// A second is far beyond any turn; longer ones are counted as a second.
const HIGHEST_NS: u64 = 1_000_000_000;

/// Two digits keep a histogram below 30 KiB, and its error at 1 %.
const DIGITS: u8 = 2;

/// Relay-added latency in nanoseconds, each turn weighted by the UDP datagrams that it carried.
#[derive(Clone, Debug)]
pub(crate) struct Latency {
    histogram: Histogram<u64>,
    sum_ns: u128,
}

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, HIGHEST_NS, DIGITS);
        Self { histogram: histogram.expect("the bounds are in range"), sum_ns: 0 }
    }
}

impl Latency {
    /// Counts a turn that carried `datagrams`.
    pub(crate) fn record(&mut self, turn: Duration, datagrams: u64) {
        let ns = u64::try_from(turn.as_nanos()).unwrap_or(HIGHEST_NS).clamp(1, HIGHEST_NS);
        self.histogram.saturating_record_n(ns, datagrams);
        self.sum_ns += u128::from(ns) * u128::from(datagrams);
    }

    /// Adds what another worker recorded.
    pub(crate) fn merge(&mut self, other: &Self) {
        // Both were made with the same bounds, which is all that adding asks for.
        if self.histogram.add(&other.histogram).is_ok() {
            self.sum_ns += other.sum_ns;
        }
    }

    /// Datagrams recorded.
    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }

    pub(crate) fn sum_seconds(&self) -> f64 {
        self.sum_ns as f64 / 1e9
    }

    /// The latency that a share `quantile` (0 to 1) of all datagrams stayed below, in ns.
    pub(crate) fn quantile_ns(&self, quantile: f64) -> u64 {
        self.histogram.value_at_quantile(quantile)
    }

    /// Datagrams that took at most `ns`.
    pub(crate) fn count_below(&self, ns: u64) -> u64 {
        self.histogram.count_between(1, ns)
    }
}
