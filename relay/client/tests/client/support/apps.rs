//! Applications: just enough SOCKS5 and HTTP to ask for tunnels, and echo servers as targets.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// ATYP, address, port.
pub(crate) fn address(host: &str, port: u16) -> Vec<u8> {
    let mut bytes = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => [&[1][..], &ip.octets()].concat(),
        Ok(IpAddr::V6(ip)) => [&[4][..], &ip.octets()].concat(),
        Err(_) => [&[3, host.len() as u8][..], host.as_bytes()].concat(),
    };
    bytes.extend_from_slice(&port.to_be_bytes());
    bytes
}

async fn request(proxy: SocketAddr, command: u8, host: &str, port: u16) -> (TcpStream, u8, u16) {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    // Greeting and request in one segment: the proxy must not lose what follows the greeting.
    let mut bytes = vec![5, 1, 0, 5, command, 0];
    bytes.extend(address(host, port));
    stream.write_all(&bytes).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer[..3], [5, 0, 5]);
    (stream, answer[3], u16::from_be_bytes([answer[10], answer[11]]))
}

/// A tunnel through SOCKS5 CONNECT, or the reply code.
pub(crate) async fn socks_connect(
    proxy: SocketAddr,
    host: &str,
    port: u16,
) -> Result<TcpStream, u8> {
    match request(proxy, 1, host, port).await {
        (stream, 0, _) => Ok(stream),
        (_, code, _) => Err(code),
    }
}

/// A UDP association: the control connection and a socket connected to the proxy.
pub(crate) async fn socks_udp(proxy: SocketAddr) -> (TcpStream, UdpSocket) {
    let (control, code, port) = request(proxy, 3, "0.0.0.0", 0).await;
    assert_eq!(code, 0);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect((proxy.ip(), port)).await.unwrap();
    (control, socket)
}

/// A datagram with the SOCKS header.
pub(crate) fn datagram(host: &str, port: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0];
    bytes.extend(address(host, port));
    bytes.extend_from_slice(payload);
    bytes
}

/// The whole answer of an HTTP proxy that closes the connection.
pub(crate) async fn http(proxy: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Status and body of a page of the admin endpoint; status 0 when nobody answers.
pub(crate) async fn get(admin: SocketAddr, path: &str) -> (u16, String) {
    let Ok(mut stream) = TcpStream::connect(admin).await else { return (0, String::new()) };
    let head = format!("GET {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    if stream.write_all(head.as_bytes()).await.is_err()
        || stream.read_to_string(&mut answer).await.is_err()
    {
        return (0, String::new());
    }
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.to_owned())
}

/// Echoes until the end of stream, then ends its own.
pub(crate) async fn tcp_echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.shutdown().await;
            });
        }
    });
    address
}

/// Reads a little and resets the connection.
pub(crate) async fn tcp_resetter() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1]).await;
            let zero = Some(std::time::Duration::ZERO);
            socket2::SockRef::from(&stream).set_linger(zero).unwrap();
        }
    });
    address
}

pub(crate) async fn udp_echo(ip: &str) -> SocketAddr {
    let socket = UdpSocket::bind((ip, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&buffer[..length], from).await;
        }
    });
    address
}
