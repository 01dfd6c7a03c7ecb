//! The control thread: serves until a signal, then brings everything to an end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use weir_core::Command;

use super::assemble::Assembled;
use super::reload;
use crate::admin;
use crate::control::questions;
use crate::failure::Failure;
use crate::state::State;

/// Without a sidecar the ledgers are read so often, which is what frees closed slots.
const COLLECT_EVERY: Duration = Duration::from_millis(500);

/// Ledger C is compared so often: some hundred reads of maps.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// After the deadline of a drain the engines close everything; this is for the last packets.
const DRAIN_SLACK: Duration = Duration::from_secs(3);

/// How long the end waits for the sidecar to acknowledge the last records. What isn't
/// acknowledged stays in the ledger files and is reported by the next process.
const EXPORT_SLACK: Duration = Duration::from_secs(5);

type Ended = mpsc::UnboundedReceiver<(usize, Result<(), String>)>;

pub(super) async fn serve(assembled: Assembled) -> Result<(), Failure> {
    let Assembled { state, threads, questions, mut ended, admin, resolver, link, run_dir } =
        assembled;
    let (peers, resources) = (Arc::clone(&state.peers), Arc::clone(&state.resources));
    let mut tasks = JoinSet::new();
    tasks.spawn(questions::serve(questions, peers, resolver, resources, state.tokens.clone()));
    tasks.spawn(admin::serve(admin, Arc::clone(&state)));
    tasks.spawn(collect(Arc::clone(&state)));
    tasks.spawn(watch_access(Arc::clone(&state)));
    if let Some(link) = link {
        tasks.spawn(link.run());
    }
    let mut signals = Signals::new().map_err(Failure::Internal)?;
    let drained = tokio::select! {
        failure = first_death(&mut ended) => return Err(failure),
        failure = first_panic(&mut tasks) => return Err(failure),
        () = signals.until_end(&state) => drain(&state, &mut ended, &mut signals).await?,
    };
    if drained {
        for thread in threads {
            // Each has told how it ended; a panic was reported there.
            let _ = thread.join();
        }
        finish(&state).await;
        remove_ledgers(&state, &run_dir.ledgers);
    }
    state.xdp.detach();
    tracing::info!("the relay is down");
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals can't be listened to");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Reloads on SIGHUP, returns when the relay is to end.
    async fn until_end(&mut self, state: &State) {
        loop {
            tokio::select! {
                _ = self.hang_up.recv() => reload::reload(state),
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                () = state.drain.asked() => return,
            }
        }
    }

    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn collect(state: Arc<State>) {
    let mut tick = tokio::time::interval(COLLECT_EVERY);
    loop {
        tick.tick().await;
        // With a sidecar the link does it.
        if state.config.load().settle.is_none() {
            state.export.lock().expect("no holder of this lock panics").collect();
        }
    }
}

async fn watch_access(state: Arc<State>) {
    let mut tick = tokio::time::interval(WATCH_EVERY);
    loop {
        tick.tick().await;
        let Some(reading) = state.access() else { return };
        state.access.look(&reading);
    }
}

/// A worker that ends while nobody asked it to takes the relay with it: its share of the packets
/// would vanish.
async fn first_death(ended: &mut Ended) -> Failure {
    match ended.recv().await {
        Some((worker, Err(error))) => {
            Failure::Internal(anyhow!("worker {worker} broke down: {error}"))
        }
        Some((worker, Ok(()))) => Failure::Internal(anyhow!("worker {worker} ended by itself")),
        None => Failure::Internal(anyhow!("all workers are gone")),
    }
}

/// A task of the control thread that panics takes the relay with it too: without it no name is
/// resolved, nothing is reported, or nobody can see either.
async fn first_panic(tasks: &mut JoinSet<()>) -> Failure {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            return Failure::Internal(anyhow!("the control thread broke down: {error}"));
        }
    }
    std::future::pending().await
}

/// Returns whether all workers came to an orderly end.
async fn drain(state: &State, ended: &mut Ended, signals: &mut Signals) -> Result<bool, Failure> {
    let patience = state.config.load().relay.drain;
    tracing::info!(seconds = patience.as_secs(), "draining: no new work is taken");
    state.drain.begin();
    state.peers.command(&Command::Drain { deadline: Instant::now() + patience });
    let all = async {
        for _ in 0..state.peers.count() {
            if let Some((worker, Err(error))) = ended.recv().await {
                return Err(Failure::Internal(anyhow!("worker {worker} broke down: {error}")));
            }
        }
        Ok(true)
    };
    tokio::select! {
        result = all => result,
        () = signals.end() => {
            tracing::warn!("a second signal: ending at once");
            Ok(false)
        }
        () = tokio::time::sleep(patience + DRAIN_SLACK) => {
            tracing::error!("the workers did not end in time");
            Ok(false)
        }
    }
}

/// Waits until the last records are safe.
async fn finish(state: &State) {
    let deadline = Instant::now() + EXPORT_SLACK;
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    while Instant::now() < deadline {
        let open = {
            let mut export = state.export.lock().expect("no holder of this lock panics");
            export.collect();
            export.unfinished()
        };
        if open == 0 {
            return;
        }
        tick.tick().await;
    }
    tracing::warn!("not everything was reported; the ledger stays for the next start");
}

fn remove_ledgers(state: &State, dir: &std::path::Path) {
    let export = state.export.lock().expect("no holder of this lock panics");
    if export.unfinished() > 0 {
        return;
    }
    for worker in 0..state.peers.count() {
        let path = crate::control::export::recover::file_name(dir, state.epoch, worker);
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!("{}: can't be removed: {error}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_on_the_control_thread_is_the_end() {
        let mut tasks = JoinSet::new();
        tasks.spawn(async {});
        tasks.spawn(std::future::pending());
        tasks.spawn(async { panic!("a bug") });
        let failure = first_panic(&mut tasks).await.to_string();
        assert!(failure.contains("the control thread broke down"), "{failure}");
        assert!(failure.contains("a bug"), "{failure}");
    }
}
