//! CONNECT-UDP (RFC 9298) by HTTP Datagrams in QUIC DATAGRAM frames (RFC 9297 section 2.1).
//!
//! Reading is h3-datagram's. Sending is not: its version 0.0.2 writes every Quarter Stream ID as
//! zero, so the two varints are put before the payload here. DATAGRAM capsules are read past.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Result;
use bytes::{BufMut, Bytes, BytesMut};
use h3_datagram::datagram_handler::DatagramReader;
use h3_quinn::datagram::RecvDatagramHandler;
use http::{Response, StatusCode, Uri};
use quinn::SendDatagramError;
use tokio::net::UdpSocket;

use crate::server::{Stream, refuse};
use crate::target;

/// The Context ID of plain UDP payloads, as a varint (RFC 9298 section 5).
const CONTEXT_UDP: u8 = 0;

/// No UDP payload is larger.
const PAYLOAD_BYTES_MAX: usize = 65_535;

/// The sockets of a connection's tunnels by stream.
#[derive(Clone, Default)]
pub(crate) struct Tunnels {
    sockets: Arc<Mutex<HashMap<u64, Arc<UdpSocket>>>>,
}

impl Tunnels {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<UdpSocket>>> {
        self.sockets.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// From a connection's client to all its targets, until the connection ends.
pub(crate) async fn upward(mut reader: DatagramReader<RecvDatagramHandler>, tunnels: Tunnels) {
    while let Ok(datagram) = reader.read_datagram().await {
        let socket = tunnels.lock().get(&datagram.stream_id().into_inner()).cloned();
        if let Some(socket) = socket
            && let [CONTEXT_UDP, payload @ ..] = &datagram.into_payload()[..]
        {
            // UDP may lose it.
            let _ = socket.send(payload).await;
        }
    }
}

/// One tunnel, until the client closes its stream.
pub(crate) async fn tunnel(
    uri: &Uri,
    mut stream: Stream,
    quic: quinn::Connection,
    tunnels: Tunnels,
) -> Result<()> {
    let Ok(address) = target::of_connect_udp(uri).await else {
        return refuse(stream, StatusCode::BAD_REQUEST).await;
    };
    let Ok(socket) = connected(address).await else {
        return refuse(stream, StatusCode::BAD_GATEWAY).await;
    };
    let socket = Arc::new(socket);
    let id = stream.id().into_inner();
    tunnels.lock().insert(id, Arc::clone(&socket));
    let response = Response::builder().header("capsule-protocol", "?1").body(())?;
    stream.send_response(response).await?;
    let down = tokio::spawn(downward(socket, id / 4, quic));
    while let Ok(Some(_)) = stream.recv_data().await {}
    down.abort();
    tunnels.lock().remove(&id);
    let _ = stream.finish().await;
    Ok(())
}

/// From one target to the client.
async fn downward(socket: Arc<UdpSocket>, quarter: u64, quic: quinn::Connection) {
    let mut buffer = vec![0; PAYLOAD_BYTES_MAX];
    loop {
        let length = match socket.recv(&mut buffer).await {
            Ok(length) => length,
            // An ICMP message about what was sent; the target may listen later.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
            Err(_) => return,
        };
        match quic.send_datagram(encode(quarter, &buffer[..length])) {
            Ok(()) | Err(SendDatagramError::TooLarge) => {}
            Err(_) => return,
        }
    }
}

fn encode(quarter: u64, payload: &[u8]) -> Bytes {
    let mut datagram = BytesMut::with_capacity(9 + payload.len());
    match quarter {
        0..0x40 => datagram.put_u8(quarter as u8),
        0x40..0x4000 => datagram.put_u16(0x4000 | quarter as u16),
        0x4000..0x4000_0000 => datagram.put_u32(0x8000_0000 | quarter as u32),
        _ => datagram.put_u64(0xc000_0000_0000_0000 | quarter),
    }
    datagram.put_u8(CONTEXT_UDP);
    datagram.put_slice(payload);
    datagram.freeze()
}

async fn connected(target: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: SocketAddr = match target {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(target).await?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quarter_stream_id_is_in_front() {
        assert_eq!(encode(0, b"x")[..], [0, 0, b'x']);
        assert_eq!(encode(100, b"x")[..], [0x40, 100, 0, b'x']);
        assert_eq!(encode(0x4000, b"")[..], [0x80, 0, 0x40, 0, 0]);
    }
}
