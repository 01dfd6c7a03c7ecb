//! The operator's socket: one line of JSON asks, one line of JSON answers.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, info};

use crate::error::Error;
use crate::journal::entry::{Item, Note};
use crate::sidecar::Sidecar;
use crate::status::status;

/// No request is near this long.
const REQUEST_LEN_MAX: u64 = 16 * 1024;
/// Operators at the same time.
const CONNECTIONS_MAX: usize = 16;
/// A client that doesn't say what it wants by then is gone.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What an operator can ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// The state.
    Status,
    /// Claim, settle and anchor now, and answer when all of it is final.
    SettleNow,
    /// Journal a decision.
    Note(Note),
    /// Journal a measurer's statement, which the asker has checked.
    Statement(weir_usage::SignedSample),
}

/// Answers operators until `stop`.
pub async fn serve(listener: UnixListener, sidecar: Sidecar, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                match accepted {
                    Ok((stream, _)) => drop(connections.spawn(answer(stream, sidecar.clone()))),
                    Err(e) => {
                        debug!("can't accept an operator: {e}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
            Some(_) = connections.join_next() => {}
            () = crate::stopped(&mut stop) => return,
        }
    }
}

async fn answer(stream: UnixStream, sidecar: Sidecar) {
    let (input, mut output) = stream.into_split();
    let mut line = String::new();
    let mut input = BufReader::new(input.take(REQUEST_LEN_MAX));
    let read = tokio::time::timeout(REQUEST_TIMEOUT, input.read_line(&mut line)).await;
    if !matches!(read, Ok(Ok(_))) {
        return;
    }
    let answer = match serde_json::from_str(&line) {
        Ok(request) => handle(request, &sidecar).await,
        Err(e) => json!({ "error": format!("not a request: {e}") }),
    };
    // A client that went away needs no answer.
    drop(output.write_all(format!("{answer}\n").as_bytes()).await);
}

async fn handle(request: Request, sidecar: &Sidecar) -> Value {
    let outcome = match request {
        Request::Status => serde_json::to_value(status(sidecar)).map_err(|e| e.to_string()),
        Request::SettleNow => match sidecar.driver.settle_now().await {
            Ok(report) => serde_json::to_value(report).map_err(|e| e.to_string()),
            Err(e) => Err(e.to_string()),
        },
        Request::Note(note) => {
            info!(?note, "the operator decided");
            let done = sidecar.clerk.journal(vec![Item::Note(note)]).await;
            done.map(|()| json!({})).map_err(|e| e.to_string())
        }
        Request::Statement(statement) => {
            let done = sidecar.clerk.journal(vec![Item::Statement(Box::new(statement))]).await;
            done.map(|()| json!({})).map_err(|e| e.to_string())
        }
    };
    match outcome {
        Ok(value) => json!({ "ok": value }),
        Err(e) => json!({ "error": e }),
    }
}

/// Asks a running sidecar.
///
/// # Errors
/// [`Error::Io`] if nobody listens at `path`, or with the sidecar's own words.
pub async fn ask(path: &Path, request: &Request) -> Result<Value, Error> {
    let said = |words: String| Error::io("ask the sidecar at", path)(std::io::Error::other(words));
    let mut stream =
        UnixStream::connect(path).await.map_err(Error::io("reach the sidecar at", path))?;
    let line = serde_json::to_string(request).map_err(|e| said(e.to_string()))?;
    stream
        .write_all(format!("{line}\n").as_bytes())
        .await
        .map_err(Error::io("ask the sidecar at", path))?;
    let mut answer = String::new();
    BufReader::new(stream)
        .read_line(&mut answer)
        .await
        .map_err(Error::io("hear the sidecar at", path))?;
    let mut answer: Value =
        serde_json::from_str(&answer).map_err(|_| said("it went away without an answer".into()))?;
    match (answer.get("ok").is_some(), answer.get("error").and_then(Value::as_str)) {
        (true, _) => Ok(answer["ok"].take()),
        (_, Some(error)) => Err(said(error.into())),
        _ => Err(said("it answered something else".into())),
    }
}
