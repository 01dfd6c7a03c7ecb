//! How an application reaches a target: directly, through a SOCKS5 proxy (RFC 1928), or through an
//! HTTP CONNECT proxy.

mod socks;
mod udp;

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub use socks::SocksRefused;
pub use udp::UdpPath;

/// The way out; without a proxy, the host's own.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Via {
    /// SOCKS5 proxy.
    #[arg(long, conflicts_with = "http")]
    pub socks: Option<SocketAddr>,
    /// HTTP CONNECT proxy (TCP only).
    #[arg(long)]
    pub http: Option<SocketAddr>,
}

/// `host:port`; the host is a name or an IP address, IPv6 in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub host: String,
    pub port: u16,
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let wrong = || format!("{text:?} is not host:port");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.len() > 255 {
            return Err(wrong());
        }
        Ok(Target { host: host.to_owned(), port: port.parse().map_err(|_| wrong())? })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Target {
    async fn resolve(&self) -> Result<SocketAddr> {
        let mut addresses = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
        addresses.next().with_context(|| format!("{} has no address", self.host))
    }
}

impl Via {
    /// A TCP connection to the target.
    pub async fn connect(&self, target: &Target) -> Result<TcpStream> {
        let stream = match (self.socks, self.http) {
            (Some(proxy), _) => socks::connect(proxy, target).await?,
            (None, Some(proxy)) => http_connect(proxy, target).await?,
            (None, None) => TcpStream::connect(target.resolve().await?).await?,
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A UDP path to the target.
    pub async fn udp(&self, target: &Target) -> Result<UdpPath> {
        match (self.socks, self.http) {
            (Some(proxy), _) => UdpPath::through_socks(proxy, target).await,
            (None, Some(_)) => bail!("an HTTP CONNECT proxy carries no UDP; use --socks"),
            (None, None) => UdpPath::direct(target.resolve().await?).await,
        }
    }
}

async fn http_connect(proxy: SocketAddr, target: &Target) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(proxy).await.context("connecting to the HTTP proxy")?;
    let request = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    // Byte by byte: what follows the head is the target's.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > 16 << 10 {
            bail!("the HTTP proxy's answer has no end");
        }
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    if !head.starts_with("HTTP/1.1 200") {
        bail!("the HTTP proxy refused: {}", head.lines().next().unwrap_or(""));
    }
    Ok(stream)
}
