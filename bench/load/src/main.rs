//! `weir-load`: see the library.
#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use weir_load::floor;

/// The load of the benchmark.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Forwards UDP and TCP as cheaply as the relay's sockets can, AES-128-GCM included.
    Floor(floor::FloorArgs),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Floor(args) => floor::run(&args),
    }
}
