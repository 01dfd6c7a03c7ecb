//! One download per interval, just long enough to show the committed rate.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use weir_sla::Reference;

use crate::proxy::{authority, read_head};
use crate::tally::Peak;

/// One read. The kernel's receive buffer is the same order of size.
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes that don't come for so long are no download that probes would have to wait behind.
const STALL: Duration = Duration::from_millis(200);
/// A refusal's text is a line.
const TEXT_BYTES_MAX: u64 = 4 << 10;

/// What a download showed.
#[derive(Debug)]
pub(crate) enum Burst {
    /// The exit carried so much in the best second: nothing, if it opened no tunnel.
    Carried { kbps: u64 },
    /// Nothing is known of the exit, and why: it refuses this customer, or the reference has
    /// nothing to give.
    Unknown(String),
}

/// Downloads `bytes` from an HTTP reference through the client's HTTP proxy, for `limit` at most.
/// `busy` is set while bytes come.
pub(crate) async fn run(
    proxy: SocketAddr,
    reference: &Reference,
    bytes: u64,
    limit: Duration,
    busy: &AtomicBool,
) -> Burst {
    let mut peak = Peak::default();
    let download = download(proxy, reference, bytes, &mut peak, busy);
    let outcome = tokio::time::timeout(limit, download).await;
    busy.store(false, Relaxed);
    match outcome {
        Ok(Ok(Some(unknown))) => Burst::Unknown(unknown),
        // Broken off, by the exit or by the clock: what came until then came.
        Ok(Ok(None) | Err(_)) | Err(_) => Burst::Carried { kbps: peak.kbps() },
    }
}

/// Some text if the download says nothing about the exit.
async fn download(
    proxy: SocketAddr,
    reference: &Reference,
    bytes: u64,
    peak: &mut Peak,
    busy: &AtomicBool,
) -> io::Result<Option<String>> {
    let mut stream = TcpStream::connect(proxy).await?;
    let authority = authority(reference);
    let connect = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n");
    stream.write_all(connect.as_bytes()).await?;
    if let Some(own) = turned_away(&mut stream).await? {
        return Ok(Some(own));
    }
    let get = format!(
        "GET {} HTTP/1.1\r\nhost: {authority}\r\nrange: bytes=0-{}\r\nconnection: close\r\n\r\n",
        reference.path,
        bytes.saturating_sub(1),
    );
    let begins = Instant::now();
    let at_ms = || u64::try_from(begins.elapsed().as_millis()).unwrap_or(u64::MAX);
    peak.look(0, 0);
    stream.write_all(get.as_bytes()).await?;
    let (status, head, body) = read_head(&mut stream).await?;
    if !matches!(status, 200 | 206) {
        return Ok(Some(format!("{reference} answers with status {status}")));
    }
    if content_length(&head).is_none_or(|length| length < bytes) {
        return Ok(Some(format!("{reference} has less than the {bytes} bytes that are needed")));
    }
    let mut got = body.len() as u64;
    peak.look(at_ms(), got);
    let mut chunk = vec![0; CHUNK_BYTES];
    while got < bytes {
        let Ok(read) = tokio::time::timeout(STALL, stream.read(&mut chunk)).await else {
            busy.store(false, Relaxed);
            continue;
        };
        let read = read?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        busy.store(true, Relaxed);
        got += read as u64;
        peak.look(at_ms(), got);
    }
    Ok(None)
}

/// The proxy's answer to CONNECT. A customer that the exit turns away, because of a credential or a
/// credit that may be the customer's own fault, learns nothing about the exit's service: that is
/// the text of the refusal. Any other refusal is an error.
async fn turned_away(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let (status, _, mut body) = read_head(stream).await?;
    if status == 200 {
        return Ok(None);
    }
    stream.take(TEXT_BYTES_MAX).read_to_end(&mut body).await?;
    let text = String::from_utf8_lossy(&body).trim().to_owned();
    // The client tells an application 502 where the relay told the client 401 or 407.
    let refused = |code: &str| text.contains(code);
    let own = matches!(status, 402 | 429) || refused("(relay: 401)") || refused("(relay: 407)");
    match own {
        true => Ok(Some(text)),
        false => Err(io::Error::other(text)),
    }
}

fn content_length(head: &str) -> Option<u64> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let field = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    field.1.trim().parse().ok()
}
