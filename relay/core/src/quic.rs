//! From the engine's configuration to that of quinn-proto.

use std::sync::Arc;

use quinn_proto::congestion::{BbrConfig, CubicConfig, NewRenoConfig};
use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::{
    AckFrequencyConfig, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig,
    TransportConfig, VarInt,
};
use ring::{hkdf, hmac};

use crate::config::{CongestionControl, EngineConfig, QuicConfig};
use crate::error::Error;

/// ALPN of HTTP/3 (RFC 9114 section 3.1).
const ALPN: &[u8] = b"h3";

/// Control, QPACK encoder and decoder streams, and some of types that nobody knows yet.
const UNI_STREAMS: u32 = 8;

/// Client-facing trains never exceed what one UDP_SEGMENT send may carry over IPv4: 64 KiB less
/// the IP and UDP headers.
pub(crate) const CLIENT_TRAIN_BYTES: usize = 65_507;

/// Bytes on all streams of a connection that has not shown a credential yet: room for requests.
/// Anybody may fill it and then just stay, so it must not be the window of a tunnel.
const RECEIVE_WINDOW_BEFORE_LOGIN: u32 = 64 << 10;

/// Never the limit: the connection decides how much waits in QUIC (`Connection::adapt`).
/// Queueing happens in the tunnels, where it is fair and bounded per tunnel.
pub(crate) const DATAGRAM_SEND_BUFFER: usize = 1 << 20;

/// What quinn-proto counts for a queued QUIC DATAGRAM besides its payload.
pub(crate) const DATAGRAM_RECORD: usize = size_of::<bytes::Bytes>();

/// Gaps that a client reports at once rather than with its next ACK: what loss detection waits for.
const ACK_REORDERING: u32 = 3;

/// Request streams that a client may have open at first. quinn-proto keeps an entry for each that
/// may be opened, used or not: 256 of them are 17 KiB and a tenth of a handshake's work.
const REQUESTS_AT_FIRST: u32 = 16;

pub(crate) fn endpoint_config(config: &EngineConfig) -> Result<EndpointConfig, Error> {
    let reset_key = hmac::Key::new(hmac::HMAC_SHA256, &config.keys.reset);
    let mut endpoint = EndpointConfig::new(Arc::new(reset_key));
    let cid = config.cid.clone();
    endpoint.cid_generator(move || cid());
    // Version 1 only; the drafts before it are gone from the internet.
    endpoint.supported_versions(vec![1]);
    // What we accept doesn't depend on our own path: up to a jumbo frame.
    endpoint
        .max_udp_payload_size(9000)
        .map_err(|_| out_of_range("max_udp_payload_size", 9000, "at least 1200"))?;
    Ok(endpoint)
}

pub(crate) fn server_config(
    config: &EngineConfig,
    tls: &rustls::ServerConfig,
) -> Result<Arc<ServerConfig>, Error> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    // No 0-RTT: a replayed CONNECT would open a tunnel that the client didn't ask for.
    tls.max_early_data_size = 0;
    let crypto = QuicServerConfig::try_from(tls).map_err(|_| Error::NoQuicCipherSuite)?;
    let token_key = hkdf::Salt::new(hkdf::HKDF_SHA256, b"weir token").extract(&config.keys.token);
    let mut server = ServerConfig::new(Arc::new(crypto), Arc::new(token_key));
    // Its wall clock, for the age of Retry tokens, is the one thing that quinn-proto reads itself.
    server.transport_config(Arc::new(transport(config)?));
    server.migration(config.quic.migration);
    Ok(Arc::new(server))
}

fn transport(config: &EngineConfig) -> Result<TransportConfig, Error> {
    let quic = &config.quic;
    let idle = IdleTimeout::try_from(quic.idle_timeout).map_err(|_| {
        out_of_range("quic.idle_timeout", quic.idle_timeout.as_secs(), "below 2^62 ms")
    })?;
    check("quic.mtu_upper_bound", quic.mtu_upper_bound.into(), 1200, 9000, "1200 to 9000")?;
    check(
        "quic.initial_mtu",
        quic.initial_mtu.into(),
        1200,
        quic.mtu_upper_bound.into(),
        "1200 to quic.mtu_upper_bound",
    )?;
    let requests = config.limits.requests_per_connection;
    check("limits.requests_per_connection", requests.into(), 1, 1 << 16, "1 to 65536")?;
    let idle_seconds = config.limits.udp_idle.as_secs();
    check("limits.udp_idle", idle_seconds, 120, 86_400, "120 seconds to a day (RFC 9298)")?;

    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(requests.min(REQUESTS_AT_FIRST)))
        .max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS))
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(quic.keep_alive)
        .initial_mtu(quic.initial_mtu)
        .mtu_discovery_config(quic.mtu_discovery.then(|| {
            let mut discovery = MtuDiscoveryConfig::default();
            discovery.upper_bound(quic.mtu_upper_bound);
            discovery
        }))
        .stream_receive_window(VarInt::from_u32(quic.stream_receive_window))
        .receive_window(VarInt::from_u32(quic.receive_window.min(RECEIVE_WINDOW_BEFORE_LOGIN)))
        .send_window(quic.send_window)
        .datagram_receive_buffer_size(Some(quic.datagram_buffer))
        .datagram_send_buffer_size(DATAGRAM_SEND_BUFFER)
        .ack_frequency_config(quic.ack_every.map(|packets| {
            let mut frequency = AckFrequencyConfig::default();
            frequency
                .ack_eliciting_threshold(VarInt::from_u32(packets.saturating_sub(1)))
                .reordering_threshold(VarInt::from_u32(ACK_REORDERING));
            frequency
        }));
    match quic.congestion_control {
        CongestionControl::Cubic => {
            transport.congestion_controller_factory(Arc::new(CubicConfig::default()))
        }
        CongestionControl::Bbr => {
            transport.congestion_controller_factory(Arc::new(BbrConfig::default()))
        }
        CongestionControl::NewReno => {
            transport.congestion_controller_factory(Arc::new(NewRenoConfig::default()))
        }
    };
    Ok(transport)
}

/// The most datagrams of a train: each may be as long as the largest path MTU.
pub(crate) fn train_datagrams_max(quic: &QuicConfig) -> usize {
    let mtu = quic.mtu_upper_bound.max(quic.initial_mtu);
    (CLIENT_TRAIN_BYTES / usize::from(mtu)).clamp(1, crate::port::MAX_TRAIN_SEGMENTS)
}

fn check(
    field: &'static str,
    value: u64,
    least: u64,
    most: u64,
    must: &'static str,
) -> Result<(), Error> {
    if (least..=most).contains(&value) { Ok(()) } else { Err(out_of_range(field, value, must)) }
}

fn out_of_range(field: &'static str, value: u64, must: &'static str) -> Error {
    Error::OutOfRange { field, value, must }
}
