//! The binary `weir`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;
use weir::cli::Cli;

/// Buffers cross threads only at the edges, and mimalloc keeps each worker's apart.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("weir: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
