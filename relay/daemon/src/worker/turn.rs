//! The turn loop: everything that a worker does, over and over.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use weir_abi::cid::CidKey;
use weir_core::port::{Handler, Io, Ledger};
use weir_core::{ControlReply, ControlRequest, Engine, ResolveError, TokenRefusal, turn};

use super::latency::Latency;
use super::route::Router;
use super::{Peers, Question, Snapshot, TurnStats};

/// How often a busy worker publishes its state. An idle one publishes once more and sleeps.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(200);

/// Messages of one kind taken from the inbox per turn, so that a flood of them can't keep the
/// worker from its sockets.
const INBOX_BUDGET: usize = 64;

/// A worker whose sockets are open.
#[derive(Debug)]
pub(super) struct Worker<I, L> {
    pub index: usize,
    pub engine: Engine,
    pub io: I,
    pub ledger: L,
    pub peers: Arc<Peers>,
    pub key: CidKey,
    pub questions: mpsc::Sender<Question>,
    /// Reads the counters of the backend.
    pub io_stats: fn(&I) -> Vec<(&'static str, &'static str, u64)>,
}

impl<I: Io, L: Ledger> Worker<I, L> {
    /// Turns until a drain is complete.
    ///
    /// # Errors
    /// When the backend breaks, which is fatal for the relay.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut stats = TurnStats::default();
        let mut latency = Latency::default();
        let mut snapshot_due = Instant::now();
        let mut unpublished = true;
        while !self.engine.is_drained() {
            let mut deadline = self.engine.poll_timeout();
            if unpublished {
                deadline = Some(deadline.map_or(snapshot_due, |at| at.min(snapshot_due)));
            }
            let (now, datagrams) = self.receive(deadline, &mut stats)?;
            self.read_inbox(now, &mut stats);
            self.engine.handle_timeout(now);
            stats.starved += u64::from(turn::flush(&mut self.engine, &mut self.io, now));
            self.ask(now, &mut stats);
            self.engine.publish(&mut self.ledger);
            stats.turns += 1;
            if datagrams > 0 {
                latency.record(now.elapsed(), datagrams);
                unpublished = true;
            }
            if now >= snapshot_due {
                snapshot_due = now + SNAPSHOT_EVERY;
                self.publish(&stats, &latency);
                // What changes without packets (timeouts, orders) shows with the next ones.
                unpublished = false;
            }
        }
        self.engine.publish(&mut self.ledger);
        self.publish(&stats, &latency);
        Ok(())
    }

    fn receive(
        &mut self,
        deadline: Option<Instant>,
        stats: &mut TurnStats,
    ) -> io::Result<(Instant, u64)> {
        let mut router = Router {
            engine: &mut self.engine,
            peers: &self.peers,
            key: self.key,
            own: self.index,
            stats,
            datagrams: 0,
        };
        let now = self.io.turn(deadline, &mut router)?;
        Ok((now, router.datagrams))
    }

    fn read_inbox(&mut self, now: Instant, stats: &mut TurnStats) {
        let inbox = self.peers.inbox(self.index);
        for _ in 0..INBOX_BUDGET {
            let Some(stray) = inbox.pop_stray() else { break };
            stats.strays_in += 1;
            self.engine.handle_packets(now, &stray.meta, &stray.train);
        }
        for _ in 0..INBOX_BUDGET {
            let Some(reply) = inbox.pop_reply() else { break };
            self.engine.handle_control(now, reply);
        }
        for _ in 0..INBOX_BUDGET {
            let Some(command) = inbox.pop_command() else { break };
            if let Err(error) = self.engine.handle_command(now, command) {
                tracing::error!(worker = self.index, %error, "an order was refused");
            }
        }
        stats.strays_lost = inbox.strays_lost();
        if inbox.has_more() {
            self.peers.wake(self.index);
        }
    }

    /// Passes the engine's questions on; one that finds no room is answered here at once.
    fn ask(&mut self, now: Instant, stats: &mut TurnStats) {
        while let Some(request) = self.engine.poll_control() {
            let question = Question { worker: self.index, request };
            if let Err(TrySendError::Full(question) | TrySendError::Closed(question)) =
                self.questions.try_send(question)
            {
                stats.questions_refused += 1;
                self.engine.handle_control(now, busy(question.request));
            }
        }
    }

    fn publish(&self, stats: &TurnStats, latency: &Latency) {
        self.peers.publish(
            self.index,
            Snapshot {
                engine: *self.engine.stats(),
                turns: *stats,
                io: (self.io_stats)(&self.io),
                latency: latency.clone(),
                drained: self.engine.is_drained(),
            },
        );
    }
}

fn busy(request: ControlRequest) -> ControlReply {
    match request {
        ControlRequest::Resolve { query, .. } => {
            ControlReply::Resolved { query, result: Err(ResolveError::ServerFailure) }
        }
        ControlRequest::Token { query, .. } => {
            ControlReply::Token { query, result: Err(TokenRefusal::Unavailable) }
        }
        ControlRequest::Http { query, .. } => ControlReply::Http {
            query,
            status: 503,
            content_type: "application/json",
            body: br#"{"error":"the relay is busy"}"#.as_slice().into(),
        },
    }
}
