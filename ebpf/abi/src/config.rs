use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::{Address, LISTEN_MAX, XSK_INTERFACES_MAX, cid::CidKey, table::HashKey};

/// What the packet path is told. Written before the programs are attached; later only
/// `redirect_len_max` changes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// [`ABI_VERSION`](crate::ABI_VERSION) of the writer. Zero (a fresh map) means "not configured
    /// yet": every packet passes.
    pub abi_version: u32,
    /// Longest frame that goes to an AF_XDP socket, in bytes; 0: no packet is redirected.
    pub redirect_len_max: u32,
    /// Buckets of the flow table less one; they are a power of two.
    pub bucket_mask: u32,
    /// Always zero.
    pub pad: u32,
    /// Where the relay listens for QUIC; unused entries are [`Listen::NONE`].
    pub listen: [Listen; LISTEN_MAX],
    /// Of the flow table.
    pub hash_key: HashKey,
    /// Indices of the interfaces whose queues may have AF_XDP sockets; 0 is an unused entry.
    pub interfaces: [u32; XSK_INTERFACES_MAX],
}

impl Config {
    /// The value of a map nobody has written to, but for the listeners.
    pub const EMPTY: Self = Self {
        abi_version: 0,
        redirect_len_max: 0,
        bucket_mask: 0,
        pad: 0,
        listen: [Listen::NONE; LISTEN_MAX],
        hash_key: [0; 10],
        interfaces: [0; XSK_INTERFACES_MAX],
    };
}

/// One listening address, in the form that is cheapest to compare: the port is equal, and
/// `(packet ^ addr) & mask` is zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    pub addr: Address,
    /// All ones, or zeros where the address is unspecified.
    pub mask: Address,
    /// UDP port, host byte order; beyond 65535 in an unused entry.
    pub port: u64,
}

impl Listen {
    /// An unused entry: no packet has this port.
    pub const NONE: Self = Self { addr: Address([0; 2]), mask: Address([0; 2]), port: 1 << 16 };

    /// Takes the packets that a socket bound to `address` takes: `0.0.0.0` all of IPv4, `::` both
    /// families, as a dual-stack socket does. Port 0 takes none.
    #[must_use]
    pub const fn new(address: SocketAddr) -> Self {
        let port = address.port() as u64;
        if port == 0 {
            return Self::NONE;
        }
        let mask = match address {
            SocketAddr::V4(v4) if v4.ip().is_unspecified() => u128::MAX << 32,
            SocketAddr::V6(v6) if v6.ip().is_unspecified() => 0,
            _ => u128::MAX,
        };
        let mask = Address::new(IpAddr::V6(Ipv6Addr::from_bits(mask)));
        Self { addr: Address::new(address.ip()), mask, port }
    }

    /// Is a packet to (or from) this address and port one of this listener's?
    #[inline(always)]
    #[must_use]
    pub const fn takes(&self, Address([high, low]): Address, port: u16) -> bool {
        // The port first: it tells foreign traffic apart by one comparison.
        if self.port != port as u64 {
            return false;
        }
        let (Address(addr), Address(mask)) = (self.addr, self.mask);
        (high ^ addr[0]) & mask[0] | (low ^ addr[1]) & mask[1] == 0
    }
}

/// Whose an AF_XDP socket is. Stands beside the socket map, in which user space can't read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XskOwner {
    /// The owner's index in the array of reuseport sockets, plus one; 0: there is no socket.
    pub worker_plus_one: u32,
    /// Always zero.
    pub pad: u32,
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
