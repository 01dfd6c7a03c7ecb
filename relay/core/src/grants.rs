//! Who may use the relay, on whose account, and how far.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The credentials that the relay accepts. A snapshot: replaced as a whole on reload.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    by_token: HashMap<[u8; 32], Arc<Grant>>,
    ids: HashSet<u32>,
}

impl Grants {
    /// From pairs of the credential's SHA-256 and what it grants.
    pub fn new(grants: impl IntoIterator<Item = ([u8; 32], Arc<Grant>)>) -> Self {
        let by_token: HashMap<_, _> = grants.into_iter().collect();
        let ids = by_token.values().map(|grant| grant.id).collect();
        Grants { by_token, ids }
    }

    /// With grants that have no credential: those of whom issues blind tokens.
    pub fn with_issuers(mut self, issuers: impl IntoIterator<Item = u32>) -> Self {
        self.ids.extend(issuers);
        self
    }

    /// The grant of a credential with this SHA-256. Only digests are compared, so the time that a
    /// lookup takes says nothing about how much of a guessed credential is right.
    pub fn lookup(&self, token_sha256: &[u8; 32]) -> Option<&Arc<Grant>> {
        self.by_token.get(token_sha256)
    }

    /// Whether a grant with this ID is in the set.
    pub fn contains(&self, id: u32) -> bool {
        self.ids.contains(&id)
    }
}

/// What one credential allows.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Stable over reloads; names the grant in metrics.
    pub id: u32,
    pub name: String,
    /// The payer's channel with this exit; `None` for a grant that isn't billed.
    pub channel: Option<[u8; 32]>,
    pub lane: u32,
    /// Tunnels open at once per worker; `None` leaves it to the limits of the relay.
    pub max_tunnels: Option<u32>,
    /// Shared by all workers, and kept over reloads by whoever builds the grants.
    pub credit: Arc<CreditLine>,
    /// What a blind token buys, charged beside the credit of its issuer; `None` for any other
    /// grant.
    pub allowance: Option<Arc<CreditLine>>,
}

impl Grant {
    /// Whether nothing more is forwarded under this grant, for now or for good.
    pub fn exhausted(&self) -> bool {
        self.credit.exhausted() || self.allowance.as_ref().is_some_and(|line| line.exhausted())
    }

    /// Adds what a worker forwarded.
    pub fn add_used(&self, bytes: u64) {
        self.credit.add_used(bytes);
        if let Some(line) = &self.allowance {
            line.add_used(bytes);
        }
    }
}

/// How many bytes a payer has used and how many are covered, both directions together, counted
/// from the same start.
#[derive(Debug)]
pub struct CreditLine {
    used: AtomicU64,
    limit: AtomicU64,
}

impl CreditLine {
    /// A line with nothing used. `u64::MAX` is no limit.
    pub fn new(limit_bytes: u64) -> Self {
        CreditLine { used: AtomicU64::new(0), limit: AtomicU64::new(limit_bytes) }
    }

    /// A line that is never exhausted.
    pub fn unlimited() -> Self {
        CreditLine::new(u64::MAX)
    }

    /// Continues at `bytes`, after a restart.
    pub fn set_used(&self, bytes: u64) {
        self.used.store(bytes, Ordering::Relaxed);
    }

    /// Adds what a worker forwarded in a turn.
    pub fn add_used(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Raises the limit, for more that was paid for.
    pub fn raise_limit(&self, bytes: u64) {
        let raise = |limit: u64| Some(limit.saturating_add(bytes));
        let _ = self.limit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, raise);
    }

    /// Moves the limit; tell the workers with [`Command::CreditChanged`](crate::Command).
    pub fn set_limit(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Bytes that are still covered.
    pub fn left(&self) -> u64 {
        self.limit().saturating_sub(self.used())
    }

    /// Whether the payer has to pay before more is forwarded.
    pub fn exhausted(&self) -> bool {
        self.left() == 0
    }
}
