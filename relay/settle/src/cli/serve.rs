//! `run` and `check`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use tracing_subscriber::EnvFilter;
use weir_settle::keys::Keys;
use weir_settle::sidecar;
use weir_settle::storage::FileStorage;

pub(super) async fn run(file: &Path) -> Result<ExitCode> {
    let filter = EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // Its spans show the endpoint's whole URL, which holds the provider's API key.
    let filter = filter.add_directive("alloy_transport_http=off".parse()?);
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let config = super::load(file)?;
    let keys = Keys::open(&config)?;
    let wallet = keys.claim;
    let storage = FileStorage::open(&config.journal)?;
    // Before the sockets exist, so that a signal right after start is not lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (socket, channels) = (config.socket.clone(), config.channels.len());
    let mut running = sidecar::start(config, storage, wallet.clone()).await?;
    info!(socket = %socket.display(), channels, wallet = %wallet.address(), "ready");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        error = running.failed() => return Err(error.into()),
    }
    info!("stopping");
    running.stop().await?;
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

pub(super) fn check(file: &Path) -> Result<ExitCode> {
    let config = super::load(file)?;
    let keys = Keys::open(&config)?;
    println!(
        "{} is fine: exit {}, {} channels, wallet {}",
        file.display(),
        config.exit,
        config.channels.len(),
        keys.claim.address()
    );
    Ok(ExitCode::SUCCESS)
}
