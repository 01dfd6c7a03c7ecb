//! The HTTP/1.1 CONNECT proxy (RFC 9110 section 9.3.6).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, info};

use crate::http1::{self, HeadError};
use crate::relay::Pool;
use crate::target::Target;
use crate::tcp;

/// As for SOCKS5: bounds memory and file descriptors; later applications wait in the listen queue.
const APPLICATIONS_MAX: usize = 4096;

const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts applications for ever.
pub(crate) async fn serve(listener: TcpListener, pool: Arc<Pool>) {
    let places = Arc::new(Semaphore::new(APPLICATIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((application, from)) => {
                let pool = Arc::clone(&pool);
                tokio::spawn(async move {
                    if let Err(error) = serve_one(application, &pool).await {
                        debug!(%from, %error, "HTTP proxy connection ended early");
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

async fn serve_one(mut application: TcpStream, pool: &Pool) -> io::Result<()> {
    let head = tokio::time::timeout(HEAD_TIMEOUT, http1::read_head(&mut application)).await;
    let (head, early) = match head {
        Err(_) => {
            return refuse(&mut application, StatusCode::REQUEST_TIMEOUT, &[], "no request").await;
        }
        Ok(Err(HeadError::Io(error))) => return Err(error),
        Ok(Err(error)) => {
            return refuse(&mut application, error.status(), &[], &error.to_string()).await;
        }
        Ok(Ok(head)) => head,
    };
    if head.method != "CONNECT" {
        return refuse_method(&mut application, &head.target).await;
    }
    let Some(target) = Target::parse_authority(&head.target) else {
        let text = format!("CONNECT needs host:port, not {:?}", head.target);
        return refuse(&mut application, StatusCode::BAD_REQUEST, &[], &text).await;
    };
    match pool.open_tcp(&target).await {
        Ok(tunnel) => {
            application.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            tcp::join(application, tunnel, early).await;
            Ok(())
        }
        Err(refusal) => {
            info!(%target, %refusal, "TCP tunnel not opened");
            // Only what the relay itself said; our own words go in the body.
            let said = refusal.status.map_or("", |_| refusal.detail.as_str());
            let fields: &[(&str, &str)] =
                if said.is_empty() { &[] } else { &[("proxy-status", said)] };
            refuse(&mut application, refusal.http_status(), fields, &refusal.to_string()).await
        }
    }
}

/// A request for a whole `http:` URL is something this proxy does not implement; any other is not
/// meant for a proxy at all.
async fn refuse_method(application: &mut TcpStream, target: &str) -> io::Result<()> {
    if target.starts_with("http://") {
        let text =
            "this proxy only tunnels; let the program use CONNECT, or SOCKS5, for http: URLs";
        return refuse(application, StatusCode::NOT_IMPLEMENTED, &[], text).await;
    }
    let allow = [("allow", "CONNECT")];
    let text = "this is a proxy and not a web server; only CONNECT is served";
    refuse(application, StatusCode::METHOD_NOT_ALLOWED, &allow, text).await
}

async fn refuse(
    application: &mut TcpStream,
    status: StatusCode,
    fields: &[(&str, &str)],
    text: &str,
) -> io::Result<()> {
    let body = format!("weir client: {text}\n");
    http1::respond(application, status, "text/plain; charset=utf-8", fields, &body).await
}
