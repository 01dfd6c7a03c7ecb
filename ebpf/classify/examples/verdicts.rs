//! What one classification costs, verdict by verdict, on the host: for counting instructions.
//!
//! ```text
//! cargo run --release -p weir-classify --example verdicts -- flow-udp 100000
//! valgrind --tool=callgrind --collect-atstart=no --toggle-collect='verdicts::classified' \
//!     target/release/examples/verdicts flow-udp 1000
//! ```
//!
//! The kernel's program is compiled from the same functions for another machine, so the figures say
//! which way a change went, not what it costs there: `weir doctor --measure` does.

#[path = "../tests/frames/mod.rs"]
mod frames;

use std::hint::black_box;

use weir_abi::{Config, Direction};
use weir_classify::{Classified, classify};

/// Modes and the names of their frames in the table of the tests.
const MODES: [(&str, &str); 7] = [
    ("flow-udp", "UDP"),
    ("flow-udp6", "UDP over IPv6"),
    ("flow-tcp", "TCP"),
    ("flow-odd", "40 bytes of options"),
    ("ours", "short header"),
    ("drop", "Initial of 1199"),
    ("foreign", "ARP"),
];

fn main() {
    let mut args = std::env::args().skip(1);
    let mode = args.next().unwrap_or_default();
    let count = args.next().and_then(|text| text.parse().ok()).unwrap_or(1000_u64);
    let Some((_, name)) = MODES.iter().find(|(known, _)| *known == mode) else {
        let known: Vec<&str> = MODES.iter().map(|(known, _)| *known).collect();
        eprintln!("usage: verdicts MODE [UNITS]\n\n  MODE: {}", known.join(", "));
        std::process::exit(2);
    };
    let table = frames::table();
    let frame = table.iter().find(|frame| frame.name == *name).expect("the table has the frame");
    let config = frames::config();
    for _ in 0..count {
        let got = classified(black_box(&frame.bytes), black_box(&config));
        assert_eq!((got.verdict, got.payload_len), (frame.verdict, frame.payload_len));
    }
    println!("{mode}: {name:?} ({count} of them)");
}

/// What a profiler is pointed at.
#[inline(never)]
fn classified(frame: &[u8], config: &Config) -> Classified {
    classify(&frame, config, Direction::Ingress)
}
