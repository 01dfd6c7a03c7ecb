//! Connection IDs that say which worker owns the connection.

use quinn_proto::{ConnectionId, ConnectionIdGenerator};
use std::time::Duration;
use weir_abi::cid::{Cid, CidKey, LEN};

use crate::random;

/// Nonces drawn from the kernel at once: a connection takes a handful of IDs.
const NONCES: usize = 64;

/// Generates the connection IDs of one worker, in the layout of `weir_abi::cid`.
///
/// It validates every ID on purpose: one that this process didn't make may be of a process that
/// crashed, and its client deserves a stateless reset (RFC 9000 section 10.3) rather than silence.
#[derive(Debug)]
pub(crate) struct WorkerCids {
    key: CidKey,
    generation: u8,
    worker: u8,
    nonces: Vec<u32>,
}

impl WorkerCids {
    pub(crate) fn new(key: CidKey, generation: u8, worker: u8) -> Self {
        Self { key, generation, worker, nonces: Vec::with_capacity(NONCES) }
    }

    fn nonce(&mut self) -> u32 {
        if self.nonces.is_empty() {
            let bytes: [u8; 4 * NONCES] = random::bytes();
            let (words, _) = bytes.as_chunks::<4>();
            self.nonces.extend(words.iter().map(|word| u32::from_ne_bytes(*word)));
        }
        self.nonces.pop().unwrap_or_default()
    }
}

impl ConnectionIdGenerator for WorkerCids {
    fn generate_cid(&mut self) -> ConnectionId {
        let nonce = self.nonce();
        let cid = Cid { generation: self.generation, worker: self.worker, nonce };
        ConnectionId::new(&self.key.encode(cid))
    }

    fn cid_len(&self) -> usize {
        LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_their_worker_and_differ() {
        let key = CidKey::from_bytes(random::bytes());
        let mut cids = WorkerCids::new(key, 3, 7);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1_000 {
            let id = cids.generate_cid();
            let mut short = vec![0x40];
            short.extend_from_slice(&id);
            assert_eq!(key.worker(&short, 8), 7);
            assert!(seen.insert(id));
        }
    }
}
