//! Every chore of the project has a name: `cargo xtask <chore>`.
//!
//! Nothing here is linked with the relay: chores start the project's binaries as a user would.
#![forbid(unsafe_code)]
#![expect(unreachable_pub, reason = "a binary: `pub` says what other modules use")]

mod bench;
mod contracts;
mod demo;
mod ebpf;
mod http;
mod instructions;
mod peers;
mod settle;
mod setup;
mod sh;
mod test;
mod tidy;
mod vendor;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask <chore>

  demo   [--json] [--keep] [--unprivileged]   set up, then relay, count and settle real traffic
  bench  [--plan quick|full|sla] [--help]     set up, then measure the relay beside its baselines
  test   [--skip-demo]                        set up, then every check and test
  setup                                       only the set-up of the two above
  ebpf   build | check | verify               the kernel object: rebuild, compare, load
  contracts build | check | gas | test        the contracts: rebuild, compare, measure, forge tests
  instructions [--update] [SCENARIO ...]      hot paths against their committed counts
  settle-torture [--runs N] [--seed N]        the sidecar dies at every step, with a model chain
  vendor check | apply | test                 quinn-proto is its release and our patches
  tidy                                        rules that the compiler can't check
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (chore, rest) = match args.split_first() {
        Some((chore, rest)) => (chore.as_str(), rest),
        None => ("help", &[][..]),
    };
    let done = match chore {
        "demo" => demo::run(rest),
        "bench" => bench::run(rest),
        "test" => test::run(rest),
        "setup" => setup::run(setup::Need::all()),
        "ebpf" => ebpf::run(rest),
        "contracts" => contracts::run(rest),
        "instructions" => instructions::run(rest),
        "settle-torture" => settle::torture(rest),
        "tidy" => tidy::run(rest),
        "vendor" => vendor::run(rest),
        http::CHORE => http::run(rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        other => Err(anyhow::anyhow!("no chore is called {other:?}\n\n{USAGE}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
