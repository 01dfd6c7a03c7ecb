//! The client side of SOCKS5, without authentication.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Target;

const CONNECT: u8 = 1;
const UDP_ASSOCIATE: u8 = 3;

/// The proxy's reply code (RFC 1928 section 6), if it was not "succeeded".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocksRefused(pub u8);

impl std::error::Error for SocksRefused {}

impl std::fmt::Display for SocksRefused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let meaning = match self.0 {
            1 => "general failure",
            2 => "not allowed by ruleset",
            3 => "network unreachable",
            4 => "host unreachable",
            5 => "connection refused",
            6 => "TTL expired",
            7 => "command not supported",
            8 => "address type not supported",
            _ => "unassigned",
        };
        write!(f, "SOCKS reply {:#04x}, {meaning}", self.0)
    }
}

pub(super) async fn connect(proxy: SocketAddr, target: &Target) -> Result<TcpStream> {
    let mut stream = greet(proxy).await?;
    request(&mut stream, CONNECT, target).await?;
    Ok(stream)
}

/// The control connection, which must be kept, and where to send datagrams to.
pub(super) async fn associate(proxy: SocketAddr) -> Result<(TcpStream, SocketAddr)> {
    let mut stream = greet(proxy).await?;
    let unknown = if proxy.is_ipv4() { "0.0.0.0" } else { "::" };
    let unknown = Target { host: unknown.into(), port: 0 };
    let mut relay = request(&mut stream, UDP_ASSOCIATE, &unknown).await?;
    if relay.ip().is_unspecified() {
        relay.set_ip(proxy.ip());
    }
    Ok((stream, relay))
}

/// ATYP, address and port.
pub(super) fn push_address(out: &mut Vec<u8>, target: &Target) {
    match target.host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => {
            out.push(1);
            out.extend_from_slice(&ip.octets());
        }
        Ok(IpAddr::V6(ip)) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
        Err(_) => {
            out.push(3);
            // Target's parser allows at most 255 bytes.
            out.push(target.host.len() as u8);
            out.extend_from_slice(target.host.as_bytes());
        }
    }
    out.extend_from_slice(&target.port.to_be_bytes());
}

/// Where the payload of a datagram from the proxy starts.
pub(super) fn payload_start(datagram: &[u8]) -> Option<usize> {
    let [0, 0, 0, kind, rest @ ..] = datagram else { return None };
    let address = match kind {
        1 => 4,
        4 => 16,
        3 => 1 + usize::from(*rest.first()?),
        _ => return None,
    };
    let start = 4 + address + 2;
    (start <= datagram.len()).then_some(start)
}

async fn greet(proxy: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(proxy)
        .await
        .with_context(|| format!("connecting to the SOCKS proxy {proxy}"))?;
    stream.set_nodelay(true)?;
    stream.write_all(&[5, 1, 0]).await?;
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await.context("SOCKS greeting")?;
    if answer != [5, 0] {
        bail!("the SOCKS proxy answered {answer:?} to the greeting");
    }
    Ok(stream)
}

async fn request(stream: &mut TcpStream, command: u8, target: &Target) -> Result<SocketAddr> {
    let mut request = vec![5, command, 0];
    push_address(&mut request, target);
    stream.write_all(&request).await?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.context("SOCKS reply")?;
    let ip = match head[3] {
        1 => IpAddr::V4(Ipv4Addr::from(stream.read_u32().await?)),
        4 => IpAddr::V6(Ipv6Addr::from(stream.read_u128().await?)),
        kind => bail!("the SOCKS proxy answered with address type {kind}"),
    };
    let port = stream.read_u16().await?;
    if head[0] != 5 || head[1] != 0 {
        return Err(SocksRefused(head[1]).into());
    }
    Ok(SocketAddr::new(ip, port))
}
