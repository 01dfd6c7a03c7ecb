//! Latencies, as an HDR histogram with three significant digits.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// A minute; nothing here waits longer for an answer.
const NS_MAX: u64 = 60_000_000_000;

pub(super) struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Latencies {
        // The bounds are constants that the histogram accepts.
        Latencies(Histogram::new_with_bounds(1, NS_MAX, 3).expect("constant bounds"))
    }
}

impl Latencies {
    pub(super) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(NS_MAX));
    }

    /// The value at a quantile, in microseconds.
    pub(super) fn us(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "count": self.0.len(),
            "p50_us": self.us(0.50),
            "p90_us": self.us(0.90),
            "p99_us": self.us(0.99),
            "max_us": self.0.max() as f64 / 1000.0,
        })
    }
}
