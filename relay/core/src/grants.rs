//! Who may use the relay, on whose account, and how far.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use crate::credit::{CreditLine, Standing};

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
    /// Whether nothing is forwarded under this grant, at this moment or for good.
    pub fn exhausted(&self) -> bool {
        self.open() == 0
    }

    /// Bytes that may flow at this moment.
    pub fn open(&self) -> u64 {
        let allowance = self.allowance.as_ref().map_or(u64::MAX, |line| line.open());
        self.credit.open().min(allowance)
    }

    /// Whether nothing more is forwarded before somebody pays.
    pub fn stopped(&self) -> bool {
        let stopped = |line: &CreditLine| line.standing() == Standing::Stopped;
        stopped(&self.credit) || self.allowance.as_deref().is_some_and(stopped)
    }

    /// Moves on the gates of a grant that is exhausted; the worse of its standings.
    pub fn pace(&self, now: Instant) -> Standing {
        let credit = self.credit.pace(now);
        self.allowance.as_ref().map_or(credit, |line| line.pace(now).max(credit))
    }

    /// Adds what a worker forwarded.
    pub fn add_used(&self, bytes: u64) {
        self.credit.add_used(bytes);
        if let Some(line) = &self.allowance {
            line.add_used(bytes);
        }
    }
}
