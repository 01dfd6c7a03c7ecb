//! Socket addresses in the kernel's layout, without pointers.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Bytes of the larger of the two layouts, `struct sockaddr_in6`.
pub(crate) const ADDRESS_BYTES: usize = 28;

/// A `struct sockaddr_in` or `sockaddr_in6`. Aligned as the kernel's headers want it.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(crate) struct RawAddress {
    bytes: [u8; ADDRESS_BYTES],
    len: u32,
}

impl RawAddress {
    pub(crate) const EMPTY: RawAddress = RawAddress { bytes: [0; ADDRESS_BYTES], len: 0 };

    pub(crate) fn new(address: SocketAddr) -> RawAddress {
        let mut raw = RawAddress::EMPTY;
        raw.bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(a) => {
                raw.bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                raw.bytes[4..8].copy_from_slice(&a.ip().octets());
                raw.len = 16;
            }
            SocketAddr::V6(a) => {
                raw.bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                raw.bytes[4..8].copy_from_slice(&a.flowinfo().to_be_bytes());
                raw.bytes[8..24].copy_from_slice(&a.ip().octets());
                raw.bytes[24..28].copy_from_slice(&a.scope_id().to_ne_bytes());
                raw.len = 28;
            }
        }
        raw
    }

    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        self.bytes.as_ptr().cast()
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }
}

/// Reads what the kernel wrote. `None` if it is no IP address or cut short.
pub(crate) fn parse(bytes: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(*bytes.first_chunk()?));
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    match family {
        libc::AF_INET => {
            let ip: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
            Some(SocketAddrV4::new(Ipv4Addr::from(ip), port).into())
        }
        libc::AF_INET6 => {
            let flow = u32::from_be_bytes(*bytes.get(4..)?.first_chunk()?);
            let ip: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
            let scope = u32::from_ne_bytes(*bytes.get(24..)?.first_chunk()?);
            Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["192.0.2.7:443", "[2001:db8::9]:65535", "[fe80::1%7]:1", "0.0.0.0:0"] {
            let address: SocketAddr = text.parse().unwrap();
            let raw = RawAddress::new(address);
            assert_eq!(parse(&raw.bytes[..raw.len as usize]), Some(address));
        }
    }

    #[test]
    fn short_and_foreign_addresses_are_refused() {
        let raw = RawAddress::new("[2001:db8::9]:5".parse().unwrap());
        for len in 0..28 {
            assert_eq!(parse(&raw.bytes[..len]), None);
        }
        assert_eq!(parse(&[1, 0, 0, 0, 0, 0, 0, 0]), None, "AF_UNIX");
    }
}
