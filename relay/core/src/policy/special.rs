//! Addresses that aren't hosts on the public internet (IANA special-purpose registries, RFC 6890).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Cidr;

const SPECIAL: &[Cidr] = &[
    Cidr::v4(0, 0, 0, 0, 8), // "this network"; 0.0.0.0 reaches the host itself on Linux
    Cidr::v4(10, 0, 0, 0, 8), // private
    Cidr::v4(100, 64, 0, 0, 10), // shared address space of carriers (CGNAT)
    Cidr::v4(127, 0, 0, 0, 8), // loopback
    Cidr::v4(169, 254, 0, 0, 16), // link-local, cloud metadata services
    Cidr::v4(172, 16, 0, 0, 12), // private
    Cidr::v4(192, 0, 0, 0, 24), // protocol assignments
    Cidr::v4(192, 0, 2, 0, 24), // documentation
    Cidr::v4(192, 88, 99, 0, 24), // 6to4 relay anycast
    Cidr::v4(192, 168, 0, 0, 16), // private
    Cidr::v4(198, 18, 0, 0, 15), // benchmarking
    Cidr::v4(198, 51, 100, 0, 24), // documentation
    Cidr::v4(203, 0, 113, 0, 24), // documentation
    Cidr::v4(224, 0, 0, 0, 4), // multicast
    Cidr::v4(240, 0, 0, 0, 4), // reserved, and limited broadcast
    Cidr::v6([0, 0, 0, 0], 96), // unspecified, loopback, IPv4-compatible
    Cidr::v6([0x64, 0xff9b, 1, 0], 48), // local-use translation
    Cidr::v6([0x100, 0, 0, 0], 64), // discard-only
    Cidr::v6([0x2001, 0, 0, 0], 23), // protocol assignments, Teredo and benchmarking in it
    Cidr::v6([0x2001, 0xdb8, 0, 0], 32), // documentation
    Cidr::v6([0x3fff, 0, 0, 0], 20), // documentation
    Cidr::v6([0x5f00, 0, 0, 0], 16), // segment routing
    Cidr::v6([0xfc00, 0, 0, 0], 7), // unique local
    Cidr::v6([0xfe80, 0, 0, 0], 10), // link-local
    Cidr::v6([0xfec0, 0, 0, 0], 10), // site-local, deprecated
    Cidr::v6([0xff00, 0, 0, 0], 8), // multicast
];

/// Whether an address is in a block that isn't public.
pub(super) fn is_special(ip: IpAddr) -> bool {
    SPECIAL.iter().any(|block| block.contains(ip))
}

/// The IPv4 address inside an IPv6 address that some box on the way may translate or tunnel to.
pub(super) fn embedded_v4(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = ip else { return None };
    let s = v6.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match s {
        // IPv4-mapped (RFC 4291 section 2.5.5.2), IPv4-translated (RFC 2765 section 2.1) and
        // IPv4-compatible; the latter without :: and ::1, which are no IPv4 addresses.
        [0, 0, 0, 0, 0, 0xffff, a, b] | [0, 0, 0, 0, 0xffff, 0, a, b] => Some(v4(a, b)),
        [0, 0, 0, 0, 0, 0, a, b] if v6 != Ipv6Addr::LOCALHOST && a != 0 => Some(v4(a, b)),
        // NAT64 (RFC 6052 section 2.1) and its local-use prefix (RFC 8215).
        [0x64, 0xff9b, 0, 0, 0, 0, a, b] | [0x64, 0xff9b, 1, _, _, _, a, b] => Some(v4(a, b)),
        // 6to4 (RFC 3056 section 2).
        [0x2002, a, b, ..] => Some(v4(a, b)),
        // Teredo keeps the client's address inverted (RFC 4380 section 4).
        [0x2001, 0, .., a, b] => Some(v4(!a, !b)),
        // ISATAP (RFC 5214 section 6.1), with the universal bit clear or set.
        [.., 0 | 0x200, 0x5efe, a, b] => Some(v4(a, b)),
        _ => None,
    }
}
