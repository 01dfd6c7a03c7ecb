//! Requests that show a blind token: they wait until the control plane has verified and spent it,
//! which takes a signature check and a write to disk, neither of them for a worker's turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::StreamId;
use weir_proto::request::{Kind, Request};

use crate::answer;
use crate::control::{ControlRequest, QueryId, TokenRefusal};
use crate::core::Core;
use crate::grants::Grant;
use crate::queries::Waiter;
use crate::timers::{Due, TimerId};

use super::Connection;
use super::request::Phase;

/// How long the control plane may take. A token that is spent later is lost to its owner, so it is
/// far longer than any disk.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tokens and requests for resources that wait for the control plane, per engine.
const WAITING_MAX: usize = 2048;

/// A request between its field section and the word on its token.
#[derive(Debug)]
pub(super) struct Admitting {
    digest: [u8; 32],
    kind: Kind,
    query: QueryId,
    timer: TimerId,
    /// Whether it was passed on. It wasn't if it shows the same token as one that was.
    asked: bool,
}

impl Admitting {
    /// The request is over. If it was the one that asked, the token is lost with it, and whoever
    /// waits for the same token is answered when its patience ends.
    pub(super) fn abandon(self, core: &mut Core) {
        core.queries.cancel(self.query);
        core.timers.remove(self.timer);
    }
}

impl Connection {
    /// Asks the control plane for a token, or waits with another request that asked for it.
    pub(super) fn ask_for_token(
        &mut self,
        core: &mut Core,
        id: StreamId,
        digest: [u8; 32],
        request: Request,
        now: Instant,
    ) {
        let asked = self.requests.values().any(
            |other| matches!(&other.phase, Phase::Admitting(a) if a.digest == digest && a.asked),
        );
        let Some(credential) = request.credential else { return };
        let waiter = Waiter::Resource { connection: self.handle, stream: id };
        let Some(query) = core.queries.ask(waiter, WAITING_MAX) else {
            return self.answer(core, id, answer::unavailable(&core.name), now);
        };
        let timer = core.timers.add(Due::Query(query.0), now);
        core.set_timer(timer, Some(now + PATIENCE));
        if !asked {
            core.questions.push_back(ControlRequest::Token { query, credential });
        }
        if let Some(entry) = self.requests.get_mut(&id) {
            let admitting = Admitting { digest, kind: request.kind, query, timer, asked: !asked };
            entry.phase = Phase::Admitting(Box::new(admitting));
        }
    }

    /// The control plane's word on the token of a request.
    pub(crate) fn token_answered(
        &mut self,
        core: &mut Core,
        id: StreamId,
        result: Result<Arc<Grant>, TokenRefusal>,
        now: Instant,
    ) {
        let Some(Phase::Admitting(asked)) = self.requests.get(&id).map(|entry| &entry.phase) else {
            return;
        };
        let digest = asked.digest;
        let admitted = match result {
            Ok(grant) => Ok(self.token_accepted(core, digest, grant)),
            Err(refusal) => {
                core.stats.requests_unauthorized += 1;
                if refusal != TokenRefusal::Unavailable {
                    core.sources.failed(self.source, now);
                }
                Err(refusal)
            }
        };
        let shows = |phase: &Phase| matches!(phase, Phase::Admitting(a) if a.digest == digest);
        let entries = self.requests.iter().filter(|(_, entry)| shows(&entry.phase));
        let mut streams: Vec<StreamId> = entries.map(|(stream, _)| *stream).collect();
        streams.sort_unstable();
        for stream in streams {
            self.leave_admission(core, stream, &admitted, now);
        }
    }

    fn leave_admission(
        &mut self,
        core: &mut Core,
        id: StreamId,
        admitted: &Result<(u64, Arc<Grant>), TokenRefusal>,
        now: Instant,
    ) {
        let (session, grant) = match admitted {
            Ok((session, grant)) => (*session, Arc::clone(grant)),
            Err(refusal) => {
                let answer = answer::token_refused(&core.name, *refusal, &core.token_challenges);
                return self.answer(core, id, answer, now);
            }
        };
        let Some(entry) = self.requests.get_mut(&id) else { return };
        let Phase::Admitting(admitting) = std::mem::replace(&mut entry.phase, Phase::Answered)
        else {
            return;
        };
        let is_resource = matches!(admitting.kind, Kind::Resource { .. });
        let Admitting { kind, query, timer, .. } = *admitting;
        core.queries.cancel(query);
        core.timers.remove(timer);
        self.admitted(core, id, (session, grant), kind, now);
        if !is_resource {
            return;
        }
        // What came along with the field section is the begin of the content.
        let Some(entry) = self.requests.get_mut(&id) else { return };
        let rest = std::mem::take(&mut entry.rest);
        if let Err(error) = self.message_data(core, id, rest, now) {
            return self.fail(core, id, error, now);
        }
        self.readable(core, id, now);
    }
}
