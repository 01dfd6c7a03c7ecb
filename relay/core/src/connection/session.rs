//! Who a request is from. Every request shows its own credential: one that was accepted on a
//! stream says nothing about the next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use quinn_proto::VarInt;
use ring::digest;
use weir_proto::request::Credential;

use crate::core::Core;
use crate::credit::Presence;
use crate::grants::Grant;

use super::Connection;

/// A grant as used on one connection.
#[derive(Debug)]
pub(super) struct Session {
    id: u64,
    grant: u32,
    /// Of a session that was opened with a blind token.
    token: Option<TokenSession>,
    /// Counts on its payer's account.
    _presence: Presence,
}

/// What tokens bought on one connection.
#[derive(Debug)]
struct TokenSession {
    grant: Arc<Grant>,
    /// SHA-256 of the credentials that were spent here: shown again on this connection, and on no
    /// other, they stand for the session.
    shown: VecDeque<[u8; 32]>,
}

/// A client shows its latest token with each request; more are only for requests under way.
const TOKENS_SHOWN_MAX: usize = 64;

/// What follows from a request's credential.
#[derive(Debug)]
pub(super) enum Admission {
    Granted(u64, Arc<Grant>),
    /// A token with this digest has to be verified and spent first.
    Token([u8; 32]),
    Denied(Denied),
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
    ) -> Admission {
        let token = match credential {
            Some(Credential::PrivateToken(text)) if !core.token_challenges.is_empty() => {
                Some(sha256(text.as_bytes()))
            }
            _ => None,
        };
        if let Some((id, grant)) = token.and_then(|digest| self.shown(&digest)) {
            return Admission::Granted(id, grant);
        }
        // A connection that has shown a good credential is spared: its neighbours behind the same
        // address must not be able to lock it out.
        let limit = core.limits.auth_failures_per_minute;
        // A token is looked at by the control plane, and one good one must not buy that for junk.
        let spared = !self.sessions.is_empty() && token.is_none();
        if !spared && core.sources.is_blocked(self.source, now, limit) {
            core.stats.requests_rate_limited += 1;
            return Admission::Denied(Denied::RateLimited);
        }
        if let Some(digest) = token {
            return Admission::Token(digest);
        }
        let grant = credential
            .and_then(Credential::secret)
            .and_then(|secret| core.grants.lookup(&sha256(secret)).cloned());
        let Some(grant) = grant else {
            core.stats.requests_unauthorized += 1;
            core.sources.failed(self.source, now);
            return Admission::Denied(Denied::Challenge);
        };
        let id = self.open_session(core, &grant, None);
        Admission::Granted(id, grant)
    }

    /// The session of a token that was spent on this connection.
    fn shown(&self, digest: &[u8; 32]) -> Option<(u64, Arc<Grant>)> {
        let sessions = self.sessions.iter();
        let mut tokens = sessions.filter_map(|session| Some((session.id, session.token.as_ref()?)));
        let (id, token) = tokens.find(|(_, token)| token.shown.contains(digest))?;
        Some((id, Arc::clone(&token.grant)))
    }

    /// A token was accepted: opens a session, or adds what it buys to the one that is there.
    pub(super) fn token_accepted(
        &mut self,
        core: &mut Core,
        digest: [u8; 32],
        grant: Arc<Grant>,
    ) -> (u64, Arc<Grant>) {
        let known = self.sessions.iter_mut().find(|session| session.grant == grant.id);
        if let Some((id, token)) =
            known.and_then(|session| Some((session.id, session.token.as_mut()?)))
        {
            if let (Some(line), Some(more)) = (&token.grant.allowance, &grant.allowance) {
                line.raise_limit(more.limit());
            }
            if token.shown.len() >= TOKENS_SHOWN_MAX {
                token.shown.pop_front();
            }
            token.shown.push_back(digest);
            return (id, Arc::clone(&token.grant));
        }
        let token = TokenSession { grant: Arc::clone(&grant), shown: VecDeque::from([digest]) };
        (self.open_session(core, &grant, Some(token)), grant)
    }

    fn open_session(&mut self, core: &mut Core, grant: &Grant, token: Option<TokenSession>) -> u64 {
        self.login_deadline = None;
        if self.sessions.is_empty() {
            self.quic.set_receive_window(VarInt::from_u32(core.receive_window));
        }
        let known = self.sessions.iter().find(|session| session.grant == grant.id);
        match known {
            Some(session) => session.id,
            None => {
                let id = core.new_session();
                let presence = Presence::new(&grant.credit);
                self.sessions.push(Session { id, grant: grant.id, token, _presence: presence });
                self.allow_more_requests(core);
                id
            }
        }
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
