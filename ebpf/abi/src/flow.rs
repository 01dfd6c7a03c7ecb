use core::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Transport of an exit flow, by its IANA protocol number.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    Tcp = 6,
    Udp = 17,
}

/// One exit flow as the relay sees it. The same key serves both directions: the packet path puts
/// the relay's end into `local`, whether it was source or destination.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The relay's address; IPv4 as `::ffff:a.b.c.d`.
    pub local_addr: [u8; 16],
    /// The target's address, likewise.
    pub remote_addr: [u8; 16],
    /// Host byte order.
    pub local_port: u16,
    /// Host byte order.
    pub remote_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
    /// Always zero: the map compares all bytes of a key.
    pub pad: [u8; 3],
}

impl FlowKey {
    /// The key of a socket's 5-tuple. A v4-mapped IPv6 address and the IPv4 address are the same
    /// flow, because they are the same packets. IPv6 scope and flow label are not part of it.
    #[must_use]
    pub fn new(protocol: Protocol, local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            local_addr: mapped(local.ip()),
            remote_addr: mapped(remote.ip()),
            local_port: local.port(),
            remote_port: remote.port(),
            protocol: protocol as u8,
            pad: [0; 3],
        }
    }

    /// The relay's end, with an IPv4 address shown as such.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(Ipv6Addr::from(self.local_addr).to_canonical(), self.local_port)
    }

    /// The target's end, with an IPv4 address shown as such.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        SocketAddr::new(Ipv6Addr::from(self.remote_addr).to_canonical(), self.remote_port)
    }
}

fn mapped(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}
