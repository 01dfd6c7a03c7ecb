//! `weir-lab`: the targets and the applications of the lab. Every `drive` prints one JSON object
//! and exits with 0 only if all that it checked was right.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use weir_bench::lab::{drive, serve};

#[derive(Parser)]
#[command(name = "weir-lab", about = "Targets and applications for the lab")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Be the internet: HTTP/1.1, HTTP/3, UDP echo and DNS, until SIGINT or SIGTERM.
    Serve(serve::Args),
    /// Be an application, directly or through a proxy; prints one JSON object.
    Drive(drive::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => match serve::run(args).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("weir-lab serve: {error:#}");
                ExitCode::FAILURE
            }
        },
        Command::Drive(args) => {
            let report = drive::run(args).await;
            println!("{}", report.json());
            if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    }
}
