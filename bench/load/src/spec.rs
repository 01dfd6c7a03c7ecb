//! What one run of the generator does, and what it saw: the contract with `weir-bench`.
//!
//! `weir-load run` reads a [`Spec`] (JSON) from standard input's first line and answers with
//! [`Event`]s on standard output, a JSON object per line:
//!
//! ```text
//! -> {spec}            one line
//! <- ready             connections and tunnels are open
//! -> go                one line; an idle run ends with the line "stop" instead
//! <- begin             warm-up is over: read the relay's CPU time now
//! <- end {report}      the measured part is over: read it again
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    pub way: Way,
    pub work: Work,
    pub warmup_ms: u32,
    pub measure_ms: u32,
    pub seed: u64,
}

/// How the target is reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Without a relay: UDP datagrams and TCP connections to the target itself.
    Direct,
    /// Through a MASQUE relay.
    Masque {
        relay: SocketAddr,
        server_name: String,
        /// PEM of the authority to trust; any certificate is taken without it.
        ca: Option<PathBuf>,
        /// A file with the value of the Proxy-Authorization header.
        authorization: Option<PathBuf>,
        /// Each has a UDP socket of its own. Idle, handshakes and fairness say themselves how many.
        connections: u32,
    },
    /// Through a SOCKS5 proxy (the client of a peer): CONNECT and UDP ASSOCIATE.
    Socks5 { proxy: SocketAddr },
}

/// What is done. A unit of UDP work is one datagram carried in one direction: an echo is two.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    Udp(Udp),
    /// One unit is a byte.
    TcpDownload {
        target: SocketAddr,
        streams: u32,
    },
    TcpUpload {
        target: SocketAddr,
        streams: u32,
    },
    /// A new tunnel per request; one unit is a request with its response. Latency counts from the
    /// request for the tunnel to the last byte.
    TcpSmall {
        target: SocketAddr,
        concurrency: u32,
        request: u32,
        response: u32,
    },
    /// One unit is a handshake, complete on both sides: the relay has opened its first stream and,
    /// if it is to be resumed, sent a ticket. The notes say how many were resumed.
    Handshakes {
        resumed: bool,
        concurrency: u32,
    },
    /// Opens and closes tunnels; one unit is an opened tunnel.
    Opens {
        target: SocketAddr,
        concurrency: u32,
    },
    /// Holds connections with tunnels that carry one datagram each, until "stop". One unit is an
    /// open tunnel; lost are those without an answer.
    Idle {
        target: SocketAddr,
        connections: u32,
        tunnels_per_connection: u32,
    },
    /// One tunnel floods beside polite ones, all on the same connection or each on its own. Both
    /// are sent as the flood's `batch` says.
    Fairness {
        flood: Udp,
        polite: Udp,
        one_connection: bool,
    },
}

/// UDP echo.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Udp {
    /// The first target; others follow at the next ports.
    pub target: SocketAddr,
    pub targets: u16,
    /// In all, spread evenly over connections and targets.
    pub tunnels: u32,
    pub payload: Payload,
    pub pace: Pace,
    /// Send trains and pack many small payloads into a QUIC packet, or everything singly.
    pub batch: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    Bytes(u16),
    /// 7 x 64, 4 x 576, 1 x 1200 bytes.
    Imix,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// Closed loop: so many datagrams in flight per connection; in all where there are none.
    Window(u32),
    /// Open loop: datagrams per second in all, each due at a fixed time; latency counts from then
    /// (no coordinated omission).
    PerSecond(f64),
    /// The same, but what can't be sent at its time is never sent.
    Flood(f64),
}

/// What the generator says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    Ready,
    Begin,
    End { report: Box<Report> },
    Failed { error: String },
}

/// What was seen between `begin` and `end`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub units: u64,
    pub seconds: f64,
    /// Datagrams sent and not answered, or requests that failed. In a closed loop a datagram is
    /// lost after 200 ms, in an open one after a second.
    pub lost: u64,
    /// Answers with other content than what was sent.
    pub corrupt: u64,
    pub latency: Option<Latency>,
    /// The polite tunnels' part of a fairness run.
    pub polite: Option<Box<Report>>,
    /// CPU time of the generator, all threads.
    pub generator_cpu_ns: u64,
    /// The generator had less than a tenth of its CPU to spare, waiting for it included: it may be
    /// the limit.
    pub generator_limited: bool,
    /// Whatever else is worth keeping (limits met, datagrams too large ...).
    pub notes: Vec<String>,
}

/// Microseconds, from an HDR histogram.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    pub count: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
    /// (percentile, microseconds) points for a plot.
    pub curve: Vec<(f64, f64)>,
}
