//! A small HTTP/1.1 server: `GET /bytes/N?seed=S` and `POST` or `PUT /upload`.

use std::io;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::lab::pattern::{self, Hash};

const CHUNK_BYTES: usize = 64 << 10;

/// A request head of the lab's own drivers is a few lines; curl's is, too.
const HEAD_BYTES_MAX: u64 = 16 << 10;

/// `/bytes/N?seed=S`: how many bytes of which stream.
pub(super) fn parse_bytes(target: &str) -> Option<(u64, u64)> {
    let rest = target.strip_prefix("/bytes/")?;
    let (count, query) = rest.split_once('?').unwrap_or((rest, "seed=0"));
    Some((count.parse().ok()?, query.strip_prefix("seed=")?.parse().ok()?))
}

/// Accepts for ever.
pub(super) async fn serve(listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                tokio::spawn(connection(stream));
            }
            // Out of descriptors: the connections that hold them end sooner or later.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn connection(stream: TcpStream) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(CHUNK_BYTES, stream);
    loop {
        let mut head = Vec::new();
        loop {
            let line_start = head.len();
            let left = HEAD_BYTES_MAX.saturating_sub(line_start as u64);
            if (&mut stream).take(left).read_until(b'\n', &mut head).await? == 0 {
                return Ok(());
            }
            if matches!(&head[line_start..], b"\r\n" | b"\n") {
                break;
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut words = head.split_ascii_whitespace();
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        match (method, target) {
            ("GET", target) if target.starts_with("/bytes/") => match parse_bytes(target) {
                Some((count, seed)) => download(&mut stream, count, seed).await?,
                None => respond(&mut stream, "400 Bad Request", "want /bytes/N?seed=S\n").await?,
            },
            ("POST" | "PUT", "/upload") => match field(&head, "content-length") {
                Some(length) => upload(&mut stream, length).await?,
                None => respond(&mut stream, "411 Length Required", "").await?,
            },
            _ => respond(&mut stream, "404 Not Found", "GET /bytes/N or POST /upload\n").await?,
        }
        if head.to_ascii_lowercase().contains("connection: close") {
            return stream.shutdown().await;
        }
    }
}

async fn download(stream: &mut BufReader<TcpStream>, count: u64, seed: u64) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {count}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut sent = 0;
    while sent < count {
        let size = usize::try_from(count - sent).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        pattern::fill(seed, sent, &mut chunk[..size]);
        stream.write_all(&chunk[..size]).await?;
        sent += size as u64;
    }
    Ok(())
}

async fn upload(stream: &mut BufReader<TcpStream>, length: u64) -> io::Result<()> {
    let mut hash = Hash::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = length;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let count = stream.read(&mut chunk[..want]).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hash.update(&chunk[..count]);
        left -= count as u64;
    }
    let body = json!({ "count": length, "sha256": hash.finish() }).to_string();
    respond(stream, "200 OK", &body).await
}

async fn respond(stream: &mut BufReader<TcpStream>, status: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await
}

fn field(head: &str, name: &str) -> Option<u64> {
    let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(field, _)| field.eq_ignore_ascii_case(name))?;
    value.trim().parse().ok()
}
