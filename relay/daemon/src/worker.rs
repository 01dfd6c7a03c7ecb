//! Workers: the threads that carry packets.
//!
//! A worker owns one backend, one engine and one ledger file, and shares nothing with the others
//! but the queues in [`Peers`]. It never waits for the control plane and never enters tokio.

mod inbox;
pub(crate) mod latency;
mod route;
mod snapshot;
mod start;
mod turn;

use std::sync::Arc;

use arc_swap::ArcSwap;
use weir_core::{Command, ControlReply, ControlRequest};

use inbox::{Inbox, Stray};
pub(crate) use snapshot::{Snapshot, TurnStats};
pub(crate) use start::{Plan, Running, XskPlan, start};

/// A question of an engine, and the worker that waits for the answer.
#[derive(Debug)]
pub(crate) struct Question {
    pub worker: usize,
    pub request: ControlRequest,
}

/// All workers, as the rest of the process and each worker sees them.
#[derive(Debug)]
pub(crate) struct Peers {
    workers: Vec<Peer>,
}

#[derive(Debug)]
struct Peer {
    inbox: Inbox,
    waker: weir_io::Waker,
    snapshot: ArcSwap<Snapshot>,
}

impl Peers {
    /// One peer for each waker, in worker order.
    pub(crate) fn new(wakers: Vec<weir_io::Waker>) -> Self {
        let workers = wakers.into_iter().map(|waker| Peer {
            inbox: Inbox::default(),
            waker,
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
        });
        Self { workers: workers.collect() }
    }

    pub(crate) fn count(&self) -> usize {
        self.workers.len()
    }

    /// Answers a question.
    pub(crate) fn reply(&self, worker: usize, reply: ControlReply) {
        if !self.workers[worker].inbox.push_reply(reply) {
            tracing::warn!(worker, "no room for an answer; the engine gives up on it by itself");
        }
        self.wake(worker);
    }

    /// Gives an order to every worker.
    pub(crate) fn command(&self, command: &Command) {
        for (index, worker) in self.workers.iter().enumerate() {
            if !worker.inbox.push_command(command.clone()) {
                tracing::error!(worker = index, "no room for an order; it is lost");
            }
            self.wake(index);
        }
    }

    /// Tells every worker that some credit line was raised or lowered.
    pub(crate) fn credit_changed(&self) {
        for (index, worker) in self.workers.iter().enumerate() {
            worker.inbox.raise_credit();
            self.wake(index);
        }
    }

    /// The last published state of every worker.
    pub(crate) fn snapshots(&self) -> Vec<Arc<Snapshot>> {
        self.workers.iter().map(|worker| worker.snapshot.load_full()).collect()
    }

    fn inbox(&self, worker: usize) -> &Inbox {
        &self.workers[worker].inbox
    }

    fn publish(&self, worker: usize, snapshot: Snapshot) {
        self.workers[worker].snapshot.store(Arc::new(snapshot));
    }

    fn hand_over(&self, owner: usize, stray: Stray) {
        self.workers[owner].inbox.push_stray(stray);
        self.wake(owner);
    }

    fn wake(&self, worker: usize) {
        self.workers[worker].waker.wake();
    }
}
