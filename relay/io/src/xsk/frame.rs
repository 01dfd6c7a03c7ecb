//! Ethernet, IP and UDP headers of one datagram: written for what is sent, read from what the XDP
//! program redirected. Pure functions over bytes.
//!
//! Reading is strict: one VLAN tag, an IP option, an extension header, a fragment or lengths that
//! contradict each other, and the frame is refused. The classifier has passed all of these to the
//! kernel already, so whatever is refused here is counted as foreign.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use weir_core::port::EcnCodepoint;

use super::checksum::Sum;

/// An Ethernet address.
pub(super) type Mac = [u8; 6];

const ETHERNET_LEN: usize = 14;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const UDP_LEN: usize = 8;
/// The longest header that is written.
const HEADER_MAX: usize = ETHERNET_LEN + IPV6_LEN + UDP_LEN;

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xDD];
const UDP: u8 = 17;
/// What Linux uses (`net.ipv4.ip_default_ttl`).
const HOP_LIMIT: u8 = 64;
const DONT_FRAGMENT: u8 = 0x40;
/// More-fragments flag and offset of the IPv4 header.
const FRAGMENT: u16 = 0x3FFF;

/// The headers of a flow's datagrams, complete but for what depends on a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Template {
    bytes: [u8; HEADER_MAX],
    len: usize,
    /// Of the IPv4 header without its length; unused for IPv6.
    ip_sum: Sum,
    /// Of the pseudo header and the ports, without the two lengths.
    udp_sum: Sum,
}

/// Bytes of all headers before the payload.
pub(super) fn header_len(v4: bool) -> usize {
    ETHERNET_LEN + if v4 { IPV4_LEN } else { IPV6_LEN } + UDP_LEN
}

/// The longest UDP payload that fits an MTU.
pub(super) fn payload_max(mtu: u32, v4: bool) -> usize {
    (mtu as usize + ETHERNET_LEN).saturating_sub(header_len(v4))
}

impl Template {
    /// `None` if the two addresses are of different families.
    pub(super) fn new(macs: [Mac; 2], source: SocketAddr, destination: SocketAddr) -> Option<Self> {
        let [from, to] = macs;
        let mut bytes = [0; HEADER_MAX];
        bytes[..6].copy_from_slice(&to);
        bytes[6..12].copy_from_slice(&from);
        let ip = &mut bytes[ETHERNET_LEN..];
        let addresses = match (source.ip(), destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                ip[0] = 0x45;
                // An atomic datagram needs no identification (RFC 6864, section 4.1).
                ip[6] = DONT_FRAGMENT;
                ip[8] = HOP_LIMIT;
                ip[9] = UDP;
                ip[12..16].copy_from_slice(&source.octets());
                ip[16..20].copy_from_slice(&destination.octets());
                bytes[12..14].copy_from_slice(&ETHERTYPE_IPV4);
                26..34
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                ip[0] = 0x60;
                ip[6] = UDP;
                ip[7] = HOP_LIMIT;
                ip[8..24].copy_from_slice(&source.octets());
                ip[24..40].copy_from_slice(&destination.octets());
                bytes[12..14].copy_from_slice(&ETHERTYPE_IPV6);
                22..54
            }
            _ => return None,
        };
        let len = header_len(source.is_ipv4());
        let udp = &mut bytes[len - UDP_LEN..len];
        udp[..2].copy_from_slice(&source.port().to_be_bytes());
        udp[2..4].copy_from_slice(&destination.port().to_be_bytes());
        let ip_sum = Sum::default().bytes(&bytes[ETHERNET_LEN..ETHERNET_LEN + IPV4_LEN]);
        let udp_sum = Sum::default()
            .bytes(&bytes[addresses])
            .bytes(&bytes[len - UDP_LEN..len - UDP_LEN + 4])
            .word(u16::from(UDP));
        Some(Template { bytes, len, ip_sum, udp_sum })
    }

    /// Writes one datagram and returns the length of its frame. `None` if it doesn't fit.
    #[inline]
    pub(super) fn write(
        &self,
        frame: &mut [u8],
        ecn: Option<EcnCodepoint>,
        payload: &[u8],
    ) -> Option<usize> {
        let total = self.len + payload.len();
        let frame = frame.get_mut(..total)?;
        let udp_len = u16::try_from(UDP_LEN + payload.len()).ok()?;
        let (header, body) = frame.split_at_mut(self.len);
        header.copy_from_slice(&self.bytes[..self.len]);
        body.copy_from_slice(payload);
        let ecn = ecn.map_or(0, |ecn| ecn as u8);
        let ip = &mut header[ETHERNET_LEN..];
        if self.bytes[12..14] == ETHERTYPE_IPV4 {
            let ip_len = IPV4_LEN as u16 + udp_len;
            ip[1] = ecn;
            ip[2..4].copy_from_slice(&ip_len.to_be_bytes());
            let sum = self.ip_sum.word(ip_len).word(u16::from(ecn));
            ip[10..12].copy_from_slice(&sum.checksum());
        } else {
            // The traffic class lies across the first two bytes, ECN in its low bits.
            ip[1] = ecn << 4;
            ip[4..6].copy_from_slice(&udp_len.to_be_bytes());
        }
        let sum = self.udp_sum.word(udp_len).word(udp_len).bytes(payload);
        let udp = &mut header[self.len - UDP_LEN..];
        udp[4..6].copy_from_slice(&udp_len.to_be_bytes());
        // A computed zero is sent as all ones: zero means that there is none (RFC 768).
        let checksum = match sum.checksum() {
            [0, 0] => [0xFF, 0xFF],
            checksum => checksum,
        };
        udp[6..8].copy_from_slice(&checksum);
        Some(total)
    }
}

/// One UDP datagram of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) ecn: Option<EcnCodepoint>,
    pub(super) payload: &'a [u8],
    /// The UDP header's checksum as it came.
    checksum: [u8; 2],
}

impl<'a> Datagram<'a> {
    /// Reads a frame. `None` for whatever isn't exactly one plain UDP datagram.
    #[inline]
    pub(super) fn read(frame: &'a [u8]) -> Option<Datagram<'a>> {
        let ip = frame.get(ETHERNET_LEN..)?;
        let (source, destination, traffic_class, udp): (IpAddr, IpAddr, u8, _) =
            match frame[12..14].try_into().ok()? {
                ETHERTYPE_IPV4 => ipv4(ip)?,
                ETHERTYPE_IPV6 => ipv6(ip)?,
                _ => return None,
            };
        let header: &[u8; UDP_LEN] = udp.first_chunk()?;
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        if usize::from(word(4)) != udp.len() {
            return None;
        }
        Some(Datagram {
            source: SocketAddr::new(source, word(0)),
            destination: SocketAddr::new(destination, word(2)),
            ecn: EcnCodepoint::from_bits(traffic_class & 3),
            payload: &udp[UDP_LEN..],
            checksum: [header[6], header[7]],
        })
    }

    /// True if the UDP checksum is right, or absent where it may be (RFC 768; RFC 8200, section
    /// 8.1), or only begun: a virtual link carries packets whose checksum a sender left to a
    /// device that is never reached, and such a field holds the sum of the pseudo header alone.
    pub(super) fn is_intact(&self) -> bool {
        if self.checksum == [0, 0] {
            return self.source.is_ipv4();
        }
        let len = (UDP_LEN + self.payload.len()) as u16;
        let pseudo = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => Sum::default().bytes(&a.octets()).bytes(&b.octets()),
            (IpAddr::V6(a), IpAddr::V6(b)) => Sum::default().bytes(&a.octets()).bytes(&b.octets()),
            _ => return false,
        };
        let pseudo = pseudo.word(u16::from(UDP)).word(len);
        let whole = pseudo
            .word(self.source.port())
            .word(self.destination.port())
            .word(len)
            .bytes(&self.checksum)
            .bytes(self.payload);
        whole.fold() == [0xFF, 0xFF] || pseudo.fold() == self.checksum
    }
}

type Network<'a> = (IpAddr, IpAddr, u8, &'a [u8]);

fn ipv4(ip: &[u8]) -> Option<Network<'_>> {
    let header: &[u8; IPV4_LEN] = ip.first_chunk()?;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let fragment = u16::from_be_bytes([header[6], header[7]]) & FRAGMENT;
    if header[0] != 0x45 || fragment != 0 || header[9] != UDP {
        return None;
    }
    // Short frames are padded: what counts is the IP header's length.
    let udp = ip.get(IPV4_LEN..total)?;
    let address = |at: usize| {
        IpAddr::from(Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]))
    };
    Some((address(12), address(16), header[1], udp))
}

fn ipv6(ip: &[u8]) -> Option<Network<'_>> {
    let header: &[u8; IPV6_LEN] = ip.first_chunk()?;
    let payload = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if header[0] >> 4 != 6 || header[6] != UDP {
        return None;
    }
    let udp = ip.get(IPV6_LEN..IPV6_LEN + payload)?;
    let address = |at: usize| {
        let octets: [u8; 16] = header[at..at + 16].try_into().ok()?;
        Some(IpAddr::from(Ipv6Addr::from(octets)))
    };
    Some((address(8)?, address(24)?, header[0] << 4 | header[1] >> 4, udp))
}

#[cfg(test)]
mod tests;
