//! One endpoint among several: whether it is well, and how often it said something else.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::chain::rpc::Rpc;
use crate::error::Error;

/// The longest pause before an endpoint that fell out is asked again.
const PAUSE_MAX: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) rpc: Rpc,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Its newest block; `None` while it is out.
    head: Option<u64>,
    error: Option<String>,
    /// Failures in a row, and in all.
    row: u32,
    failures: u64,
    dissents: u64,
    again: Option<Instant>,
}

/// How an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointView {
    /// The endpoint, without credentials.
    pub rpc: String,
    /// Whether it takes part.
    pub up: bool,
    /// Its newest block.
    pub block: Option<u64>,
    /// Blocks that it is behind the one that is furthest.
    pub behind: u64,
    /// Why it doesn't take part.
    pub error: Option<String>,
    /// How often it fell out.
    pub failures: u64,
    /// How often it said something else than what was believed.
    pub dissents: u64,
}

impl Endpoint {
    pub(super) fn new(rpc: Rpc) -> Self {
        Self { rpc, state: Mutex::default() }
    }

    /// Whether it is to be asked for its newest block now.
    pub(super) fn is_due(&self) -> bool {
        let state = self.state();
        state.head.is_some() || state.again.is_none_or(|at| at <= Instant::now())
    }

    pub(super) fn is_up(&self) -> bool {
        self.head().is_some()
    }

    pub(super) fn head(&self) -> Option<u64> {
        self.state().head
    }

    pub(super) fn answered(&self, head: u64) {
        let mut state = self.state();
        if state.error.take().is_some() {
            info!(rpc = self.rpc.shown(), head, "this RPC endpoint takes part again");
        }
        state.head = Some(head);
        state.row = 0;
        state.again = None;
    }

    /// It falls out, and is asked again after a pause that grows from `poll`.
    pub(super) fn failed(&self, error: &Error, poll: Duration) {
        let mut state = self.state();
        let words = error.to_string();
        if state.error.as_ref() != Some(&words) {
            warn!(rpc = self.rpc.shown(), "this RPC endpoint falls out: {words}");
        }
        state.error = Some(words);
        state.head = None;
        state.failures += 1;
        let pause = poll.saturating_mul(1 << state.row.min(16)).min(PAUSE_MAX);
        state.row += 1;
        state.again = Some(Instant::now() + pause);
    }

    pub(super) fn dissented(&self) {
        self.state().dissents += 1;
    }

    pub(super) fn view(&self, newest: u64) -> EndpointView {
        let state = self.state();
        EndpointView {
            rpc: self.rpc.shown().into(),
            up: state.head.is_some(),
            block: state.head,
            behind: state.head.map_or(0, |head| newest.saturating_sub(head)),
            error: state.error.clone(),
            failures: state.failures,
            dissents: state.dissents,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}
