//! Answers the engines' questions.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use weir_core::{ControlReply, ControlRequest, ResolveError, TokenRefusal};

use super::resolver::Resolver;
use super::resources::Resources;
use super::tokens::Tokens;
use crate::worker::{Peers, Question};

/// Questions waiting for this task; workers answer "busy" themselves beyond it.
pub(crate) const QUEUE: usize = 4_096;

/// Names being asked for at once over all workers: each holds a socket and a few kilobytes.
const LOOKUPS_MAX: usize = 1_024;

/// Serves until all workers are gone.
pub(crate) async fn serve(
    mut questions: mpsc::Receiver<Question>,
    peers: Arc<Peers>,
    resolver: Resolver,
    resources: Arc<Resources>,
    tokens: Option<Arc<Tokens>>,
) {
    let lookups = Arc::new(Semaphore::new(LOOKUPS_MAX));
    while let Some(Question { worker, request }) = questions.recv().await {
        let peers = Arc::clone(&peers);
        match request {
            ControlRequest::Resolve { query, name } => {
                let Ok(permit) = Arc::clone(&lookups).try_acquire_owned() else {
                    let result = Err(ResolveError::ServerFailure);
                    peers.reply(worker, ControlReply::Resolved { query, result });
                    continue;
                };
                let resolver = resolver.clone();
                tokio::spawn(async move {
                    let result = resolver.resolve(&name).await;
                    drop(permit);
                    peers.reply(worker, ControlReply::Resolved { query, result });
                });
            }
            ControlRequest::Token { query, credential } => {
                let taken = tokens.as_ref().is_some_and(|t| t.take(worker, query, credential));
                if !taken {
                    let result = Err(TokenRefusal::Unavailable);
                    peers.reply(worker, ControlReply::Token { query, result });
                }
            }
            ControlRequest::Http { query, grant, method, path, body } => {
                let resources = Arc::clone(&resources);
                tokio::spawn(async move {
                    let answer = resources.answer(&grant, &method, &path, &body).await;
                    let (status, body) = (answer.status, answer.body.into());
                    let content_type = "application/json";
                    peers.reply(worker, ControlReply::Http { query, status, content_type, body });
                });
            }
        }
    }
}
