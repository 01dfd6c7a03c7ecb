//! Deadlines.

use std::time::Instant;

use weir_proto::H3Code;

use crate::answer;
use crate::control::QueryId;
use crate::queries::Waiter;
use crate::timers::Due;
use crate::tunnel::{Phase, open, udp};

use super::Engine;

impl Engine {
    /// Does what is due by now. Cheap when nothing is.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.core.now = now;
        // Ends, because a deadline that fired is set again only when output is polled.
        while let Some(due) = self.core.timers.pop(now) {
            match due {
                Due::Connection(handle) => {
                    if let Some((connection, core)) = self.split(handle) {
                        connection.handle_timeout(core, now);
                    }
                    self.drive(handle, now);
                }
                Due::Tunnel(key) => self.tunnel_timeout(key, now),
                Due::Query(query) => self.resource_timeout(QueryId(query), now),
                Due::Credit => {
                    self.core.held.ticked();
                    self.resume(now);
                }
                Due::Drain => self.close_all(now),
            }
        }
    }

    fn tunnel_timeout(&mut self, key: usize, now: Instant) {
        match self.core.tunnels[key].phase {
            Phase::Resolving { .. } | Phase::Connecting(_) => {
                let result = open::timeout(&mut self.core, key, now);
                self.settle_opening(key, result, now);
            }
            Phase::Open(_) => {
                if udp::is_idle(&mut self.core, key, now)
                    && let Some((connection, core)) = self.split_tunnel(key)
                {
                    core.stats.tunnels_idle += 1;
                    connection.finish_tunnel(core, key, now);
                }
            }
            Phase::New | Phase::Opened(_) | Phase::Closing => {}
        }
    }

    /// The control plane kept silent.
    fn resource_timeout(&mut self, query: QueryId, now: Instant) {
        let Some(Waiter::Resource { connection, stream }) = self.core.queries.answer(query) else {
            return;
        };
        if let Some((connection, core)) = self.split(connection) {
            let answer = answer::unavailable(&core.name);
            connection.answer(core, stream, answer, now);
        }
    }

    /// The drain deadline: whoever is still here has to go.
    fn close_all(&mut self, now: Instant) {
        for handle in 0..self.connections.len() {
            if let Some((connection, core)) = self.split(handle) {
                connection.close(core, now, H3Code::NO_ERROR, "drain deadline");
            }
        }
    }
}
