//! HTTP/1.1 transfers over one TCP connection.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Outcome;
use crate::lab::path::{Target, Via};
use crate::lab::pattern::{self, Hash};

const CHUNK_BYTES: usize = 64 << 10;

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub via: Via,
    /// The web server.
    #[arg(long)]
    pub host: String,
    #[arg(long, default_value_t = 80)]
    pub port: u16,
    /// Size of the body.
    #[arg(long)]
    pub bytes: u64,
    /// Which deterministic stream.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// A response head and the part of the body that came with it.
struct Response {
    head_bytes: u64,
    status_line: String,
    body: Vec<u8>,
}

pub(super) async fn download(args: Args) -> Result<Outcome> {
    let start = Instant::now();
    let mut stream = connect(&args).await?;
    let connected = start.elapsed();
    let request = format!(
        "GET /bytes/{}?seed={} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
        args.bytes, args.seed, args.host
    );
    stream.write_all(request.as_bytes()).await?;
    let response = read_head(&mut stream).await?;
    let first_byte = start.elapsed();
    let mut hash = Hash::default();
    let mut received = 0;
    let mut chunk = response.body;
    loop {
        if let Some(at) = pattern::mismatch(args.seed, received, &chunk) {
            bail!("byte {at} of the body is wrong");
        }
        hash.update(&chunk);
        received += chunk.len() as u64;
        chunk.resize(CHUNK_BYTES, 0);
        let count = stream.read(&mut chunk).await.context("reading the body")?;
        if count == 0 {
            break;
        }
        chunk.truncate(count);
    }
    let seconds = start.elapsed().as_secs_f64();
    let fields = json!({
        "body_bytes": received,
        "bytes_up": request.len(),
        "bytes_down": response.head_bytes + received,
        "sha256": hash.finish(),
        "verified": true,
        "connect_ms": connected.as_secs_f64() * 1e3,
        "first_byte_ms": first_byte.as_secs_f64() * 1e3,
        "seconds": seconds,
        "mbit_per_s": received as f64 * 8.0 / seconds / 1e6,
    });
    Ok(Outcome::check(fields, received == args.bytes, || {
        format!("the body ended after {received} of {} bytes", args.bytes)
    }))
}

pub(super) async fn upload(args: Args) -> Result<Outcome> {
    let start = Instant::now();
    let mut stream = connect(&args).await?;
    let connected = start.elapsed();
    let request = format!(
        "POST /upload HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        args.host, args.bytes
    );
    stream.write_all(request.as_bytes()).await?;
    let mut hash = Hash::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut sent = 0;
    while sent < args.bytes {
        let size = usize::try_from(args.bytes - sent).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        pattern::fill(args.seed, sent, &mut chunk[..size]);
        stream.write_all(&chunk[..size]).await.context("sending the body")?;
        hash.update(&chunk[..size]);
        sent += size as u64;
    }
    let mut response = read_head(&mut stream).await?;
    stream.read_to_end(&mut response.body).await?;
    let seconds = start.elapsed().as_secs_f64();
    let answer: Value = serde_json::from_slice(&response.body).context("the server's answer")?;
    let sha256 = hash.finish();
    let right = answer["count"] == sent && answer["sha256"] == sha256.as_str();
    let fields = json!({
        "body_bytes": sent,
        "bytes_up": request.len() as u64 + sent,
        "bytes_down": response.head_bytes + response.body.len() as u64,
        "sha256": sha256,
        "server": answer,
        "verified": right,
        "connect_ms": connected.as_secs_f64() * 1e3,
        "seconds": seconds,
        "mbit_per_s": sent as f64 * 8.0 / seconds / 1e6,
    });
    Ok(Outcome::check(fields, right, || "the server received something else".into()))
}

async fn connect(args: &Args) -> Result<TcpStream> {
    let target = Target { host: args.host.clone(), port: args.port };
    args.via.connect(&target).await.with_context(|| format!("connecting to {target}"))
}

async fn read_head(stream: &mut TcpStream) -> Result<Response> {
    let mut buffer = Vec::with_capacity(CHUNK_BYTES);
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = buffer.split_off(end + 4);
            let head = String::from_utf8_lossy(&buffer);
            let status_line = head.lines().next().unwrap_or("").to_owned();
            let response = Response { head_bytes: buffer.len() as u64, status_line, body };
            if !response.status_line.starts_with("HTTP/1.1 200") {
                bail!("the server answered {:?}", response.status_line);
            }
            return Ok(response);
        }
        if buffer.len() > CHUNK_BYTES {
            bail!("the response head has no end");
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            bail!("the connection ended before the response head");
        }
    }
}
