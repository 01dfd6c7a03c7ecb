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
            // Our own errors name their cause already.
            let Some(own) = error.downcast_ref::<weir_settle::Error>() else {
                eprintln!("weir-settle: {error:#}");
                return ExitCode::FAILURE;
            };
            match own {
                weir_settle::Error::DryRun { .. } => println!("{own}"),
                _ => eprintln!("weir-settle: {own}"),
            }
            let code = own.exit_code();
            ExitCode::from(code)
        }
    }
}
