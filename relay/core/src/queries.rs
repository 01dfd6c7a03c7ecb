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
    /// How many of them are tunnels: each kind has a limit of its own.
    tunnels: usize,
}

impl Queries {
    /// A new query; `None` when `limit` of its kind are waiting.
    pub(crate) fn ask(&mut self, waiter: Waiter, limit: usize) -> Option<QueryId> {
        let is_tunnel = matches!(waiter, Waiter::Tunnel(_));
        let waiting = if is_tunnel { self.tunnels } else { self.waiting.len() - self.tunnels };
        if waiting >= limit {
            return None;
        }
        self.tunnels += usize::from(is_tunnel);
        self.last += 1;
        let query = QueryId(self.last);
        self.waiting.insert(query, waiter);
        Some(query)
    }

    /// Who waits for it; the query is over.
    pub(crate) fn answer(&mut self, query: QueryId) -> Option<Waiter> {
        let waiter = self.waiting.remove(&query)?;
        self.tunnels -= usize::from(matches!(waiter, Waiter::Tunnel(_)));
        Some(waiter)
    }

    /// Nobody waits any more: a late answer is ignored.
    pub(crate) fn cancel(&mut self, query: QueryId) {
        self.answer(query);
    }
}
