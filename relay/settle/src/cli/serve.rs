//! `run` and `check`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use tracing_subscriber::EnvFilter;
use weir_settle::chain::quorum::Quorum;
use weir_settle::config::Config;
use weir_settle::keys::Keys;
use weir_settle::sidecar;
use weir_settle::state::Beside;
use weir_settle::storage::{FileStorage, Snapshot};

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
    let place = Box::new(Beside::of(&config.journal));
    let mut running = sidecar::start_kept(config, storage, Some(place), wallet.clone()).await?;
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

pub(super) async fn check(file: &Path, online: bool) -> Result<ExitCode> {
    let config = super::load(file)?;
    let keys = Keys::open(&config)?;
    // The journal is of this exit, whole, and contradicts neither itself nor the configuration.
    let (journal, book, _) = sidecar::open(&config, Snapshot::of(&config.journal)?)?;
    println!(
        "{} is fine: exit {}, {} channels, wallet {}, journal of {} entries and {} tunnels",
        file.display(),
        config.exit,
        config.channels.len(),
        keys.claim.address(),
        journal.entries(),
        book.tunnels()
    );
    if online { check_chain(&config, &keys).await } else { Ok(ExitCode::SUCCESS) }
}

/// Every endpoint is of this chain and has the contracts, and the wallet has gas money.
async fn check_chain(config: &Config, keys: &Keys) -> Result<ExitCode> {
    let quorum = Quorum::of(&config.chain)?;
    let looked = quorum.look().await;
    let mut wrong = false;
    for endpoint in quorum.endpoints() {
        match (endpoint.block, endpoint.error) {
            (Some(block), _) => println!("{} is fine: block {block}", endpoint.rpc),
            (None, error) => {
                wrong = true;
                println!("{} is WRONG: {}", endpoint.rpc, error.unwrap_or_default());
            }
        }
    }
    looked?;
    let wei = quorum.balance(keys.claim.address()).await?;
    let floor = config.chain.low_balance_wei;
    if wei < floor {
        wrong = true;
        println!("the gas wallet is LOW: {wei} wei, the floor is {floor}");
    } else {
        println!("the gas wallet is fine: {wei} wei");
    }
    Ok(ExitCode::from(u8::from(wrong)))
}
