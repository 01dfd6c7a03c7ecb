//! Who waits for an answer of the control plane.

use std::collections::HashMap;

use quinn_proto::StreamId;

use crate::control::QueryId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiter {
    /// A tunnel whose target is being resolved.
    Tunnel(usize),
    /// A request for a resource of the relay.
    Resource { connection: usize, stream: StreamId },
}

#[derive(Debug, Default)]
pub(crate) struct Queries {
    last: u64,
    waiting: HashMap<QueryId, Waiter>,
}

impl Queries {
    /// A new query; `None` when `limit` are waiting.
    pub(crate) fn ask(&mut self, waiter: Waiter, limit: usize) -> Option<QueryId> {
        if self.waiting.len() >= limit {
            return None;
        }
        self.last += 1;
        let query = QueryId(self.last);
        self.waiting.insert(query, waiter);
        Some(query)
    }

    /// Who waits for it; the query is over.
    pub(crate) fn answer(&mut self, query: QueryId) -> Option<Waiter> {
        self.waiting.remove(&query)
    }

    /// Nobody waits any more: a late answer is ignored.
    pub(crate) fn cancel(&mut self, query: QueryId) {
        self.waiting.remove(&query);
    }
}
