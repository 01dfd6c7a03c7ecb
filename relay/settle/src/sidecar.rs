//! Everything put together: one journal, one clerk, one driver, three sockets.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tracing::{info, warn};

use crate::book::Book;
use crate::chain::quorum::Quorum;
use crate::chain::{Driver, DriverHandle, Past};
use crate::clerk::{Clerk, ClerkHandle};
use crate::config::Config;
use crate::control;
use crate::error::Error;
use crate::journal::entry::SampleDay;
use crate::journal::{Header, Journal, read_header};
use crate::keys::{self, Wallet, random32};
use crate::lock::Lock;
use crate::metrics;
use crate::server::{self, ServerCounters};
use crate::service::{self, Desk};
use crate::state::{self, Doubt, Keeper, Place};
use crate::storage::Storage;

/// What the operator's side needs: the handles and the figures.
#[derive(Debug, Clone)]
pub struct Sidecar {
    /// The way to the clerk.
    pub clerk: ClerkHandle,
    /// The way to the chain.
    pub driver: DriverHandle,
    /// The relay's socket.
    pub server: Arc<ServerCounters>,
    /// What was configured.
    pub config: Arc<Config>,
}

/// A sidecar that runs.
#[derive(Debug)]
pub struct Running {
    /// For whoever lives in the same process.
    pub sidecar: Sidecar,
    stop: watch::Sender<bool>,
    clerk: JoinHandle<Result<(), Error>>,
    tasks: JoinSet<()>,
    // Held, never read: nobody else on this host signs with the usage key.
    _usage_key: Option<Lock>,
}

/// Replays the journal, opens the sockets and starts all tasks.
///
/// # Errors
/// Whatever keeps it from starting; nothing is left running then.
pub async fn start<S>(config: Config, storage: S, wallet: Wallet) -> Result<Running, Error>
where
    S: Storage + 'static,
{
    start_kept(config, storage, None, wallet).await
}

/// As [`start`], with the state of `place`: only what the journal has beyond it is replayed.
///
/// # Errors
/// As [`start`].
pub async fn start_kept<S>(
    config: Config,
    storage: S,
    place: Option<Box<dyn Place>>,
    wallet: Wallet,
) -> Result<Running, Error>
where
    S: Storage + 'static,
{
    let usage_key =
        config.usage_key.as_ref().map(|usage| keys::hold(&usage.key)).transpose()?.flatten();
    let fresh = fresh(&config)?;
    let Opened { journal, book, past, keeper } = match place {
        Some(place) => resume(&config, storage, fresh, place)?,
        None => {
            let (journal, book, past) = open(&config, storage)?;
            Opened { journal, book, past, keeper: None }
        }
    };
    info!(
        bytes = journal.len_bytes(),
        entries = journal.entries(),
        tunnels = book.tunnels(),
        "journal replayed"
    );
    let desk = desk(&config, &book, &past, crate::now_ms())?;
    let rpc = Quorum::of(&config.chain)?;
    let listener = server::bind(&config.socket, config.socket_mode)?;
    let control = server::bind(&config.control, 0o600)?;
    let admin = match config.admin {
        Some(address) => Some(metrics::bind(address).await?),
        None => None,
    };
    let (stop, stopped) = watch::channel(false);
    let (clerk, handle) = Clerk::new(&config, journal, book, stopped.clone());
    let clerk = clerk.with_desk(desk).with_keeper(keeper);
    let (driver, driver_handle) =
        Driver::new(&config, rpc, wallet, handle.clone(), past, stopped.clone());
    let driver = match config.duties.bond {
        Some(_) => driver.with_usage_key(&config, service::usage_key(&config)?),
        None => driver,
    };
    let sidecar = Sidecar {
        clerk: handle.clone(),
        driver: driver_handle,
        server: Arc::new(ServerCounters::default()),
        config: Arc::new(config),
    };
    let clerk = tokio::spawn(clerk.run());
    let mut tasks = JoinSet::new();
    tasks.spawn(driver.run());
    tasks.spawn(server::serve(
        listener,
        sidecar.config.exit,
        handle,
        Arc::clone(&sidecar.server),
        stopped.clone(),
    ));
    tasks.spawn(control::serve(control, sidecar.clone(), stopped.clone()));
    if let Some(admin) = admin {
        tasks.spawn(metrics::serve(admin, sidecar.clone(), stopped));
    }
    Ok(Running { sidecar, stop, clerk, tasks, _usage_key: usage_key })
}

/// What a sidecar starts from.
#[derive(Debug)]
pub struct Opened<S> {
    /// The journal, at its end.
    pub journal: Journal<S>,
    /// The book at its end.
    pub book: Book,
    /// The outbox at its end.
    pub past: Past,
    /// Who keeps the state of both.
    pub keeper: Option<Keeper>,
}

/// Opens a journal by its kept state and the entries after it, or without it by all of them.
///
/// # Errors
/// As [`open`].
pub fn resume<S: Storage>(
    config: &Config,
    storage: S,
    fresh: Header,
    place: Box<dyn Place>,
) -> Result<Opened<S>, Error> {
    let kept = match read_header(&storage)? {
        Some(header) => state::load(config, &header, &storage, &*place)?,
        None => Err(Doubt::Missing),
    };
    let kept = match kept {
        Ok(kept) => kept,
        Err(doubt) => {
            match &doubt {
                Doubt::Missing => info!("no kept state; all of the journal is replayed"),
                doubt => warn!("kept state not used: {doubt}; all of the journal is replayed"),
            }
            let (journal, book, past) = replay(config, storage, fresh)?;
            let mut keeper = Keeper::new(place, config, journal.header(), past.clone());
            keeper.write(&book, journal.position());
            return Ok(Opened { journal, book, past, keeper: Some(keeper) });
        }
    };
    let position = kept.position;
    let (mut book, mut keeper) = Keeper::resume(place, kept);
    let journal = Journal::open_after(storage, fresh, Some(position), |_, offset, entry| {
        book.replay(offset, &entry)?;
        keeper.note(offset, &entry, &book)
    })?;
    let tail = journal.entries() - position.entries;
    info!(entries = tail, "went on from the kept state");
    Ok(Opened { journal, book, past: keeper.past().clone(), keeper: Some(keeper) })
}

/// The desk of a configuration as it is after a restart: it compares from now on, and signs nothing
/// of a day that has a root.
///
/// # Errors
/// As [`service::load`].
pub fn desk(config: &Config, book: &Book, past: &Past, now_ms: u64) -> Result<Desk, Error> {
    let mut desk = service::load(config)?;
    desk.begin(now_ms, book.lanes());
    for (sla, decided) in &past.days {
        desk.close(SampleDay { sla: *sla, day: decided.day });
    }
    Ok(desk)
}

fn fresh(config: &Config) -> Result<Header, Error> {
    Ok(Header { exit: config.exit.0, secret: random32()?, created_ms: crate::now_ms() })
}

/// Opens a journal and rebuilds everything that follows from it.
///
/// # Errors
/// As [`Journal::open`] and [`Book::replay`].
pub fn open<S: Storage>(config: &Config, storage: S) -> Result<(Journal<S>, Book, Past), Error> {
    replay(config, storage, fresh(config)?)
}

fn replay<S: Storage>(
    config: &Config,
    storage: S,
    fresh: Header,
) -> Result<(Journal<S>, Book, Past), Error> {
    let mut past = Past::default();
    // The salts of usage heads need the header's secret, which is known once the file is open.
    let mut book = None;
    let journal = Journal::open(storage, fresh, |header, offset, entry| {
        past.replay(offset, &entry)?;
        book.get_or_insert_with(|| Book::new(config, header.secret)).replay(offset, &entry)
    })?;
    let book = book.unwrap_or_else(|| Book::new(config, journal.header().secret));
    Ok((journal, book, past))
}

impl Running {
    /// Returns when the clerk ends by itself, which it does only if something is very wrong.
    pub async fn failed(&mut self) -> Error {
        match (&mut self.clerk).await {
            Ok(Err(e)) => e,
            _ => Error::Stopping,
        }
    }

    /// Stops: what the relays sent is journaled, sockets are closed and removed.
    ///
    /// # Errors
    /// [`Error::Storage`] if the last entries couldn't be written.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        server::remove(&self.sidecar.config.socket);
        server::remove(&self.sidecar.config.control);
        match (&mut self.clerk).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::Stopping),
        }
    }

    /// Ends everything at once, as kill -9 would. For tests of what a crash leaves behind.
    pub async fn kill(mut self) {
        self.clerk.abort();
        self.tasks.shutdown().await;
        // Waits until the aborted task has dropped the journal.
        drop((&mut self.clerk).await);
    }
}
