//! The messages of SOCKS5 (RFC 1928), as a client needs them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::super::Kind;

/// Version 5, one method: no authentication (section 3).
pub(super) const GREETING: [u8; 3] = [5, 1, 0];
/// The proxy's choice of a method.
pub(super) const METHOD_BYTES: usize = 2;

const CONNECT: u8 = 1;
const UDP_ASSOCIATE: u8 = 3;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// CONNECT to the target, or UDP ASSOCIATE from an address that isn't known yet (section 4).
pub(super) fn request(kind: Kind, target: SocketAddr) -> Vec<u8> {
    let (command, address) = match kind {
        Kind::Tcp => (CONNECT, target),
        Kind::Udp => (UDP_ASSOCIATE, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
    };
    let mut bytes = vec![5, command, 0];
    push_address(address, &mut bytes);
    bytes
}

/// An answer to a request (section 6).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// Where the proxy relays from, or where it takes UDP.
    pub(super) bound: SocketAddr,
    pub(super) len: usize,
}

/// Reads an answer; `None` as long as it is incomplete.
pub(super) fn reply(bytes: &[u8]) -> Result<Option<Reply>, String> {
    if bytes.len() < 4 {
        return Ok(None);
    }
    if bytes[..2] != [5, 0] {
        return Err(format!("the proxy refused with {}", bytes[1]));
    }
    match address(&bytes[3..]) {
        Address::Incomplete => Ok(None),
        Address::Odd => Err("the proxy answered with an odd address".to_owned()),
        Address::Known(bound, len) => Ok(Some(Reply { bound, len: 3 + len })),
    }
}

/// What stands before a payload to the target: reserved, no fragment, the address (section 7).
pub(super) fn udp_header(target: SocketAddr) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0];
    push_address(target, &mut bytes);
    bytes
}

/// The payload of a datagram from the proxy.
pub(super) fn udp_payload(datagram: &[u8]) -> Option<&[u8]> {
    let address = datagram.strip_prefix(&[0, 0, 0])?;
    match self::address(address) {
        Address::Known(_, len) => address.get(len..),
        Address::Incomplete | Address::Odd => None,
    }
}

enum Address {
    Known(SocketAddr, usize),
    Incomplete,
    Odd,
}

/// Type, address and port (section 5).
fn address(bytes: &[u8]) -> Address {
    let len = match bytes.first() {
        Some(&IPV4) => 4,
        Some(&IPV6) => 16,
        Some(&NAME) | None => {
            return if bytes.is_empty() { Address::Incomplete } else { Address::Odd };
        }
        Some(_) => return Address::Odd,
    };
    let Some(rest) = bytes.get(1..1 + len + 2) else { return Address::Incomplete };
    let ip: IpAddr = match <[u8; 4]>::try_from(&rest[..len]) {
        Ok(octets) => Ipv4Addr::from(octets).into(),
        Err(_) => match <[u8; 16]>::try_from(&rest[..len]) {
            Ok(octets) => Ipv6Addr::from(octets).into(),
            Err(_) => return Address::Odd,
        },
    };
    let port = u16::from_be_bytes([rest[len], rest[len + 1]]);
    Address::Known(SocketAddr::new(ip, port), 1 + len + 2)
}

fn push_address(address: SocketAddr, bytes: &mut Vec<u8>) {
    match address.ip() {
        IpAddr::V4(ip) => {
            bytes.push(IPV4);
            bytes.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            bytes.push(IPV6);
            bytes.extend_from_slice(&ip.octets());
        }
    }
    bytes.extend_from_slice(&address.port().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_as_in_rfc_1928() {
        let target = "192.0.2.1:80".parse().unwrap();
        assert_eq!(request(Kind::Tcp, target), [5, 1, 0, 1, 192, 0, 2, 1, 0, 80]);
        assert_eq!(request(Kind::Udp, target), [5, 3, 0, 1, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn an_answer_may_come_in_pieces() {
        let whole = [5, 0, 0, 1, 127, 0, 0, 1, 4, 56, 99];
        for cut in 0..10 {
            assert_eq!(reply(&whole[..cut]), Ok(None), "{cut}");
        }
        let bound = "127.0.0.1:1080".parse().unwrap();
        assert_eq!(reply(&whole), Ok(Some(Reply { bound, len: 10 })));
        assert!(reply(&[5, 2, 0, 1]).unwrap_err().contains("refused with 2"));
    }

    #[test]
    fn a_payload_comes_out_as_it_went_in() {
        for target in ["192.0.2.1:80", "[2001:db8::1]:443"] {
            let mut datagram = udp_header(target.parse().unwrap());
            datagram.extend_from_slice(b"hello");
            assert_eq!(udp_payload(&datagram), Some(&b"hello"[..]));
            assert_eq!(udp_payload(&datagram[1..]), None);
        }
        assert_eq!(udp_payload(&[0, 0, 0, 1, 127]), None);
        assert_eq!(udp_payload(&[0, 0, 1, 1, 127, 0, 0, 1, 0, 80, 7]), None, "a fragment");
    }
}
