//! Three questions to the kernel by rtnetlink(7): what an interface is, which way leads to an
//! address, and which Ethernet address a neighbour has. Each is answered within the system call
//! that asks, so nothing here ever waits.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::frame::Mac;

const HEADER_LEN: usize = 16;
const ATTRIBUTE_LEN: usize = 4;
const LINK_LEN: usize = 16;
const ROUTE_LEN: usize = 12;
const NEIGHBOUR_LEN: usize = 12;
/// One answer; a link with all its statistics is the longest, at a few KiB.
const ANSWER_MAX: usize = 32 << 10;
/// Answers to earlier questions that were given up on, at most, before the right one.
const STALE_ANSWERS_MAX: usize = 8;

/// Flags in the attribute type: nested, byte order.
const TYPE_MASK: u16 = 0x3FFF;
const RTAX_MTU: u16 = 2;
/// A next hop of the other family, and tunnels: not a way for a plain Ethernet frame.
const RTA_VIA: u16 = 18;
const RTA_ENCAP: u16 = 22;

/// What a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) mac: Mac,
    pub(super) mtu: u32,
}

/// The way to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) interface: u32,
    /// The neighbour that takes it: a gateway, or the address itself.
    pub(super) next_hop: IpAddr,
    /// The address to send from.
    pub(super) source: IpAddr,
    /// If the route or a learnt path says so.
    pub(super) mtu: Option<u32>,
}

/// What the kernel knows of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Neighbour {
    Known(Mac),
    /// Known, but not confirmed for a while: the kernel asks again when *it* sends next.
    Stale(Mac),
    Unknown,
}

/// A netlink socket.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    answer: Box<[u8]>,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Netlink> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers are passed. Neither std nor socket2 has netlink addresses.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just created, nobody else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Netlink { socket, sequence: 0, answer: vec![0; ANSWER_MAX].into() })
    }

    /// The link with this index.
    pub(super) fn link(&mut self, interface: u32) -> io::Result<Link> {
        let mut body = [0; LINK_LEN];
        body[4..8].copy_from_slice(&interface.to_ne_bytes());
        let answer = self.ask(libc::RTM_GETLINK, &body, &[])?;
        let attributes = answer.get(LINK_LEN..).ok_or_else(malformed)?;
        let mac = find(attributes, libc::IFLA_ADDRESS).and_then(|bytes| bytes.try_into().ok());
        let mtu = find(attributes, libc::IFLA_MTU).and_then(number);
        match (mac, mtu) {
            (Some(mac), Some(mtu)) => Ok(Link { mac, mtu }),
            _ => Err(malformed()),
        }
    }

    /// The way to `destination`, from `source` if that is given. `None` if it isn't a frame to a
    /// neighbour: this host itself, a tunnel, several next hops, nowhere.
    pub(super) fn route(
        &mut self,
        destination: IpAddr,
        source: Option<IpAddr>,
    ) -> io::Result<Option<Route>> {
        let mut body = [0; ROUTE_LEN];
        body[0] = family(destination);
        body[1] = bits(destination);
        body[2] = source.map_or(0, bits);
        let mut attributes = Vec::with_capacity(40);
        attribute(&mut attributes, libc::RTA_DST, destination);
        if let Some(source) = source {
            attribute(&mut attributes, libc::RTA_SRC, source);
        }
        match self.ask(libc::RTM_GETROUTE, &body, &attributes) {
            Ok(answer) => Ok(route(answer, destination, source)),
            Err(error) if error.raw_os_error().is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The Ethernet address of a neighbour.
    pub(super) fn neighbour(&mut self, interface: u32, address: IpAddr) -> io::Result<Neighbour> {
        let mut body = [0; NEIGHBOUR_LEN];
        body[0] = family(address);
        body[4..8].copy_from_slice(&interface.to_ne_bytes());
        let mut attributes = Vec::with_capacity(20);
        attribute(&mut attributes, libc::NDA_DST, address);
        match self.ask(libc::RTM_GETNEIGH, &body, &attributes) {
            Ok(answer) => Ok(neighbour(answer)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Neighbour::Unknown),
            Err(error) => Err(error),
        }
    }

    /// Sends a question and returns the body of its answer.
    fn ask(&mut self, kind: u16, body: &[u8], attributes: &[u8]) -> io::Result<&[u8]> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = Vec::with_capacity(HEADER_LEN + body.len() + attributes.len());
        let len = (HEADER_LEN + body.len() + attributes.len()) as u32;
        request.extend(len.to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
        request.extend(self.sequence.to_ne_bytes());
        request.extend([0; 4]);
        request.extend(body);
        request.extend(attributes);
        let fd = self.socket.as_raw_fd();
        // SAFETY: the buffer is readable for its length.
        let sent = unsafe { libc::send(fd, request.as_ptr().cast(), request.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        for _ in 0..STALE_ANSWERS_MAX {
            let (into, room) = (self.answer.as_mut_ptr().cast(), self.answer.len());
            // SAFETY: the buffer is writable for its length.
            let got = unsafe { libc::recv(fd, into, room, libc::MSG_DONTWAIT) };
            let Ok(got) = usize::try_from(got) else { return Err(io::Error::last_os_error()) };
            if sequence(&self.answer[..got]) == Some(self.sequence) {
                return content(&self.answer[..got]);
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

fn sequence(message: &[u8]) -> Option<u32> {
    number(message.get(8..12)?)
}

/// The body of an answer, or the error that it is.
fn content(message: &[u8]) -> io::Result<&[u8]> {
    let kind = message.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let len = message.get(..4).and_then(number).map_or(0, |len| len as usize);
    let body = message.get(HEADER_LEN..len).ok_or_else(malformed)?;
    if kind == Some(libc::NLMSG_ERROR as u16) {
        let code = body.get(..4).and_then(number).ok_or_else(malformed)?;
        return Err(io::Error::from_raw_os_error(code.cast_signed().wrapping_neg()));
    }
    Ok(body)
}

fn route(answer: &[u8], destination: IpAddr, source: Option<IpAddr>) -> Option<Route> {
    let (header, attributes) = answer.split_first_chunk::<ROUTE_LEN>()?;
    let unicast = header[7] == libc::RTN_UNICAST;
    let plain = [RTA_VIA, RTA_ENCAP, libc::RTA_MULTIPATH]
        .iter()
        .all(|&kind| find(attributes, kind).is_none());
    if !unicast || !plain {
        return None;
    }
    let preferred = find(attributes, libc::RTA_PREFSRC).and_then(address);
    Some(Route {
        interface: find(attributes, libc::RTA_OIF).and_then(number)?,
        next_hop: find(attributes, libc::RTA_GATEWAY).and_then(address).unwrap_or(destination),
        source: source.or(preferred)?,
        mtu: find(attributes, libc::RTA_METRICS)
            .and_then(|metrics| find(metrics, RTAX_MTU))
            .and_then(number)
            .filter(|&mtu| mtu > 0),
    })
}

fn neighbour(answer: &[u8]) -> Neighbour {
    let Some((header, attributes)) = answer.split_first_chunk::<NEIGHBOUR_LEN>() else {
        return Neighbour::Unknown;
    };
    let state = u16::from_ne_bytes([header[8], header[9]]);
    let mac = find(attributes, libc::NDA_LLADDR).and_then(|bytes| bytes.try_into().ok());
    let fresh = libc::NUD_REACHABLE
        | libc::NUD_DELAY
        | libc::NUD_PROBE
        | libc::NUD_NOARP
        | libc::NUD_PERMANENT;
    match mac {
        Some(mac) if state & fresh != 0 => Neighbour::Known(mac),
        Some(mac) if state & libc::NUD_STALE != 0 => Neighbour::Stale(mac),
        _ => Neighbour::Unknown,
    }
}

/// The value of the first attribute of a kind.
fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Some((header, _)) = attributes.split_first_chunk::<ATTRIBUTE_LEN>() {
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let value = attributes.get(ATTRIBUTE_LEN..len)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
    None
}

fn attribute(into: &mut Vec<u8>, kind: u16, value: IpAddr) {
    let push = |into: &mut Vec<u8>, octets: &[u8]| {
        into.extend(((ATTRIBUTE_LEN + octets.len()) as u16).to_ne_bytes());
        into.extend(kind.to_ne_bytes());
        into.extend(octets);
    };
    match value {
        IpAddr::V4(ip) => push(into, &ip.octets()),
        IpAddr::V6(ip) => push(into, &ip.octets()),
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.first_chunk()?))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into())
}

fn family(ip: IpAddr) -> u8 {
    (if ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a malformed rtnetlink answer")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((ATTRIBUTE_LEN + value.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_route_by_a_gateway_is_read() {
        let destination = "198.51.100.7".parse().unwrap();
        let mut header = [0; ROUTE_LEN];
        header[7] = libc::RTN_UNICAST;
        let metrics = packed(RTAX_MTU, &1_400u32.to_ne_bytes());
        let mut answer = header.to_vec();
        answer.extend(packed(libc::RTA_OIF, &7u32.to_ne_bytes()));
        answer.extend(packed(libc::RTA_GATEWAY, &[192, 0, 2, 1]));
        answer.extend(packed(libc::RTA_PREFSRC, &[192, 0, 2, 9]));
        answer.extend(packed(libc::RTA_METRICS | 0x8000, &metrics));
        let expected = Route {
            interface: 7,
            next_hop: "192.0.2.1".parse().unwrap(),
            source: "192.0.2.9".parse().unwrap(),
            mtu: Some(1_400),
        };
        assert_eq!(route(&answer, destination, None), Some(expected));
        answer[7] = libc::RTN_LOCAL;
        assert_eq!(route(&answer, destination, None), None, "this host itself");
        answer[7] = libc::RTN_UNICAST;
        answer.extend(packed(RTA_ENCAP, &[0; 4]));
        assert_eq!(route(&answer, destination, None), None, "a tunnel");
    }

    #[test]
    fn this_host_answers() {
        let mut netlink = Netlink::open().unwrap();
        let lo = netlink.link(1).unwrap();
        assert_eq!(lo.mac, [0; 6]);
        assert!(netlink.link(u32::MAX >> 1).is_err());
        let own = netlink.route("127.0.0.1".parse().unwrap(), None).unwrap();
        assert_eq!(own, None, "this host is no neighbour");
        let nobody = netlink.neighbour(1, "127.0.0.77".parse().unwrap()).unwrap();
        assert_eq!(nobody, Neighbour::Unknown);
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let destination = IpAddr::from([192, 0, 2, 1]);
            let _ = (content(&bytes).is_ok(), sequence(&bytes), neighbour(&bytes));
            let _ = route(&bytes, destination, None);
            let mut unicast = bytes;
            if let Some(kind) = unicast.get_mut(7) {
                *kind = libc::RTN_UNICAST;
            }
            let _ = route(&unicast, destination, None);
        }
    }
}
