//! `weir measure`: a customer that says what it got.

use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use weir_measure::{Config, Measurer};

use crate::config::{LogConfig, LogFormat};
use crate::failure::Failure;
use crate::logging;

#[derive(Debug, Args)]
pub struct MeasureArgs {
    /// The configuration; configs/measure.toml is a commented example
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Only check the configuration
    #[arg(long)]
    check: bool,
    /// Log level
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
}

/// # Errors
/// A wrong configuration, or a statement that can't be kept.
pub fn measure(args: &MeasureArgs) -> Result<(), Failure> {
    logging::start(&LogConfig { format: LogFormat::Text, level: args.log.clone() });
    let config = Config::read(&args.config).map_err(failure)?;
    if args.check {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Internal(error.into()))?;
    let said = runtime.block_on(async {
        let listen = |kind| signal(kind).map_err(|error| Failure::Internal(error.into()));
        let (mut terminate, mut interrupt) =
            (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        Measurer::new(config).run(stop).await.map_err(failure)
    })?;
    tracing::info!(said.good, said.bad, said.nothing, "the measurer ends");
    Ok(())
}

fn failure(error: weir_measure::Error) -> Failure {
    match error.is_configuration() {
        true => Failure::Config(error.to_string()),
        false => Failure::Unavailable(error.to_string()),
    }
}
