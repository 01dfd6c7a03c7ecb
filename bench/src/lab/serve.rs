//! The "internet": everything that an exit's targets are to it, on one host.

mod dns;
mod echo;
mod h3;
mod http;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::pattern::hex;
use super::tls;
use dns::Zone;

/// Arguments of `weir-lab serve`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// IPv4 address to serve on, and what names resolve to.
    #[arg(long)]
    pub v4: Option<Ipv4Addr>,
    /// IPv6 address to serve on, and what names resolve to.
    #[arg(long)]
    pub v6: Option<Ipv6Addr>,
    /// Folder for the HTTP/3 server's certificate, `lab-cert.pem`.
    #[arg(long)]
    pub dir: PathBuf,
    /// HTTP/1.1: GET /bytes/N?seed=S, POST or PUT /upload.
    #[arg(long, default_value_t = 80)]
    pub http_port: u16,
    /// HTTP/3: the same GET.
    #[arg(long, default_value_t = 443)]
    pub h3_port: u16,
    /// UDP echo.
    #[arg(long, default_value_t = 7)]
    pub echo_port: u16,
    /// DNS over UDP.
    #[arg(long, default_value_t = 53)]
    pub dns_port: u16,
    /// The zone that the DNS server answers for.
    #[arg(long, default_value = "lab.test")]
    pub zone: String,
}

/// Where the servers listen; printed as the ready line.
#[derive(Debug, Clone, Serialize)]
pub struct Ready {
    pub ready: bool,
    pub http: Vec<SocketAddr>,
    pub h3: Vec<SocketAddr>,
    pub echo: Vec<SocketAddr>,
    pub dns: Vec<SocketAddr>,
    /// PEM file of the HTTP/3 certificate.
    pub cert: PathBuf,
    /// SHA-256 of that certificate.
    pub cert_sha256: String,
}

/// Running servers; they stop when this is dropped.
#[derive(Debug)]
pub struct Servers {
    pub ready: Ready,
    tasks: JoinSet<()>,
}

/// The echo must not drop what a burst brings; the kernel grants what its limits allow.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// Serves until SIGINT or SIGTERM, after a line of JSON that says where.
pub async fn run(args: Args) -> Result<()> {
    let servers = start(&args).await?;
    println!("{}", serde_json::to_string(&servers.ready)?);
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        result = tokio::signal::ctrl_c() => result?,
    }
    drop(servers.tasks);
    Ok(())
}

/// Opens all sockets and starts all servers.
pub async fn start(args: &Args) -> Result<Servers> {
    let addresses: Vec<IpAddr> =
        args.v4.map(IpAddr::V4).into_iter().chain(args.v6.map(IpAddr::V6)).collect();
    ensure!(!addresses.is_empty(), "give --v4, --v6 or both");
    let names = ["web", "echo"].map(|host| format!("{host}.{}", args.zone));
    let subjects = names.iter().cloned().chain(addresses.iter().map(IpAddr::to_string)).collect();
    let (quic, der, pem) = tls::server(subjects)?;
    let cert = args.dir.join("lab-cert.pem");
    std::fs::create_dir_all(&args.dir)?;
    std::fs::write(&cert, pem).with_context(|| format!("writing {}", cert.display()))?;
    let zone = Zone::new(&args.zone, args.v4, args.v6)?;
    let cert_sha256 = hex(ring::digest::digest(&ring::digest::SHA256, &der).as_ref());
    let mut ready = Ready {
        ready: true,
        http: Vec::new(),
        h3: Vec::new(),
        echo: Vec::new(),
        dns: Vec::new(),
        cert,
        cert_sha256,
    };
    let mut tasks = JoinSet::new();
    for ip in addresses {
        let address = (ip, args.http_port);
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("HTTP on {address:?}"))?;
        ready.http.push(listener.local_addr()?);
        tasks.spawn(http::serve(listener));

        let socket = udp_socket((ip, args.h3_port).into()).context("HTTP/3")?;
        ready.h3.push(socket.local_addr()?);
        tasks.spawn(h3::serve(h3::endpoint(socket, quic.clone())?));

        let socket = UdpSocket::from_std(udp_socket((ip, args.echo_port).into()).context("echo")?)?;
        ready.echo.push(socket.local_addr()?);
        tasks.spawn(echo::serve(socket));

        let socket = UdpSocket::from_std(udp_socket((ip, args.dns_port).into()).context("DNS")?)?;
        ready.dns.push(socket.local_addr()?);
        tasks.spawn(dns::serve(socket, zone.clone()));
    }
    Ok(Servers { ready, tasks })
}

fn udp_socket(address: SocketAddr) -> Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into()).with_context(|| format!("binding {address}"))?;
    Ok(socket.into())
}
