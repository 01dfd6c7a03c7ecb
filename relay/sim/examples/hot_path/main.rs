//! What the engine costs, without any I/O: real clients (quinn-proto, real TLS) and the real engine
//! in one process, and a clock around nothing but the engine's calls.
//!
//! ```text
//! cargo run --release -p weir-sim --example hot_path -- udp-up 1000000
//! valgrind --tool=callgrind --collect-atstart=no \
//!     --toggle-collect='hot_path::engine_side::*' --zero-before='hot_path::rig::Rig::reset' \
//!     target/release/examples/hot_path udp-up 20000
//! ```
//!
//! The calls that count are those of `engine_side`; a profiler is pointed at that module. Rounds
//! before the connections have settled are not counted. Virtual time advances by a fixed step per
//! turn, so the work is the same in every run but for the keys and the hash maps' seeds.

use std::time::Duration;

mod engine_side;
mod handshakes;
mod idle;
mod memory_io;
mod rig;
mod tcp;
mod udp;

use udp::Shape;

/// As in the daemon.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a mode measured.
struct Outcome {
    unit: &'static str,
    units: u64,
    engine: Duration,
    /// Anything worth saying beside the figure.
    note: String,
}

type Mode = (&'static str, fn(u64) -> Outcome, &'static str);

const MODES: &[Mode] = &[
    ("udp-up", |n| udp::up(n, Shape::TRAINS), "1200 B in trains, 2 connections"),
    ("udp-down", |n| udp::down(n, Shape::TRAINS), "the same towards the clients"),
    ("udp-echo", |n| udp::echo(n, Shape::TRAINS), "both at once; a unit is one direction"),
    ("udp-up-lone", |n| udp::up(n, Shape::LONE), "one 1200 B datagram per connection and turn"),
    ("udp-down-lone", |n| udp::down(n, Shape::LONE), "the same towards the clients"),
    ("udp-64-up", |n| udp::up(n, Shape::SMALL), "64 B, many in one packet"),
    ("udp-64-down", |n| udp::down(n, Shape::SMALL), "the same towards the clients"),
    ("udp-64-up-lone", |n| udp::up(n, Shape::SMALL_UNPACKED), "64 B, each in its own packet"),
    ("udp-64-down-lone", |n| udp::down(n, Shape::SMALL_LONE), "64 B, one per turn"),
    ("udp-scattered-up", |n| udp::up(n, Shape::SCATTERED), "1,000 tunnels, no trains to targets"),
    ("udp-scattered-down", |n| udp::down(n, Shape::SCATTERED), "the same towards the clients"),
    ("tcp-up", tcp::up, "two tunnels; a unit is 1,000 bytes"),
    ("tcp-down", tcp::down, "the same towards the clients"),
    ("handshake", handshakes::full, "full handshakes, from Initial to the end of the connection"),
    ("handshake-resumed", handshakes::resumed, "the same with session tickets"),
    ("idle", idle::parent, "resident bytes per connection and tunnel"),
];

/// Turns before anything is measured: under valgrind, fewer than the mode's own will do.
fn warm_up(turns: usize) -> usize {
    std::env::args().nth(3).and_then(|text| text.parse().ok()).unwrap_or(turns)
}

fn main() {
    let mut args = std::env::args().skip(1);
    let mode = args.next().unwrap_or_default();
    let count = args.next().and_then(|text| text.parse().ok());
    if mode == idle::CHILD {
        return idle::child();
    }
    let Some((_, run, _)) = MODES.iter().find(|(name, ..)| *name == mode) else {
        eprintln!("usage: hot_path MODE [UNITS [WARM-UP TURNS]]\n");
        for (name, _, what) in MODES {
            eprintln!("  {name:20} {what}");
        }
        std::process::exit(2);
    };
    let outcome = run(count.unwrap_or(100_000));
    let nanos = outcome.engine.as_nanos() as f64 / outcome.units.max(1) as f64;
    println!(
        "{mode}: {nanos:.1} ns per {} ({} of them) {}",
        outcome.unit, outcome.units, outcome.note
    );
}
