//! Answers and orders of the control plane.

use std::time::Instant;

use weir_proto::H3Code;

use crate::answer;
use crate::control::{Command, ControlReply};
use crate::credit::Standing;
use crate::error::Error;
use crate::queries::Waiter;
use crate::quic;
use crate::tunnel::open;

use super::Engine;

impl Engine {
    /// An answer from the control plane. One that nobody waits for any more is ignored.
    pub fn handle_control(&mut self, now: Instant, reply: ControlReply) {
        self.core.now = now;
        match reply {
            ControlReply::Resolved { query, result } => {
                if let Some(Waiter::Tunnel(key)) = self.core.queries.answer(query) {
                    let result = open::resolved(&mut self.core, key, result, now);
                    self.settle_opening(key, result, now);
                }
            }
            ControlReply::Http { query, status, content_type, body } => {
                if let Some(Waiter::Resource { connection, stream }) =
                    self.core.queries.answer(query)
                    && let Some((connection, core)) = self.split(connection)
                {
                    let answer = answer::resource(status, content_type, body);
                    connection.answer(core, stream, answer, now);
                }
            }
            ControlReply::Token { query, result } => {
                if let Some(Waiter::Resource { connection, stream }) =
                    self.core.queries.answer(query)
                    && let Some((connection, core)) = self.split(connection)
                {
                    connection.token_answered(core, stream, result, now);
                    // It may be a further token for tunnels that used up the last one.
                    self.resume(now);
                }
            }
        }
    }

    /// An order from the control plane. Fails only for a TLS configuration that QUIC can't use,
    /// which leaves the old one in place.
    pub fn handle_command(&mut self, now: Instant, command: Command) -> Result<(), Error> {
        self.core.now = now;
        match command {
            Command::Drain { deadline } => self.drain(deadline),
            Command::Policy(policy) => self.core.policy = policy,
            Command::Grants(grants) => {
                self.core.grants = grants;
                self.close_revoked(now);
            }
            Command::TokenChallenges(challenges) => self.core.token_challenges = challenges,
            Command::Tls(tls) => {
                let server_config = quic::server_config(&self.config, &tls)?;
                self.endpoint.set_server_config(Some(server_config));
                self.config.tls = tls;
            }
            Command::CreditChanged => self.resume(now),
        }
        Ok(())
    }

    fn drain(&mut self, deadline: Instant) {
        self.core.draining = true;
        self.core.set_timer(self.drain_timer, Some(deadline));
        for handle in 0..self.connections.len() {
            if let Some((connection, core)) = self.split(handle) {
                connection.go_away(core);
            }
        }
    }

    /// Closes the tunnels and ends the sessions whose grant is no more.
    fn close_revoked(&mut self, now: Instant) {
        let revoked: Vec<usize> = self
            .core
            .tunnels
            .iter()
            .filter(|(_, tunnel)| !self.core.grants.contains(tunnel.meter.grant.id))
            .map(|(key, _)| key)
            .collect();
        for key in revoked {
            if let Some((connection, core)) = self.split_tunnel(key) {
                connection.end_tunnel(core, key, H3Code::CONNECT_ERROR);
            }
        }
        for handle in 0..self.connections.len() {
            if let Some((connection, core)) = self.split(handle) {
                connection.end_revoked_sessions(core, now);
            }
        }
    }

    /// Lets those go on that waited for credit and have some.
    pub(super) fn resume(&mut self, now: Instant) {
        let mut place = 0;
        // Whoever is held again meanwhile comes to the end, and waits for the next look.
        for _ in 0..self.core.held.len() {
            let Some(key) = self.core.held.get(place) else { break };
            let grant = &self.core.tunnels[key].meter.grant;
            let exhausted = grant.exhausted();
            let standing = if exhausted { grant.pace(now) } else { Standing::Open };
            if exhausted && grant.exhausted() {
                if standing == Standing::Throttled {
                    self.core.tick();
                }
                place += 1;
                continue;
            }
            self.core.let_go(key);
            self.core.mark_ready(key);
            if let Some((connection, core)) = self.split_tunnel(key) {
                connection.resume(core, key, now);
            }
        }
    }
}
