//! `weir-load`: see the library.
#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use weir_load::{floor, run, serve, wan};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The load of the benchmark.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Generates load: reads what to do from standard input and prints what happens.
    Run,
    /// The far end: echoes UDP datagrams, gives, takes and answers over TCP.
    Target(serve::TargetArgs),
    /// Forwards UDP and TCP as cheaply as the relay's sockets can, AES-128-GCM included.
    Floor(floor::FloorArgs),
    /// Forwards UDP with delay and loss, as a long way would.
    Wan(wan::WanArgs),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Run => run::run(),
        Command::Target(args) => serve::run(&args),
        Command::Floor(args) => floor::run(&args),
        Command::Wan(args) => wan::run(&args),
    }
}
