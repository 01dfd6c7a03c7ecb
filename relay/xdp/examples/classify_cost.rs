//! `cargo run --release -p weir-xdp --example classify_cost`: what a verdict costs on this host.
//! Needs root.

use std::process::ExitCode;

fn main() -> ExitCode {
    let costs = match weir_xdp::measure_verdicts() {
        Ok(costs) => costs,
        Err(error) => {
            eprintln!("weir-xdp: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("ns/packet  verdict                    packet");
    for cost in costs {
        let verdict = format!("{} {}", cost.verdict.name(), cost.verdict.reason());
        println!("{:>9}  {verdict:<25}  {}", cost.nanoseconds, cost.name);
    }
    ExitCode::SUCCESS
}
