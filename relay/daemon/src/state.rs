//! What the parts of the control plane know about the running relay.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arc_swap::ArcSwap;
use serde::Serialize;

use crate::config::Config;
use crate::control::access::{Access, Reading, Watch};
use crate::control::export::Export;
use crate::control::grants::Accounts;
use crate::control::resources::Resources;
use crate::control::tokens::Tokens;
use crate::worker::Peers;
use crate::xdp::XdpStatus;

/// Shared by the tasks of the control thread; nothing here is touched by a worker's hot path.
#[derive(Debug)]
pub(crate) struct State {
    /// The configuration in force.
    pub config: ArcSwap<Config>,
    pub epoch: u64,
    pub started: Instant,
    pub listen: Vec<SocketAddr>,
    pub backend: Choice,
    pub steering: Choice,
    pub xdp: Arc<dyn XdpStatus>,
    /// SHA-256 of the certificate in use.
    pub fingerprint: ArcSwap<String>,
    pub peers: Arc<Peers>,
    pub accounts: Arc<Accounts>,
    pub export: Arc<Mutex<Export>>,
    pub resources: Arc<Resources>,
    pub drain: Drain,
    /// Watches ledger C.
    pub access: Arc<Watch>,
    /// Who verifies blind tokens, if any are taken.
    pub tokens: Option<Arc<Tokens>>,
}

impl State {
    /// What the engines and the kernel say of client-facing packets; `None` where the kernel
    /// doesn't count.
    pub(crate) fn access(&self) -> Option<Reading> {
        let snapshots = self.peers.snapshots();
        let a = Access::of_engines(snapshots.iter().map(AsRef::as_ref));
        Some(Reading { a, c: self.xdp.access()?, workers: snapshots.len() })
    }
}

/// What was chosen, and why.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Choice {
    pub kind: String,
    pub reason: String,
}

/// The relay takes no new work any more.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    begun: AtomicBool,
    wanted: tokio::sync::Notify,
}

impl Drain {
    /// Asks for it, from wherever.
    pub(crate) fn ask(&self) {
        self.wanted.notify_one();
    }

    /// Waits until somebody asks.
    pub(crate) async fn asked(&self) {
        self.wanted.notified().await;
    }

    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::Release);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }
}
