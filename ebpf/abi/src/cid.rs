//! The 8-byte connection ID: which worker of which generation owns a connection.
//!
//! It is read in three places that can't share code: Rust in the engine, eBPF in the reuseport
//! program and classic BPF where the relay has no privileges. So it uses 32-bit multiply, xor,
//! shift and add only, on big-endian words, and this page is the definition:
//!
//! ```text
//! plain:  L = generation << 24 | worker << 16 | tag        R = nonce (random)
//! F(x,k): x ^= k; x *= 0x9E3779B1; x ^= x >> 15; x *= 0x85EBCA77; x ^= x >> 13
//! encode: L ^= F(R,k0); R ^= F(L,k1); L ^= F(R,k2); R ^= F(L,k3)      (all modulo 2^32)
//! wire:   L, R as two big-endian words
//! decode: the four steps backwards; ours if L & 0xFFFF == tag
//! tag   = F(k0 ^ k2, k1 ^ k3) & 0xFFFF
//! hash(a,b) = F(F(a,k1) ^ b, k2)
//! ```
//!
//! This is obfuscation, not encryption (it is weaker than the 4-pass cipher of QUIC-LB): it keeps
//! an onlooker from reading the number of workers and from linking two IDs of a connection at a
//! glance, and a client from aiming at one worker by flipping a bit. Nothing secret depends on it.
//!
//! The worker of a UDP datagram is found the same way everywhere, from its first QUIC packet:
//!
//! 1. Short header (first bit 0): the eight bytes at offset 1. Long header: the eight bytes at
//!    offset 6 (RFC 8999, section 5.1); they are decoded only if the length byte at 5 says eight.
//!    Handshake packets carry *our* ID in a long header, so long headers are not simply hashed.
//! 2. If they decode to the tag and a worker that exists: that worker.
//! 3. Otherwise `hash` of the eight bytes, modulo the number of workers: a client's own choice of
//!    ID in its first Initials. It stays the same until the client has learnt one of ours.
//! 4. A datagram that ends before the eight bytes: worker 0.

mod classic;

pub use classic::{CLASSIC_LEN, ClassicInsn, classic_program};

/// Bytes of a connection ID.
pub const LEN: usize = 8;

/// Offset of the destination connection ID after a short header's first byte.
pub const SHORT_OFFSET: usize = 1;

/// Offset of the length of the destination connection ID in a long header.
pub const LONG_LEN_OFFSET: usize = 5;

/// Offset of the destination connection ID in a long header.
pub const LONG_OFFSET: usize = 6;

const MUL_1: u32 = 0x9E37_79B1;
const MUL_2: u32 = 0x85EB_CA77;

/// Per-process key. Random; a successor that keeps steering for its predecessor inherits it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CidKey {
    /// k0 to k3.
    pub round: [u32; 4],
    /// Derived from `round`; zero-extended 16 bits.
    pub tag: u32,
}

/// What a connection ID says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cid {
    /// Generation of the process that made it, modulo 256.
    pub generation: u8,
    /// Worker that owns the connection.
    pub worker: u8,
    /// Random; makes the ID unique.
    pub nonce: u32,
}

impl CidKey {
    /// An unused slot's key.
    pub const ZERO: Self = Self { round: [0; 4], tag: 0 };

    /// The key from 16 random bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        let round = [
            u32::from_be_bytes([a, b, c, d]),
            u32::from_be_bytes([e, f, g, h]),
            u32::from_be_bytes([i, j, k, l]),
            u32::from_be_bytes([m, n, o, p]),
        ];
        let tag = mix(round[0] ^ round[2], round[1] ^ round[3]) & 0xFFFF;
        Self { round, tag }
    }

    /// The eight bytes on the wire.
    #[must_use]
    pub const fn encode(&self, cid: Cid) -> [u8; LEN] {
        let mut left = (cid.generation as u32) << 24 | (cid.worker as u32) << 16 | self.tag;
        let mut right = cid.nonce;
        left ^= mix(right, self.round[0]);
        right ^= mix(left, self.round[1]);
        left ^= mix(right, self.round[2]);
        right ^= mix(left, self.round[3]);
        ((left as u64) << 32 | right as u64).to_be_bytes()
    }

    /// What `bytes` say, or `None` if they were not made with this key (wrong by chance once in
    /// 65,536 times, which costs a misrouted packet and nothing else).
    #[inline(always)]
    #[must_use]
    pub const fn decode(&self, bytes: [u8; LEN]) -> Option<Cid> {
        let (mut left, mut right) = words(bytes);
        right ^= mix(left, self.round[3]);
        left ^= mix(right, self.round[2]);
        right ^= mix(left, self.round[1]);
        left ^= mix(right, self.round[0]);
        if left & 0xFFFF != self.tag {
            return None;
        }
        Some(Cid { generation: (left >> 24) as u8, worker: (left >> 16) as u8, nonce: right })
    }

    /// Keyed hash of bytes that are not our ID.
    #[inline(always)]
    #[must_use]
    pub const fn hash(&self, bytes: [u8; LEN]) -> u32 {
        let (a, b) = words(bytes);
        mix(mix(a, self.round[1]) ^ b, self.round[2])
    }

    /// The worker of a UDP datagram (the rule above), for a process of `workers` workers
    /// (1 to [`WORKERS_MAX`](crate::WORKERS_MAX); 0 counts as 1). What the two BPF steerers do;
    /// backends without them call it.
    #[must_use]
    pub fn worker(&self, datagram: &[u8], workers: u32) -> u32 {
        let Some(seen) = Seen::in_datagram(datagram) else { return 0 };
        let workers = if workers == 0 { 1 } else { workers };
        let owner = if seen.may_be_ours { self.decode(seen.bytes) } else { None };
        match owner {
            Some(cid) if u32::from(cid.worker) < workers => u32::from(cid.worker),
            _ => self.hash(seen.bytes) % workers,
        }
    }
}

impl core::fmt::Debug for CidKey {
    /// Keeps the key out of logs.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("CidKey(..)")
    }
}

/// The eight bytes of a datagram that decide, and whether they can be an ID of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// From the offset that the header form says.
    pub bytes: [u8; LEN],
    /// False for a long header whose connection ID is not eight bytes long.
    pub may_be_ours: bool,
}

impl Seen {
    /// `None` if the datagram is too short for them.
    #[must_use]
    pub fn in_datagram(datagram: &[u8]) -> Option<Self> {
        let first = *datagram.first()?;
        if first & 0x80 == 0 {
            let bytes = *datagram.get(SHORT_OFFSET..)?.first_chunk()?;
            return Some(Self { bytes, may_be_ours: true });
        }
        let bytes = *datagram.get(LONG_OFFSET..)?.first_chunk()?;
        Some(Self { bytes, may_be_ours: usize::from(datagram[LONG_LEN_OFFSET]) == LEN })
    }
}

#[inline(always)]
const fn words(bytes: [u8; LEN]) -> (u32, u32) {
    let both = u64::from_be_bytes(bytes);
    ((both >> 32) as u32, both as u32)
}

/// F of the module's definition.
#[inline(always)]
const fn mix(x: u32, key: u32) -> u32 {
    let mut x = x ^ key;
    x = x.wrapping_mul(MUL_1);
    x ^= x >> 15;
    x = x.wrapping_mul(MUL_2);
    x ^ x >> 13
}
