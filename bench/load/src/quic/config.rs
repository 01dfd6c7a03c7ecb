//! Transport parameters of the generator's connections.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{
    ClientConfig, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig,
    VarInt,
};

use super::steady::Steady;

/// UDP payload of a packet when a connection starts, and where path MTU discovery ends: what fits
/// Ethernet over IPv6.
const INITIAL_MTU: u16 = 1350;
const MTU_MAX: u16 = 1452;

/// Packets in a train: as many of the largest as one UDP_SEGMENT send carries.
pub(crate) const TRAIN_PACKETS: usize = 65_507 / MTU_MAX as usize;

/// HTTP Datagrams that wait in a connection in either direction: far more than a turn brings.
const DATAGRAM_BUFFER: usize = 4 << 20;
/// What the relay may send ahead on one stream, and on all of a connection.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;
/// Bytes of all streams of a connection that aren't acknowledged: what an upload has under way.
const SEND_WINDOW: u64 = 8 << 20;
const IDLE: Duration = Duration::from_secs(300);

/// One endpoint for all connections of the generator.
pub(crate) fn endpoint(seed: u64) -> Endpoint {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    Endpoint::new(Arc::new(EndpointConfig::default()), None, true, Some(bytes))
}

pub(crate) fn client(tls: rustls::ClientConfig) -> anyhow::Result<ClientConfig> {
    let crypto = QuicClientConfig::try_from(Arc::new(tls)).context("AES-128-GCM is missing")?;
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(MTU_MAX);
    let mut transport = TransportConfig::default();
    transport
        .initial_mtu(INITIAL_MTU)
        .mtu_discovery_config(Some(discovery))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(SEND_WINDOW)
        .max_idle_timeout(Some(IdleTimeout::try_from(IDLE)?))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER))
        .datagram_send_buffer_size(DATAGRAM_BUFFER)
        .congestion_controller_factory(Arc::new(Steady));
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    Ok(config)
}
