//! One QUIC connection to the relay, from name resolution to the end of the handshake.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ConnectionError, Endpoint, EndpointConfig, IdleTimeout, TransportConfig, TransportErrorCode,
    VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::tls;
use crate::{ClientConfig, Error, RelayUrl};

/// A relay that answers at all does so within a few round trips, retransmissions included.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// A name with more addresses than this is tried no further.
const ADDRESSES_MAX: usize = 8;

/// After a crash of the relay, this is how long its tunnels seem alive. Keep-alives are sent
/// three times as often, so one lost packet kills nothing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(3);

/// Fits every path to a public host that carries 1400-byte IP packets, and a 1200-byte payload
/// with all its headers. Path MTU discovery goes on from there, and falls back if it does not fit.
const INITIAL_MTU: u16 = 1350;

/// UDP payloads waiting for the congestion controller. Beyond it the sender waits.
const DATAGRAM_SEND_BYTES: usize = 2 << 20;

/// UDP payloads waiting for this process to read them: 50 ms at 1 Gbit/s and then some, since
/// what does not fit is lost after the relay has billed it.
const DATAGRAM_RECEIVE_BYTES: usize = 16 << 20;

/// Bounds what one slow application can make us buffer; enough for 1 Gbit/s at 32 ms.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;

/// Bounds the sum over all streams of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;

/// Unacknowledged stream data that we keep for retransmission.
const SEND_WINDOW_BYTES: u64 = 16 << 20;

/// HTTP/3 has a control stream, two for QPACK, and reserved types that come and go.
const PEER_UNI_STREAMS: u32 = 16;

/// A burst of a relay's worker turn; the kernel grants what its limits allow.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// Everything that stays the same from one connection to the next.
#[derive(Debug)]
pub(super) struct Dialer {
    relay: RelayUrl,
    quic: quinn::ClientConfig,
}

impl Dialer {
    pub(super) fn new(config: &ClientConfig) -> Result<Dialer, Error> {
        let crypto = QuicClientConfig::try_from(tls::config(&config.trust)?)
            .map_err(|error| Error::config("trust", error.to_string()))?;
        let mut quic = quinn::ClientConfig::new(Arc::new(crypto));
        quic.transport_config(Arc::new(transport()));
        Ok(Dialer { relay: config.relay.clone(), quic })
    }

    pub(super) fn relay(&self) -> &RelayUrl {
        &self.relay
    }

    /// Tries the relay's addresses in the resolver's order; the last failure is reported.
    pub(super) async fn dial(&self) -> Result<(Endpoint, quinn::Connection), Error> {
        let host = (self.relay.host(), self.relay.port());
        let addresses = tokio::net::lookup_host(host).await.map_err(|error| {
            self.unreachable(format!(
                "its name does not resolve: {error}. Check the URL and this host's DNS"
            ))
        })?;
        let mut failure = self.unreachable("its name has no address".into());
        for address in addresses.take(ADDRESSES_MAX) {
            match self.dial_address(address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn dial_address(
        &self,
        address: SocketAddr,
    ) -> Result<(Endpoint, quinn::Connection), Error> {
        let socket = socket_for(address)
            .map_err(|error| self.unreachable(format!("no local UDP socket: {error}")))?;
        let runtime = Arc::new(quinn::TokioRuntime);
        let endpoint = Endpoint::new(EndpointConfig::default(), None, socket, runtime)
            .map_err(|error| self.unreachable(format!("no QUIC endpoint: {error}")))?;
        let connecting = endpoint
            .connect_with(self.quic.clone(), address, self.relay.host())
            .map_err(|error| self.unreachable(format!("{address}: {error}")))?;
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => Ok((endpoint, connection)),
            Ok(Err(error)) => Err(self.handshake_error(address, error)),
            Err(_) => Err(self.silent(address)),
        }
    }

    fn handshake_error(&self, address: SocketAddr, error: ConnectionError) -> Error {
        match error {
            ConnectionError::TimedOut => self.silent(address),
            ConnectionError::TransportError(tls) if tls.reason.contains("certificate") => {
                Error::Untrusted { relay: self.relay.to_string(), problem: tls.reason }
            }
            ConnectionError::ConnectionClosed(close)
                if close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
            {
                self.unreachable(format!(
                    "{address} takes no new connections now: it is full or about to stop"
                ))
            }
            ConnectionError::ConnectionClosed(close) => self.unreachable(format!(
                "{address} refused the handshake: {close}. Is this a relay's HTTP/3 port?"
            )),
            ConnectionError::Reset => self.unreachable(format!("{address} reset the connection")),
            other => self.unreachable(format!("{address}: {other}")),
        }
    }

    fn silent(&self, address: SocketAddr) -> Error {
        self.unreachable(format!(
            "{address} does not answer over UDP. Is the relay running there, and does every \
             firewall between let UDP port {} through?",
            address.port()
        ))
    }

    fn unreachable(&self, problem: String) -> Error {
        Error::Unreachable { relay: self.relay.to_string(), problem }
    }
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle_ms = u32::try_from(IDLE_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    transport
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle_ms))))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .initial_mtu(INITIAL_MTU)
        .datagram_send_buffer_size(DATAGRAM_SEND_BYTES)
        .datagram_receive_buffer_size(Some(DATAGRAM_RECEIVE_BYTES))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(PEER_UNI_STREAMS));
    transport
}

fn socket_for(relay: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match relay {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = Socket::new(Domain::for_address(relay), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.bind(&any.into())?;
    Ok(socket.into())
}
