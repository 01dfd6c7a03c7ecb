//! The loopback endpoint of a running client, and how to ask it.

mod metrics;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::debug;

use crate::client::Shared;
use crate::http1::{self, Head, HeadError};
use crate::{Error, SettleReport, UsageSnapshot};

/// Scripts and a person at a time.
const CONNECTIONS_MAX: usize = 32;

const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const JSON: &str = "application/json";

/// How long `POST /settle` tries without a `timeout_ms`, and at most.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);
const SETTLE_TIMEOUT_MAX: Duration = Duration::from_secs(300);

/// A snapshot with full tables has some thousand rows.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// How long an answer other than a settlement may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks a running client for its usage (`weir client usage`).
pub async fn fetch_usage(admin: SocketAddr) -> Result<UsageSnapshot, Error> {
    ask(admin, "GET /usage", ASK_TIMEOUT).await
}

/// Makes a running client settle with its relay now: it asks and pays until both sides count the
/// same and all of it is paid, or `timeout` passes. [`SettleReport::settled`] says which.
pub async fn request_settle(admin: SocketAddr, timeout: Duration) -> Result<SettleReport, Error> {
    let request = format!("POST /settle?timeout_ms={}", timeout.as_millis());
    ask(admin, &request, timeout + ASK_TIMEOUT).await
}

async fn ask<T: DeserializeOwned>(
    admin: SocketAddr,
    request: &str,
    timeout: Duration,
) -> Result<T, Error> {
    let wrong = |problem: String| Error::Admin { address: admin, problem };
    let exchange = async {
        let mut stream = TcpStream::connect(admin).await?;
        let head = format!(
            "{request} HTTP/1.1\r\nhost: {admin}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    };
    let answer = match tokio::time::timeout(timeout, exchange).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Err(wrong(
                "nothing listens there; is `weir client` running with --admin?".into(),
            ));
        }
        Ok(Err(error)) => return Err(wrong(error.to_string())),
        Err(_) => return Err(wrong("no answer in time".into())),
    };
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) =
        answer.split_once("\r\n\r\n").ok_or_else(|| wrong("the answer is cut short".into()))?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(wrong(body.trim().to_owned()));
    }
    serde_json::from_str(body).map_err(|error| wrong(format!("unexpected answer: {error}")))
}

/// Answers for ever.
pub(crate) async fn serve(listener: TcpListener, client: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, from)) => {
                let client = Arc::clone(&client);
                tokio::spawn(async move {
                    if let Err(error) = serve_one(stream, &client).await {
                        debug!(%from, %error, "admin connection ended early");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                debug!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_one(mut stream: TcpStream, client: &Shared) -> io::Result<()> {
    let (status, content, body) =
        match tokio::time::timeout(HEAD_TIMEOUT, http1::read_head(&mut stream)).await {
            Err(_) => return Ok(()),
            Ok(Err(HeadError::Io(error))) => return Err(error),
            Ok(Err(error)) => (error.status(), JSON, problem(&error.to_string())),
            Ok(Ok((head, _))) if is_for_metrics(&head) => {
                (StatusCode::OK, metrics::CONTENT, metrics::page(&client.usage()))
            }
            Ok(Ok((head, _))) => {
                let (status, body) = answer(&head, client).await;
                (status, JSON, body)
            }
        };
    http1::respond(&mut stream, status, content, &[], &body).await
}

fn is_for_metrics(head: &Head) -> bool {
    (head.method.as_str(), head.target.as_str()) == ("GET", "/metrics")
        && head.host.as_deref().is_some_and(names_loopback)
}

async fn answer(head: &Head, client: &Shared) -> (StatusCode, String) {
    // A web page can make a browser send requests here, but not with a Host of its choice.
    if !head.host.as_deref().is_some_and(names_loopback) {
        return (StatusCode::FORBIDDEN, problem("the Host field must be a loopback address"));
    }
    let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
    match (head.method.as_str(), path) {
        ("GET", "/usage") => (StatusCode::OK, json(&client.usage())),
        ("POST", "/settle") => {
            let Some(timeout) = settle_timeout(query) else {
                return (StatusCode::BAD_REQUEST, problem("timeout_ms is not a number"));
            };
            match client.settle(timeout).await {
                Some(report) => (StatusCode::OK, json(&report)),
                None => (StatusCode::CONFLICT, problem("this client has no payer configured")),
            }
        }
        (_, "/usage" | "/settle" | "/metrics") => (
            StatusCode::METHOD_NOT_ALLOWED,
            problem("use GET /usage, GET /metrics or POST /settle"),
        ),
        _ => {
            (StatusCode::NOT_FOUND, problem("there are GET /usage, GET /metrics and POST /settle"))
        }
    }
}

fn settle_timeout(query: &str) -> Option<Duration> {
    match query.strip_prefix("timeout_ms=") {
        None => Some(SETTLE_TIMEOUT),
        Some(text) => text.parse().ok().map(|ms| Duration::from_millis(ms).min(SETTLE_TIMEOUT_MAX)),
    }
}

fn names_loopback(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = host.split(':').next().unwrap_or(host);
    name == "localhost" || host.parse::<IpAddr>().or(name.parse()).is_ok_and(|ip| ip.is_loopback())
}

fn json(value: &impl serde::Serialize) -> String {
    // These types have no map with odd keys and no failing field.
    serde_json::to_string_pretty(value).unwrap_or_else(|error| problem(&error.to_string()))
}

fn problem(text: &str) -> String {
    serde_json::json!({ "error": text }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_hosts_pass() {
        for good in ["127.0.0.1:9601", "[::1]:9601", "localhost:9601", "localhost", "127.0.0.2"] {
            assert!(names_loopback(good), "{good}");
        }
        for bad in ["evil.test", "evil.test:9601", "10.0.0.1:80", "localhost.evil.test", ""] {
            assert!(!names_loopback(bad), "{bad}");
        }
    }
}
