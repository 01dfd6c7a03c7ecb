//! The admin endpoint: metrics, health and status over HTTP/1.1, on loopback only.

mod metrics;
pub(crate) mod status;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue, ORIGIN};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::state::State;

/// A scraper, a person and a load balancer's health checks; more is a mistake.
const CONNECTIONS_MAX: usize = 64;

/// A request has no body and fits a few packets.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until the task is dropped.
pub(crate) async fn serve(listener: TcpListener, state: Arc<State>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("admin: accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = answer(&request, &state);
                async move { Ok::<_, Infallible>(response) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!("admin: {error}");
            }
            drop(slot);
        });
    }
}

fn answer<B>(request: &Request<B>, state: &State) -> Response<Full<Bytes>> {
    // A browser on this host must not become a remote control for web pages.
    if request.headers().contains_key(ORIGIN) {
        return text(StatusCode::FORBIDDEN, "not for browsers\n".to_owned());
    }
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => {
            let body = metrics::render(state);
            with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body)
        }
        (&Method::GET, "/status") => {
            let body = format!("{:#}\n", status::snapshot(state));
            with_type(StatusCode::OK, "application/json", body)
        }
        (&Method::GET, "/livez") => text(StatusCode::OK, "alive\n".to_owned()),
        (&Method::GET, "/readyz") if state.drain.has_begun() => {
            text(StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned())
        }
        (&Method::GET, "/readyz") => text(StatusCode::OK, "ready\n".to_owned()),
        (&Method::POST, "/drain") => {
            state.drain.ask();
            text(StatusCode::ACCEPTED, "draining\n".to_owned())
        }
        (_, "/metrics" | "/status" | "/livez" | "/readyz" | "/drain") => {
            text(StatusCode::METHOD_NOT_ALLOWED, "GET, or POST for /drain\n".to_owned())
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /metrics, /status, /livez, /readyz and POST /drain\n".to_owned(),
        ),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", body)
}

fn with_type(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
