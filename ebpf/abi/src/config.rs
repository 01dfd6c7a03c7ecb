use core::net::SocketAddr;

use crate::{LISTEN_MAX, cid::CidKey};

/// What the packet path is told. Written once, before the programs are attached.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// [`ABI_VERSION`](crate::ABI_VERSION) of the writer. Zero (a fresh map) means "not configured
    /// yet": every packet passes.
    pub abi_version: u32,
    /// Always zero.
    pub pad: u32,
    /// Where the relay listens for QUIC; unused entries are [`Listen::NONE`].
    pub listen: [Listen; LISTEN_MAX],
}

impl Config {
    /// The value of a map nobody has written to.
    pub const EMPTY: Self = Self { abi_version: 0, pad: 0, listen: [Listen::NONE; LISTEN_MAX] };
}

/// One listening address, in the form that is cheapest to compare: `(packet ^ addr) & mask` is
/// zero, and the port is equal.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address, IPv4 as `::ffff:a.b.c.d`, its bytes in network order.
    pub addr: [u64; 2],
    /// All ones, or zeros where the address is unspecified.
    pub mask: [u64; 2],
    /// UDP port, host byte order; beyond 65535 in an unused entry.
    pub port: u64,
}

impl Listen {
    /// An unused entry: no packet has this port.
    pub const NONE: Self = Self { addr: [0; 2], mask: [0; 2], port: 1 << 16 };

    /// Takes the packets that a socket bound to `address` takes: `0.0.0.0` all of IPv4, `::` both
    /// families, as a dual-stack socket does. Port 0 takes none.
    #[must_use]
    pub const fn new(address: SocketAddr) -> Self {
        let port = address.port() as u64;
        if port == 0 {
            return Self::NONE;
        }
        let (octets, mask) = match address {
            SocketAddr::V4(v4) if v4.ip().is_unspecified() => {
                (v4.ip().to_ipv6_mapped().octets(), u128::MAX << 32)
            }
            SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped().octets(), u128::MAX),
            SocketAddr::V6(v6) if v6.ip().is_unspecified() => (v6.ip().octets(), 0),
            SocketAddr::V6(v6) => (v6.ip().octets(), u128::MAX),
        };
        Self { addr: halves(octets), mask: halves(mask.to_be_bytes()), port }
    }

    /// Is a packet to (or from) this address and port one of this listener's?
    #[inline(always)]
    #[must_use]
    pub const fn takes(&self, addr: [u8; 16], port: u16) -> bool {
        let [high, low] = halves(addr);
        let differs = (high ^ self.addr[0]) & self.mask[0] | (low ^ self.addr[1]) & self.mask[1];
        differs | (port as u64 ^ self.port) == 0
    }
}

/// The two halves of 16 bytes as they lie in memory.
#[inline(always)]
const fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
    [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes([i, j, k, l, m, n, o, p])]
}

/// How connection IDs of one generation lead to its sockets.
///
/// The slots are rewritten while packets arrive, and a reader may see half of a new value. That is
/// harmless: such a packet reaches a wrong worker, which hands it on, as after any misrouting.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steer {
    /// Key under which this generation's connection IDs were made.
    pub key: CidKey,
    /// Generation number carried in them.
    pub generation: u32,
    /// Index of this generation's worker 0 in the socket array.
    pub base: u32,
    /// Number of workers; zero means the slot is unused.
    pub workers: u32,
}
