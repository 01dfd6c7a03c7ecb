//! An HTTP/3 request whose QUIC packets travel inside the proxy's UDP: QUIC in QUIC.

use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use bytes::Buf;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Endpoint, EndpointConfig, TransportConfig, UdpPoller};
use serde_json::json;

use super::Outcome;
use crate::lab::path::{Target, UdpPath, Via};
use crate::lab::pattern::{self, Hash};
use crate::lab::tls;

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub via: Via,
    /// The web server; the name that its certificate must have.
    #[arg(long)]
    pub host: String,
    #[arg(long, default_value_t = 443)]
    pub port: u16,
    /// The certificate to trust: what `weir-lab serve` wrote to its folder.
    #[arg(long)]
    pub ca: PathBuf,
    /// Size of the body.
    #[arg(long, default_value_t = 1 << 20)]
    pub bytes: u64,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// QUIC wants an address for its peer; the path behind this one goes to the target alone.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 443);

pub(super) async fn run(args: Args) -> Result<Outcome> {
    let start = Instant::now();
    let target = Target { host: args.host.clone(), port: args.port };
    let path = Arc::new(args.via.udp(&target).await?);
    let socket = Arc::new(PathSocket { path: Arc::clone(&path) });
    let runtime = Arc::new(quinn::TokioRuntime);
    let endpoint =
        Endpoint::new_with_abstract_socket(EndpointConfig::default(), None, socket, runtime)?;
    let mut config = tls::client(&args.ca)?;
    let mut transport = TransportConfig::default();
    // A packet of the inner connection must fit a datagram of the outer one, so it stays at the
    // 1200 bytes that every path carries.
    transport.mtu_discovery_config(None);
    config.transport_config(Arc::new(transport));
    let connection = endpoint.connect_with(config, PEER, &args.host)?.await;
    let connection = connection.with_context(|| format!("QUIC handshake with {target}"))?;
    let handshake = start.elapsed();
    let quic = h3_quinn::Connection::new(connection.clone());
    let (mut driver, mut requests) = h3::client::new(quic).await?;
    let driver = tokio::spawn(async move { poll_fn(|cx| driver.poll_close(cx)).await });
    let uri = format!("https://{target}/bytes/{}?seed={}", args.bytes, args.seed);
    let mut stream = requests.send_request(http::Request::get(uri).body(())?).await?;
    stream.finish().await?;
    let status = stream.recv_response().await?.status();
    if !status.is_success() {
        bail!("the server answered {status}");
    }
    let mut hash = Hash::default();
    let mut received = 0;
    while let Some(mut chunk) = stream.recv_data().await? {
        while chunk.has_remaining() {
            let bytes = chunk.chunk();
            if let Some(at) = pattern::mismatch(args.seed, received, bytes) {
                bail!("byte {at} of the body is wrong");
            }
            hash.update(bytes);
            received += bytes.len() as u64;
            let count = bytes.len();
            chunk.advance(count);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    drop((stream, requests));
    driver.await?;
    endpoint.wait_idle().await;
    let fields = json!({
        "status": status.as_u16(),
        "body_bytes": received,
        "sha256": hash.finish(),
        "verified": true,
        "payload": path.counts(),
        "handshake_ms": handshake.as_secs_f64() * 1e3,
        "seconds": seconds,
        "mbit_per_s": received as f64 * 8.0 / seconds / 1e6,
        "lost_packets": connection.stats().path.lost_packets,
    });
    Ok(Outcome::check(fields, received == args.bytes, || {
        format!("the body ended after {received} of {} bytes", args.bytes)
    }))
}

/// quinn's view of a [`UdpPath`]: one datagram at a time, always from and to [`PEER`].
#[derive(Debug)]
struct PathSocket {
    path: Arc<UdpPath>,
}

impl AsyncUdpSocket for PathSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable { path: Arc::clone(&self.path), waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.path.try_send(transmit.contents)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let length = ready!(self.path.poll_receive(cx, &mut buffers[0]))?;
        metas[0] = RecvMeta { addr: PEER, len: length, stride: length, ecn: None, dst_ip: None };
        Poll::Ready(Ok(1))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        // quinn compares address families with the peer's.
        Ok(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), self.path.local_addr()?.port()))
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

type Waiting = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

/// Waits until the socket is writable, any number of times.
struct Writable {
    path: Arc<UdpPath>,
    waiting: Option<Waiting>,
}

impl UdpPoller for Writable {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let path = Arc::clone(&self.path);
        let waiting =
            self.waiting.get_or_insert_with(|| Box::pin(async move { path.writable().await }));
        let result = ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        Poll::Ready(result)
    }
}

impl std::fmt::Debug for Writable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writable")
    }
}
