//! The application's side of SOCKS5 (RFC 1928), as little as the tests need.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};

use super::PATIENCE;

/// A TCP connection through the proxy, or the reply code of the refusal.
pub(crate) fn connect(proxy: SocketAddr, target: SocketAddr) -> Result<TcpStream, u8> {
    request(proxy, 1, target).map(|(stream, _)| stream)
}

fn request(proxy: SocketAddr, command: u8, to: SocketAddr) -> Result<(TcpStream, SocketAddr), u8> {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&[5, 1, 0]).unwrap();
    let mut method = [0; 2];
    stream.read_exact(&mut method).unwrap();
    assert_eq!(method, [5, 0]);
    let mut message = vec![5, command, 0];
    push_address(&mut message, to);
    stream.write_all(&message).unwrap();
    let mut head = [0; 4];
    stream.read_exact(&mut head).unwrap();
    if head[1] != 0 {
        return Err(head[1]);
    }
    let mut rest = vec![0; if head[3] == 1 { 6 } else { 18 }];
    stream.read_exact(&mut rest).unwrap();
    let (_, bound) = parse_address(&[&head[3..], &rest[..]].concat());
    Ok((stream, bound))
}

/// A UDP association; it ends with its value.
pub(crate) struct Association {
    _control: TcpStream,
    socket: UdpSocket,
}

impl Association {
    pub(crate) fn open(proxy: SocketAddr) -> Association {
        let (control, relay) = request(proxy, 3, "0.0.0.0:0".parse().unwrap()).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(relay).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Association { _control: control, socket }
    }

    pub(crate) fn send(&self, target: SocketAddr, payload: &[u8]) {
        let mut message = vec![0, 0, 0];
        push_address(&mut message, target);
        message.extend_from_slice(payload);
        self.socket.send(&message).unwrap();
    }

    pub(crate) fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        let n = self.socket.recv(&mut buffer).expect("an answer");
        let (len, _) = parse_address(&buffer[3..n]);
        buffer[3 + len..n].to_vec()
    }
}

fn push_address(message: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            message.push(1);
            message.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            message.push(4);
            message.extend_from_slice(&ip.octets());
        }
    }
    message.extend_from_slice(&address.port().to_be_bytes());
}

fn parse_address(bytes: &[u8]) -> (usize, SocketAddr) {
    let (ip, len): (IpAddr, usize) = match bytes[0] {
        1 => (<[u8; 4]>::try_from(&bytes[1..5]).unwrap().into(), 5),
        4 => (<[u8; 16]>::try_from(&bytes[1..17]).unwrap().into(), 17),
        other => panic!("address type {other}"),
    };
    let port = u16::from_be_bytes([bytes[len], bytes[len + 1]]);
    (len + 2, SocketAddr::new(ip, port))
}
