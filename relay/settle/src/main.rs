//! `weir-settle`: the settlement sidecar of a Weir exit, and the tools around it.

#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = cli::Args::parse();
    match cli::run(args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weir-settle: {error:#}");
            let code = error.downcast_ref::<weir_settle::Error>().map_or(1, |e| e.exit_code());
            ExitCode::from(code)
        }
    }
}
