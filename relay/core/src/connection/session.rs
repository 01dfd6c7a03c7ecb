//! Who a request is from. Every request shows its own credential: one that was accepted on a
//! stream says nothing about the next.

use std::sync::Arc;
use std::time::Instant;

use quinn_proto::VarInt;
use ring::digest;
use weir_proto::request::Credential;

use crate::core::Core;
use crate::grants::Grant;

use super::Connection;

/// A grant as used on one connection.
#[derive(Debug)]
pub(super) struct Session {
    id: u64,
    grant: u32,
}

/// Why a request is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// No credential or a wrong one; clients are not told which.
    Challenge,
    /// Its source was wrong too often.
    RateLimited,
}

impl Connection {
    /// The session that a credential opens or belongs to.
    pub(super) fn authenticate(
        &mut self,
        core: &mut Core,
        credential: Option<&Credential>,
        now: Instant,
    ) -> Result<(u64, Arc<Grant>), Denied> {
        // A connection that has shown a good credential is spared: its neighbours behind the same
        // address must not be able to lock it out.
        let limit = core.limits.auth_failures_per_minute;
        if self.sessions.is_empty() && core.sources.is_blocked(self.source, now, limit) {
            core.stats.requests_rate_limited += 1;
            return Err(Denied::RateLimited);
        }
        let grant = credential
            .and_then(Credential::secret)
            .and_then(|secret| core.grants.lookup(&sha256(secret)).cloned());
        let Some(grant) = grant else {
            core.stats.requests_unauthorized += 1;
            core.sources.failed(self.source, now);
            return Err(Denied::Challenge);
        };
        self.login_deadline = None;
        if self.sessions.is_empty() {
            self.quic.set_receive_window(VarInt::from_u32(core.receive_window));
        }
        let known = self.sessions.iter().find(|session| session.grant == grant.id);
        let id = match known {
            Some(session) => session.id,
            None => {
                let id = core.new_session();
                self.sessions.push(Session { id, grant: grant.id });
                self.allow_more_requests(core);
                id
            }
        };
        Ok((id, grant))
    }

    /// Forgets the sessions whose grant is no more. Without any it is a stranger's connection
    /// again: it has to show a credential in time, and guessing is limited.
    pub(crate) fn end_revoked_sessions(&mut self, core: &mut Core, now: Instant) {
        let before = self.sessions.len();
        self.sessions.retain(|session| core.grants.contains(session.grant));
        if before > 0 && self.sessions.is_empty() && !self.is_torn_down() {
            self.login_deadline = Some(now + core.limits.login_timeout);
            self.touch(&mut core.dirty);
        }
    }
}

fn sha256(secret: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, secret).as_ref());
    out
}
