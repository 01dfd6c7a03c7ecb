//! Requests for resources of the relay, answered by the control plane.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::StreamId;
use weir_proto::{Error, H3Code};

use crate::answer;
use crate::control::{ControlRequest, QueryId};
use crate::core::Core;
use crate::grants::Grant;
use crate::queries::Waiter;
use crate::timers::{Due, TimerId};

use super::Connection;
use super::request::Phase;

/// Everything that the relay itself has to say is below this path.
const PATH: &str = "/.well-known/weir/";

/// How long the control plane may take, the settlement sidecar behind it included.
const PATIENCE: Duration = Duration::from_secs(10);

/// Requests for resources that wait for the control plane, per engine. With the names being
/// resolved beside them they fit the queue of answers.
const WAITING_MAX: usize = 2048;

#[derive(Debug)]
pub(super) struct Resource {
    grant: Arc<Grant>,
    method: String,
    path: String,
    content_length: Option<u64>,
    body: BytesMut,
    waiting: Option<(QueryId, TimerId)>,
}

impl Resource {
    pub(super) fn new(
        grant: Arc<Grant>,
        method: String,
        path: String,
        content_length: Option<u64>,
    ) -> Self {
        Resource { grant, method, path, content_length, body: BytesMut::new(), waiting: None }
    }

    /// Whether the request was passed on.
    pub(super) fn is_complete(&self) -> bool {
        self.waiting.is_some()
    }

    /// The answer is of no interest any more.
    pub(super) fn abandon(self, core: &mut Core) {
        if let Some((query, timer)) = self.waiting {
            core.queries.cancel(query);
            core.timers.remove(timer);
        }
    }
}

impl Connection {
    pub(super) fn begin_resource(
        &mut self,
        core: &mut Core,
        id: StreamId,
        resource: Resource,
        now: Instant,
    ) {
        core.stats.resources += 1;
        if !resource.path.starts_with(PATH) {
            return self.answer(core, id, answer::not_found(&core.name), now);
        }
        if resource.content_length.is_some_and(|length| length > core.limits.body_bytes as u64) {
            return self.answer(core, id, answer::body_too_large(&core.name), now);
        }
        if let Some(request) = self.requests.get_mut(&id) {
            request.phase = Phase::Resource(Box::new(resource));
        }
    }

    pub(super) fn resource_data(
        &mut self,
        core: &mut Core,
        id: StreamId,
        data: &[u8],
        now: Instant,
    ) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let Phase::Resource(resource) = &mut request.phase else { return };
        if resource.body.len() + data.len() > core.limits.body_bytes {
            return self.answer(core, id, answer::body_too_large(&core.name), now);
        }
        resource.body.extend_from_slice(data);
    }

    /// The request is complete: pass it on.
    pub(super) fn resource_complete(
        &mut self,
        core: &mut Core,
        id: StreamId,
        now: Instant,
    ) -> Result<(), Error> {
        let waiter = Waiter::Resource { connection: self.handle, stream: id };
        let Some(request) = self.requests.get_mut(&id) else { return Ok(()) };
        let Phase::Resource(resource) = &mut request.phase else { return Ok(()) };
        if resource.content_length.is_some_and(|length| length != resource.body.len() as u64) {
            return Err(Error::Stream {
                code: H3Code::MESSAGE_ERROR,
                reason: "the content is not as long as content-length says",
            });
        }
        let Some(query) = core.queries.ask(waiter, WAITING_MAX) else {
            self.answer(core, id, answer::unavailable(&core.name), now);
            return Ok(());
        };
        let timer = core.timers.add(Due::Query(query.0), now);
        core.set_timer(timer, Some(now + PATIENCE));
        resource.waiting = Some((query, timer));
        core.questions.push_back(ControlRequest::Http {
            query,
            grant: resource.grant.clone(),
            method: std::mem::take(&mut resource.method),
            path: std::mem::take(&mut resource.path),
            body: resource.body.split().freeze(),
        });
        Ok(())
    }
}
