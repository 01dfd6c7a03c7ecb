//! `/metrics` (Prometheus text), `/status` (JSON) and `/healthz` on a loopback address.

pub mod families;
mod text;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tracing::debug;

pub use text::render;

use crate::error::Error;
use crate::sidecar::Sidecar;
use crate::status::status;

/// Scrapers at the same time.
const CONNECTIONS_MAX: usize = 32;
/// For the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Listens on `address`.
///
/// # Errors
/// [`Error::Io`], for example if the port is taken.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    let name = address.to_string();
    TcpListener::bind(address).await.map_err(Error::io("listen on", name.as_ref()))
}

/// Answers until `stop`.
pub async fn serve(listener: TcpListener, sidecar: Sidecar, mut stop: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(e) => {
                    debug!("can't accept a scraper: {e}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = crate::stopped(&mut stop) => return,
        };
        let (sidecar, mut stop) = (sidecar.clone(), stop.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = answer(&request, &sidecar);
                async { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                outcome = connection => if let Err(e) = outcome { debug!("scraper: {e}") },
                () = crate::stopped(&mut stop) => {}
            }
            drop(slot);
        });
    }
}

fn answer(request: &Request<Incoming>, sidecar: &Sidecar) -> Response<Full<Bytes>> {
    if request.method() != Method::GET {
        return response(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".into());
    }
    match request.uri().path() {
        "/metrics" => response(StatusCode::OK, "text/plain; version=0.0.4", render(sidecar)),
        "/status" => match serde_json::to_string(&status(sidecar)) {
            Ok(body) => response(StatusCode::OK, "application/json", body),
            Err(e) => response(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", e.to_string()),
        },
        "/healthz" => match sidecar.clerk.views().borrow().journal.error.clone() {
            None => response(StatusCode::OK, "text/plain", "ok\n".into()),
            Some(e) => response(StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("{e}\n")),
        },
        _ => response(
            StatusCode::NOT_FOUND,
            "text/plain",
            "there are /metrics, /status and /healthz\n".into(),
        ),
    }
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}
