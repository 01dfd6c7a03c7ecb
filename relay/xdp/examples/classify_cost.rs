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
    println!("   ns  least    net  verdict                  packet");
    for cost in costs {
        let verdict = format!("{} {}", cost.verdict.name(), cost.verdict.reason());
        let (median, least) = (cost.nanoseconds, cost.nanoseconds_min);
        println!(
            "{median:>5}  {least:>5}  {:>5}  {verdict:<23}  {}",
            cost.nanoseconds_net, cost.name
        );
    }
    ExitCode::SUCCESS
}
