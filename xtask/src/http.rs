//! A request to a program of the lab. Its admin endpoint listens on the loopback of its own
//! namespace, so the request is made by this very binary, started inside that namespace.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::demo::lab::{Host, Lab};
use crate::sh;

/// The chore that [`request`] starts; not for people, so not in the usage text.
pub const CHORE: &str = "http";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Longer than any answer takes: settling waits for blocks.
const READ_TIMEOUT: Duration = Duration::from_secs(90);

/// Sends `method path` to `addr` on `host` and parses the answer.
pub fn request(
    lab: &Lab,
    host: Host,
    method: &str,
    addr: SocketAddr,
    path: &str,
    body: &str,
) -> Result<Value> {
    let this = std::env::current_exe().context("this program's own path")?;
    let mut command = lab.on(host, this);
    command.args([CHORE, method, &addr.to_string(), path, body]);
    let body = sh::read(&mut command)?;
    serde_json::from_str(&body).with_context(|| format!("{method} {path} answered {body:?}"))
}

/// `xtask http METHOD ADDR PATH BODY`: prints the body of the answer.
pub fn run(args: &[String]) -> Result<()> {
    let [method, addr, path, body] = args else { bail!("http takes METHOD ADDR PATH BODY") };
    let addr: SocketAddr = addr.parse()?;
    let mut stream = TcpStream::connect_timeout(&addr, CONNECT_TIMEOUT)
        .with_context(|| format!("nothing answers at {addr}"))?;
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {addr}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no end of headers")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(body)? } else { body.to_owned() };
    if status != "200" {
        bail!("{method} {path} answered {status}: {body}");
    }
    print!("{body}");
    Ok(())
}

fn unchunk(mut rest: &str) -> Result<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").context("a chunk without a size")?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)?;
        if size == 0 {
            return Ok(body);
        }
        body.push_str(after.get(..size).context("a chunk that is cut short")?);
        rest = after.get(size + 2..).context("a chunk without an end")?;
    }
}
