//! UDP echo (RFC 862).

use tokio::net::UdpSocket;

/// Sends every datagram back to where it came from, empty ones included.
pub(super) async fn serve(socket: UdpSocket) {
    let mut buffer = vec![0; 65_536];
    loop {
        // Errors are ICMP messages for earlier replies; the next datagram is unaffected.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let _ = socket.send_to(&buffer[..length], from).await;
    }
}
