//! `weir-bench`: measures the relay beside its baselines. `cargo xtask bench` builds and starts it.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use weir_bench::run::{self, args::Args, launch};

#[derive(Debug, Parser)]
#[command(name = "weir-bench", version, about = "Measure the relay beside its baselines")]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    args: Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Become another program in the lab.
    #[command(name = launch::COMMAND, hide = true)]
    Launch(launch::Launch),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Launch(launch)) => launch::run(launch).map(|never| match never {}),
        None => run::bench(&cli.args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
