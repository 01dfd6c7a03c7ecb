//! What an engine is told when it starts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quinn_proto::ConnectionIdGenerator;
use weir_proto::template::Templates;

use crate::grants::Grants;
use crate::policy::Policy;

/// Makes the generator of connection IDs of one worker; the steerer decodes what it generates.
pub type CidFactory = Arc<dyn Fn() -> Box<dyn ConnectionIdGenerator> + Send + Sync>;

/// Everything that an engine needs to know, apart from the time and a seed.
#[derive(Clone)]
pub struct EngineConfig {
    /// Names the relay in `Proxy-Status` (RFC 9209 section 2): a token, such as a host name.
    pub name: String,
    /// Random number of this process: the upper 64 bits of every tunnel ID.
    pub epoch: u64,
    /// Number of the worker that owns the engine.
    pub worker: u16,
    /// Certificate, key and client authentication. ALPN is set by the engine.
    pub tls: Arc<rustls::ServerConfig>,
    pub keys: EndpointKeys,
    pub cid: CidFactory,
    pub quic: QuicConfig,
    pub limits: Limits,
    /// Where CONNECT-UDP is served; [`Templates::default`] is what clients try first.
    pub templates: Templates,
    pub policy: Arc<Policy>,
    pub grants: Arc<Grants>,
}

impl fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineConfig")
            .field("name", &self.name)
            .field("worker", &self.worker)
            .field("quic", &self.quic)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Secrets that all workers of a relay share, so that any of them can answer for the others.
#[derive(Clone)]
pub struct EndpointKeys {
    /// Stateless reset tokens are derived from it (RFC 9000 section 10.3.2). Keep it over restarts.
    pub reset: [u8; 64],
    /// Seals Retry and NEW_TOKEN tokens (RFC 9000 section 8.1).
    pub token: [u8; 64],
}

impl fmt::Debug for EndpointKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndpointKeys(..)")
    }
}

/// The congestion controller of client-facing connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CongestionControl {
    #[default]
    Cubic,
    Bbr,
    NewReno,
}

/// Transport parameters and tuning of client-facing connections.
#[derive(Clone, Debug)]
pub struct QuicConfig {
    /// UDP payload bytes assumed to fit the path before discovery; 1200 to `mtu_upper_bound`.
    pub initial_mtu: u16,
    /// Where path MTU discovery stops; 1452 fits Ethernet over IPv6. At most 9000.
    pub mtu_upper_bound: u16,
    /// Discover the path MTU (RFC 8899). Needs sockets that never fragment.
    pub mtu_discovery: bool,
    pub congestion_control: CongestionControl,
    /// Silence after which a connection is forgotten.
    pub idle_timeout: Duration,
    /// Sends PING when a connection was silent for so long; off by default, clients do that.
    pub keep_alive: Option<Duration>,
    /// Bytes that a client may send on one stream ahead of the target: the uplink memory of a TCP
    /// tunnel.
    pub stream_receive_window: u32,
    /// The same for all streams of a connection, once it has shown a credential; before, it is
    /// at most 64 KiB.
    pub receive_window: u32,
    /// Bytes on all streams of a connection that are not acknowledged yet.
    pub send_window: u64,
    /// Bytes of QUIC DATAGRAM frames that wait in a connection, per direction.
    pub datagram_buffer: usize,
    /// Asks clients to acknowledge only every so many packets (draft-ietf-quic-ack-frequency), if
    /// they know how: each ACK that isn't sent is a packet less to receive. `None` leaves it to
    /// them, which is every other packet.
    pub ack_every: Option<u32>,
    /// Let client addresses change (RFC 9000 section 9).
    pub migration: bool,
}

impl Default for QuicConfig {
    fn default() -> Self {
        QuicConfig {
            initial_mtu: 1350,
            mtu_upper_bound: 1452,
            mtu_discovery: true,
            congestion_control: CongestionControl::Cubic,
            idle_timeout: Duration::from_secs(150),
            keep_alive: None,
            stream_receive_window: 1 << 20,
            receive_window: 16 << 20,
            send_window: 16 << 20,
            datagram_buffer: 1 << 20,
            ack_every: Some(10),
            migration: true,
        }
    }
}

/// Bounds on what clients can make one engine hold. All are per worker unless they say otherwise.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Client-facing connections, handshaking ones included.
    pub connections: usize,
    /// Connections from one source: an IPv4 address or an IPv6 /64. From half of it on, a new
    /// client must first prove its address (Retry).
    pub connections_per_source: usize,
    /// Handshaking connections above which a new client must first prove its address (Retry).
    pub retry_above: usize,
    /// A handshake that takes longer is dropped.
    pub handshake_timeout: Duration,
    /// A connection that has shown no valid credential for so long is closed.
    pub login_timeout: Duration,
    /// Request streams open at once on one connection; also the number of its tunnels.
    pub requests_per_connection: u32,
    /// Wrong or missing credentials accepted from one source per minute before requests from it
    /// are answered 429 without being looked at.
    pub auth_failures_per_minute: u32,
    /// Names being resolved at once.
    pub resolves: usize,
    /// A name that takes longer is answered `dns_timeout`.
    pub resolve_timeout: Duration,
    /// A TCP handshake with all addresses of a target together.
    pub connect_timeout: Duration,
    /// Head start of an address before the next one is tried beside it (RFC 8305 section 5).
    pub connect_attempt_delay: Duration,
    /// Silence after which a UDP tunnel is closed; RFC 9298 section 6 asks for at least 2 minutes.
    pub udp_idle: Duration,
    /// Payload bytes kept per tunnel while it opens.
    pub early_bytes: usize,
    /// Payload bytes queued per UDP tunnel and direction.
    pub udp_queue_bytes: usize,
    /// Bytes a target may send ahead of the client, per TCP tunnel: its downlink memory.
    pub tcp_window: usize,
    /// Body of a request for a resource of the relay.
    pub body_bytes: usize,
    /// Target-facing sockets.
    pub egress_sockets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 8192,
            connections_per_source: 256,
            retry_above: 128,
            handshake_timeout: Duration::from_secs(10),
            login_timeout: Duration::from_secs(120),
            requests_per_connection: 256,
            auth_failures_per_minute: 60,
            resolves: 1024,
            resolve_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(10),
            connect_attempt_delay: Duration::from_millis(250),
            udp_idle: Duration::from_secs(120),
            early_bytes: 64 << 10,
            udp_queue_bytes: 512 << 10,
            tcp_window: 512 << 10,
            body_bytes: 16 << 10,
            egress_sockets: 32_768,
        }
    }
}
