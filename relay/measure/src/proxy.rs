//! The application's side of the client's proxies: SOCKS5 for UDP (RFC 1928), HTTP CONNECT for TCP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use weir_sla::Reference;

/// Heads of the own proxy and of web servers are a few hundred bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// A UDP association; it ends with its value.
#[derive(Debug)]
pub(crate) struct Association {
    _control: TcpStream,
    pub(crate) socket: UdpSocket,
}

impl Association {
    pub(crate) async fn open(proxy: SocketAddr) -> io::Result<Association> {
        let mut control = TcpStream::connect(proxy).await?;
        // Version 5, one method: none. UDP ASSOCIATE from wherever the first datagram comes.
        control.write_all(&[5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
        let mut head = [0; 6];
        control.read_exact(&mut head).await?;
        if head[..5] != [5, 0, 5, 0, 0] {
            return Err(io::Error::other("no UDP association"));
        }
        let ip = match head[5] {
            1 => IpAddr::V4(Ipv4Addr::from(octets(&mut control).await?)),
            4 => IpAddr::V6(Ipv6Addr::from(octets(&mut control).await?)),
            _ => return Err(io::Error::other("a UDP association that is nowhere")),
        };
        let port = u16::from_be_bytes(octets(&mut control).await?);
        let socket = UdpSocket::bind((proxy.ip(), 0)).await?;
        socket.connect((ip, port)).await?;
        Ok(Association { _control: control, socket })
    }
}

async fn octets<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut octets = [0; N];
    stream.read_exact(&mut octets).await?;
    Ok(octets)
}

/// What stands before each datagram to a reference, and before each of its answers.
pub(crate) fn datagram_header(reference: &Reference) -> Vec<u8> {
    let mut header = vec![0, 0, 0];
    match reference.host.parse() {
        Ok(IpAddr::V4(ip)) => {
            header.push(1);
            header.extend_from_slice(&ip.octets());
        }
        Ok(IpAddr::V6(ip)) => {
            header.push(4);
            header.extend_from_slice(&ip.octets());
        }
        Err(_) => {
            // A reference's name has at most 253 bytes.
            header.extend_from_slice(&[3, reference.host.len() as u8]);
            header.extend_from_slice(reference.host.as_bytes());
        }
    }
    header.extend_from_slice(&reference.port.to_be_bytes());
    header
}

/// `host:port`, an IPv6 literal in brackets.
pub(crate) fn authority(reference: &Reference) -> String {
    match reference.host.contains(':') {
        true => format!("[{}]:{}", reference.host, reference.port),
        false => format!("{}:{}", reference.host, reference.port),
    }
}

/// Status and head of an HTTP/1.1 answer, and what came with it of the body.
pub(crate) async fn read_head(stream: &mut TcpStream) -> io::Result<(u16, String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            let head = String::from_utf8_lossy(&bytes).into_owned();
            let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
            let status = status.ok_or_else(|| io::Error::other("no HTTP status"))?;
            return Ok((status, head, body));
        }
        if bytes.len() > HEAD_BYTES_MAX || stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
