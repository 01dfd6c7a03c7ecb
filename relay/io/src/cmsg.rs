//! Control messages (cmsg(3)) as bytes: no pointers, so no unsafe code.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_core::port::EcnCodepoint;

/// `struct cmsghdr`: length (with this header), level, type.
const HEADER_BYTES: usize = 16;
const _: () = assert!(size_of::<usize>() == 8, "the layout below is that of 64-bit kernels");

/// Room for what a client-facing socket receives: destination, traffic class, segment size,
/// overflow count; at most 40 + 24 + 24 + 24.
pub(crate) const RECEIVE_BYTES: usize = 128;
/// Room for what is sent: source, traffic class, segment size; at most 40 + 24 + 24.
const SEND_BYTES: usize = 96;

/// Control messages to send.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(crate) struct Control {
    bytes: [u8; SEND_BYTES],
    len: usize,
}

impl Control {
    pub(crate) const EMPTY: Control = Control { bytes: [0; SEND_BYTES], len: 0 };

    /// The datagrams leave from `source`.
    pub(crate) fn source(&mut self, source: IpAddr) {
        match source {
            IpAddr::V4(ip) => {
                // struct in_pktinfo: interface (any), source, and a field for receiving only.
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&ip.octets());
                self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            IpAddr::V6(ip) => {
                // struct in6_pktinfo: source, interface (any).
                let mut info = [0; 20];
                info[..16].copy_from_slice(&ip.octets());
                self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }
    }

    /// The ECN bits of the IP header.
    pub(crate) fn ecn(&mut self, v4: bool, ecn: EcnCodepoint) {
        let (level, name) = if v4 {
            (libc::IPPROTO_IP, libc::IP_TOS)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
        };
        self.push(level, name, &(ecn as i32).to_ne_bytes());
    }

    /// The kernel cuts the payload into datagrams of this size.
    pub(crate) fn segment_size(&mut self, bytes: u16) {
        self.push(libc::SOL_UDP, libc::UDP_SEGMENT, &bytes.to_ne_bytes());
    }

    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn push(&mut self, level: i32, name: i32, data: &[u8]) {
        let space = (HEADER_BYTES + data.len()).next_multiple_of(8);
        let place = &mut self.bytes[self.len..self.len + space];
        place[..8].copy_from_slice(&(HEADER_BYTES + data.len()).to_ne_bytes());
        place[8..12].copy_from_slice(&level.to_ne_bytes());
        place[12..16].copy_from_slice(&name.to_ne_bytes());
        place[16..16 + data.len()].copy_from_slice(data);
        self.len += space;
    }
}

/// What the control messages of a received train say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// The address that the sender used.
    pub(crate) destination: Option<IpAddr>,
    pub(crate) ecn: Option<EcnCodepoint>,
    /// Size of the coalesced datagrams; `None` for a single one.
    pub(crate) segment_size: Option<usize>,
    /// Packets that the socket has dropped since it was opened (SO_RXQ_OVFL).
    pub(crate) overflow: Option<u32>,
}

/// Reads the control messages of a train; what isn't known or is cut short is skipped.
pub(crate) fn parse(mut control: &[u8]) -> Received {
    let mut received = Received::default();
    while let Some((header, _)) = control.split_first_chunk::<HEADER_BYTES>() {
        let len = usize::from_ne_bytes(*header.first_chunk().expect("16 bytes"));
        let level = i32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
        let name = i32::from_ne_bytes([header[12], header[13], header[14], header[15]]);
        let Some(data) = control.get(HEADER_BYTES..len) else { break };
        received.take(level, name, data);
        control = control.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    received
}

impl Received {
    fn take(&mut self, level: i32, name: i32, data: &[u8]) {
        match (level, name) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let ip = data.get(8..).and_then(|d| d.first_chunk::<4>());
                self.destination = ip.map(|ip| Ipv4Addr::from(*ip).into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                self.destination = data.first_chunk::<16>().map(|ip| Ipv6Addr::from(*ip).into());
            }
            // One byte for IPv4 and an integer for IPv6; the low byte comes first in both on
            // little endian, last on big endian.
            (libc::IPPROTO_IP, libc::IP_TOS) => {
                self.ecn = data.first().and_then(|tos| EcnCodepoint::from_bits(tos & 3));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                self.ecn = int(data).and_then(|tos| EcnCodepoint::from_bits(tos as u8 & 3));
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                self.segment_size = int(data).and_then(|n| usize::try_from(n).ok());
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                self.overflow = int(data).map(|n| n as u32);
            }
            _ => {}
        }
    }
}

fn int(data: &[u8]) -> Option<i32> {
    data.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        let mut control = Control::EMPTY;
        control.source("2001:db8::1".parse().unwrap());
        control.ecn(false, EcnCodepoint::Ce);
        control.segment_size(1200);
        assert_eq!(control.len(), 40 + 24 + 24);
        let received = parse(&control.bytes[..control.len]);
        assert_eq!(received.destination, Some("2001:db8::1".parse().unwrap()));
        assert_eq!(received.ecn, Some(EcnCodepoint::Ce));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..160)) {
            parse(&bytes);
        }
    }
}
