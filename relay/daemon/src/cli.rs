//! The command line.

pub mod check;
pub mod client;
pub mod doctor;
pub mod measure;
pub mod status;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::failure::Failure;

/// Exit codes, for the help text.
const EXIT_CODES: &str = "Exit codes: 0 fine, 2 wrong arguments, 69 something outside is not as \
needed (a port in use, no answer), 70 internal error, 77 missing privilege, 78 wrong configuration";

/// A metered exit relay for MASQUE clients.
#[derive(Debug, Parser)]
#[command(name = "weir", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a relay
    Run {
        /// The configuration; configs/ has commented examples
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Check a configuration, and everything on this host that it refers to
    Check {
        #[arg(value_name = "FILE")]
        config: PathBuf,
    },
    /// Run a local proxy whose traffic leaves through a relay
    Client(Box<client::ClientArgs>),
    /// Measure an exit as its customer, interval by interval, and sign what was seen
    Measure(measure::MeasureArgs),
    /// Look at what this host offers a relay, and say what to do about what is missing
    Doctor(doctor::DoctorArgs),
    /// Ask a running relay how it is
    Status(status::StatusArgs),
    /// Make a running relay finish its tunnels and end
    Drain(status::AdminArgs),
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// With the exit code that the failure deserves.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Run { config } => crate::run::run(&config),
            Command::Check { config } => check::check(&config),
            Command::Client(args) => client::client(*args),
            Command::Measure(args) => measure::measure(&args),
            Command::Doctor(args) => doctor::doctor(&args),
            Command::Status(args) => status::status(&args),
            Command::Drain(args) => status::drain(&args),
        }
    }
}
