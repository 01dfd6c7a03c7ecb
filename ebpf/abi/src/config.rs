use crate::{LISTEN_MAX, cid::CidKey};

/// What the packet path is told. Written once, before the programs are attached.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// [`ABI_VERSION`](crate::ABI_VERSION) of the writer. Zero (a fresh map) means "not configured
    /// yet": every packet passes.
    pub abi_version: u32,
    /// How many of `listen` are set.
    pub listen_len: u32,
    /// Where the relay listens for QUIC.
    pub listen: [Listen; LISTEN_MAX],
}

impl Config {
    /// The value of a map nobody has written to.
    pub const EMPTY: Self =
        Self { abi_version: 0, listen_len: 0, listen: [Listen::NONE; LISTEN_MAX] };
}

/// One listening address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// IPv6, or IPv4 as `::ffff:a.b.c.d`. The unspecified address of a family matches all of that
    /// family; `::` matches both, because a dual-stack socket does.
    pub addr: [u8; 16],
    /// UDP port, host byte order. Zero matches nothing.
    pub port: u16,
    /// Always zero.
    pub pad: [u8; 2],
}

impl Listen {
    /// An unused entry.
    pub const NONE: Self = Self { addr: [0; 16], port: 0, pad: [0; 2] };
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
