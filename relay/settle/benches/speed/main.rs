//! What settlement costs: `cargo bench -p weir-settle --bench speed -- verify|journal|claim|start`.
//!
//! Each prints one line of JSON, which `cargo xtask bench --scenario settle` reads: `units` were
//! done in `seconds` with `cpu_ns` of CPU time, and `figures` says what else is worth knowing.

#![forbid(unsafe_code)]

mod claim;
#[expect(dead_code, reason = "the tests' helpers, of which this needs a part")]
#[path = "../../tests/it/common/mod.rs"]
mod common;
mod journal;
mod start;
mod verify;

use std::time::Instant;

use serde_json::{Map, Value, json};

fn main() {
    // `cargo bench` adds options of its own.
    let names: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let measured = match names.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["verify"] => verify::measure(),
        ["journal"] => journal::measure(),
        ["claim"] => claim::measure(),
        ["start"] => start::measure(),
        _ => panic!("say one of verify, journal, claim, start"),
    };
    println!("{}", measured.json());
}

/// What was done, and what it took.
struct Measured {
    units: u64,
    seconds: f64,
    /// Of this process; none where it isn't what the scenario is about.
    cpu_ns: Option<u64>,
    figures: Map<String, Value>,
}

impl Measured {
    fn json(&self) -> Value {
        json!({
            "units": self.units,
            "seconds": self.seconds,
            "cpu_ns": self.cpu_ns,
            "figures": self.figures,
        })
    }
}

/// Time and CPU time of what one thread does.
struct Watch {
    start: Instant,
    cpu_ns: u64,
}

impl Watch {
    fn start() -> Watch {
        Watch { cpu_ns: cpu_ns(), start: Instant::now() }
    }

    /// Seconds, and nanoseconds of CPU.
    fn stop(self) -> (f64, u64) {
        let seconds = self.start.elapsed().as_secs_f64();
        (seconds, cpu_ns() - self.cpu_ns)
    }
}

/// CPU time of this thread so far, by the scheduler's own count.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("schedstat begins with a number")
}
