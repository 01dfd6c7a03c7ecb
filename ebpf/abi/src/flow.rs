use core::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Transport of an exit flow, by its IANA protocol number.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    Tcp = 6,
    Udp = 17,
}

/// An IP address as the two halves of a 128-bit number; IPv4 as `::ffff:a.b.c.d`.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Address(pub [u64; 2]);

impl Address {
    /// From the 32-bit number that an IPv4 address is.
    #[inline(always)]
    #[must_use]
    pub const fn v4(bits: u32) -> Self {
        Self([0, 0xFFFF << 32 | bits as u64])
    }

    /// The same for both spellings of an IPv4 address.
    #[must_use]
    pub const fn new(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::v4(ip.to_bits()),
            IpAddr::V6(ip) => Self([(ip.to_bits() >> 64) as u64, ip.to_bits() as u64]),
        }
    }

    /// With an IPv4 address shown as such.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        let [high, low] = self.0;
        Ipv6Addr::from_bits((high as u128) << 64 | low as u128).to_canonical()
    }
}

/// One exit flow as the relay sees it. The same key serves both directions: the packet path puts
/// the relay's end into `local`, whether it was source or destination.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The relay's address.
    pub local: Address,
    /// The target's address.
    pub remote: Address,
    /// `protocol << 32 | local port << 16 | remote port`: one word, so that it is compared and
    /// hashed as one.
    pub transport: u64,
}

impl FlowKey {
    /// The key of a socket's 5-tuple. A v4-mapped IPv6 address and the IPv4 address are the same
    /// flow, because they are the same packets. IPv6 scope and flow label are not part of it.
    #[must_use]
    pub const fn new(protocol: Protocol, local: SocketAddr, remote: SocketAddr) -> Self {
        let ends = (Address::new(local.ip()), Address::new(remote.ip()));
        Self::of_packet(protocol, ends.0, local.port(), ends.1, remote.port())
    }

    /// The key of what a packet's headers say.
    #[inline(always)]
    #[must_use]
    pub const fn of_packet(
        protocol: Protocol,
        local: Address,
        local_port: u16,
        remote: Address,
        remote_port: u16,
    ) -> Self {
        let ports = (local_port as u64) << 16 | remote_port as u64;
        Self { local, remote, transport: (protocol as u64) << 32 | ports }
    }

    /// The relay's end, with an IPv4 address shown as such.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.local.ip(), (self.transport >> 16) as u16)
    }

    /// The target's end, with an IPv4 address shown as such.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.remote.ip(), self.transport as u16)
    }

    /// `None` if it was not made by this version.
    #[must_use]
    pub fn protocol(&self) -> Option<Protocol> {
        [Protocol::Tcp, Protocol::Udp]
            .into_iter()
            .find(|protocol| u64::from(*protocol as u8) == self.transport >> 32)
    }
}
