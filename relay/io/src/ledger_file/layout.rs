//! Where everything is in the file. Every field is a 64-bit word in native byte order: the file
//! never leaves the host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use weir_core::ledger::{Amount, DROP_REASONS, DirectionCounters, TunnelCounters};
use weir_core::port::{FlowTuple, LedgerEntry, Transport};

/// "WEIRLEDG" as the file's first eight bytes.
pub(super) const MAGIC: u64 = u64::from_ne_bytes(*b"WEIRLEDG");
/// Grows with every change of this file.
pub(super) const VERSION: u64 = 1;

/// Header words.
pub(super) const H_MAGIC: usize = 0;
pub(super) const H_VERSION: usize = 1;
pub(super) const H_SLOT_WORDS: usize = 2;
pub(super) const H_SLOT_COUNT: usize = 3;
pub(super) const H_EPOCH: usize = 4;
pub(super) const H_WORKER: usize = 5;
/// Slots from here on were never opened; a reader needn't look at them.
pub(super) const H_USED: usize = 6;
/// The header takes one page, so that slots start at a page and a cache line.
pub(super) const HEADER_WORDS: usize = 512;

/// Words of a slot, relative to its start: whole cache lines of eight words.
pub(super) const S_STATE: usize = 0;
pub(super) const S_PUBLISHED: usize = 1;
pub(super) const S_IDENTITY: usize = 2;
/// Two copies of the counters.
pub(super) const S_COPY: [usize; 2] = [24, 64];
pub(super) const SLOT_WORDS: usize = 104;
/// Bytes that one slot takes.
pub const SLOT_BYTES: usize = SLOT_WORDS * 8;
/// The most slots that a file may have: 832 MiB, far beyond the sockets that a worker can open.
pub const SLOTS_MAX: u32 = 1 << 20;

pub(super) const IDENTITY_WORDS: usize = 14;
/// Words of one direction: received, forwarded and each drop reason, in bytes and in datagrams.
const DIRECTION_WORDS: usize = 2 * (2 + DROP_REASONS);
pub(super) const COUNTER_WORDS: usize = 2 * DIRECTION_WORDS;

const _: () = assert!(SLOT_WORDS.is_multiple_of(8) && HEADER_WORDS.is_multiple_of(8));
const _: () = assert!(S_IDENTITY + IDENTITY_WORDS <= S_COPY[0]);
const _: () = assert!(S_COPY[0] + COUNTER_WORDS <= S_COPY[1]);
const _: () = assert!(S_COPY[1] + COUNTER_WORDS <= SLOT_WORDS);

/// The low bits of the state word; the generation is above them.
pub(super) const FREE: u64 = 0;
pub(super) const OPEN: u64 = 1;
pub(super) const CLOSED: u64 = 2;
pub(super) const STATE_MASK: u64 = 3;
pub(super) const GENERATION_ONE: u64 = 4;

/// The first word of a slot.
pub(super) fn slot_start(slot: u32) -> usize {
    HEADER_WORDS + slot as usize * SLOT_WORDS
}

/// Words of a file with so many slots.
pub(super) fn file_words(slots: u32) -> usize {
    slot_start(slots)
}

pub(super) fn encode_identity(entry: &LedgerEntry) -> [u64; IDENTITY_WORDS] {
    let mut words = [0; IDENTITY_WORDS];
    words[0] = (entry.tunnel >> 64) as u64;
    words[1] = entry.tunnel as u64;
    words[2] = entry.session;
    for (word, bytes) in words[3..7].iter_mut().zip(entry.channel.as_chunks::<8>().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    let flow = &entry.flow;
    let transport = match flow.transport {
        Transport::Tcp => u64::from(libc::IPPROTO_TCP as u32),
        Transport::Udp => u64::from(libc::IPPROTO_UDP as u32),
    };
    words[7] = u64::from(entry.lane) | transport << 32;
    words[8..11].copy_from_slice(&encode_address(flow.local));
    words[11..14].copy_from_slice(&encode_address(flow.remote));
    words
}

/// What is wrong with an identity: which word, and how.
pub(super) type Damage = (usize, String);

pub(super) fn decode_identity(words: &[u64; IDENTITY_WORDS]) -> Result<LedgerEntry, Damage> {
    let mut channel = [0; 32];
    for (bytes, word) in channel.as_chunks_mut::<8>().0.iter_mut().zip(&words[3..7]) {
        *bytes = word.to_ne_bytes();
    }
    let transport = match (words[7] >> 32) as i32 {
        libc::IPPROTO_TCP => Transport::Tcp,
        libc::IPPROTO_UDP => Transport::Udp,
        other => return Err((7, format!("unknown transport {other}"))),
    };
    let local = decode_address([words[8], words[9], words[10]])
        .ok_or_else(|| (10, format!("not an address: {:#x}", words[10])))?;
    let remote = decode_address([words[11], words[12], words[13]])
        .ok_or_else(|| (13, format!("not an address: {:#x}", words[13])))?;
    Ok(LedgerEntry {
        tunnel: u128::from(words[0]) << 64 | u128::from(words[1]),
        session: words[2],
        channel,
        lane: words[7] as u32,
        flow: FlowTuple { transport, local, remote },
    })
}

/// Sixteen bytes of address, then port, family (4 or 6) and scope in one word.
fn encode_address(address: SocketAddr) -> [u64; 3] {
    let (ip, family, scope) = match address {
        SocketAddr::V4(a) => (a.ip().to_ipv6_mapped(), 4, 0),
        SocketAddr::V6(a) => (*a.ip(), 6, a.scope_id()),
    };
    let bits = ip.to_bits();
    let last = u64::from(address.port()) | family << 16 | u64::from(scope) << 32;
    [(bits >> 64) as u64, bits as u64, last]
}

fn decode_address(words: [u64; 3]) -> Option<SocketAddr> {
    let ip = Ipv6Addr::from_bits(u128::from(words[0]) << 64 | u128::from(words[1]));
    let port = words[2] as u16;
    match (words[2] >> 16) as u16 {
        4 => {
            let ip: Ipv4Addr = ip.to_ipv4_mapped()?;
            Some(SocketAddr::new(IpAddr::V4(ip), port))
        }
        6 => Some(SocketAddrV6::new(ip, port, 0, (words[2] >> 32) as u32).into()),
        _ => None,
    }
}

pub(super) fn encode_counters(counters: &TunnelCounters) -> [u64; COUNTER_WORDS] {
    let mut words = [0; COUNTER_WORDS];
    let (up, down) = words.split_at_mut(DIRECTION_WORDS);
    for (side, counters) in [(up, &counters.up), (down, &counters.down)] {
        let amounts =
            [&counters.received, &counters.forwarded].into_iter().chain(&counters.dropped);
        for (pair, amount) in side.as_chunks_mut::<2>().0.iter_mut().zip(amounts) {
            *pair = [amount.bytes, amount.datagrams];
        }
    }
    words
}

pub(super) fn decode_counters(words: &[u64; COUNTER_WORDS]) -> TunnelCounters {
    let direction = |side: &[u64]| {
        let amount = |i: usize| Amount { bytes: side[2 * i], datagrams: side[2 * i + 1] };
        DirectionCounters {
            received: amount(0),
            forwarded: amount(1),
            dropped: std::array::from_fn(|reason| amount(2 + reason)),
        }
    };
    let (up, down) = words.split_at(DIRECTION_WORDS);
    TunnelCounters { up: direction(up), down: direction(down) }
}
