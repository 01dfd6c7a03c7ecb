//! Packet in, verdict out: the one parser of Weir's packet path.
//!
//! The same code runs in the kernel (`ebpf/program` gives it XDP and tc contexts) and on the host
//! (tests, property tests, fuzzing give it byte slices). It reads through [`Frame`], never through
//! a pointer, and knows no BPF map, no clock and no helper.
//!
//! It never guesses. A header that is odd, cut or contradicts its neighbour ends the parse with
//! [`Verdict::Pass`] and the reason; only two kinds of packet to our own port are dropped.
#![no_std]
#![forbid(unsafe_code)]

mod ip;
mod link;
mod quic;
mod redirect;
mod steer;
mod transport;

pub use redirect::{Payload, fits_xsk, is_owner, xsk_row};
pub use steer::steer;
use weir_abi::{ABI_VERSION, Config, Direction, FlowKey, PassReason, Verdict};

use link::Network;

/// Bounded reads of an Ethernet frame.
pub trait Frame {
    /// Bytes of the frame; of an offloaded train, all of it.
    fn frame_len(&self) -> u32;

    /// `N` bytes at `offset`, or `None` if the frame ends before. Offsets stay below
    /// [`OFFSET_MAX`].
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;
}

/// No header that is read starts beyond this: Ethernet with two tags, the longest IPv4 header or
/// an IPv6 header with four extension headers of at most 2048 bytes, and a UDP header.
pub const OFFSET_MAX: u32 = 22 + 40 + 4 * 2048 + 8;

/// What is known of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classified {
    /// The decision.
    pub verdict: Verdict,
    /// The exit flow it belongs to, if the verdict is `Pass(Flow)`, which becomes
    /// `Pass(Unattributed)` if the table has no such flow: see [`Classified::looked_up`].
    pub flow: Option<FlowKey>,
    /// UDP or TCP payload bytes of `flow` or of a packet that is `Ours`, otherwise 0. On ingress
    /// taken from the IP and UDP lengths, so padding doesn't count; on egress from the frame's
    /// length, which alone is right for offloaded trains.
    pub payload_len: u32,
    /// Where the payload of a plain UDP datagram starts in the frame: no VLAN tag, no IP options,
    /// no extension header. 0 for anything else. Only such frames go to an AF_XDP socket.
    pub plain_payload: u32,
}

/// Classifies one Ethernet frame.
#[inline(always)]
pub fn classify(frame: &(impl Frame + Copy), config: &Config, direction: Direction) -> Classified {
    if config.abi_version != ABI_VERSION {
        return Classified::pass(PassReason::NotConfigured);
    }
    match classify_configured(frame, config, direction) {
        Ok(classified) => classified,
        Err(reason) => Classified::pass(reason),
    }
}

/// The usual headers lie at constant offsets, which saves the packet path half of its time; all
/// others go through the same functions at offsets that are found out.
#[inline(always)]
fn classify_configured(
    frame: &(impl Frame + Copy),
    config: &Config,
    direction: Direction,
) -> Result<Classified, PassReason> {
    const V4_TRANSPORT: u32 = link::HEADER_LEN + ip::IPV4_HEADER_LEN;
    const V6_TRANSPORT: u32 = link::HEADER_LEN + ip::IPV6_HEADER_LEN;
    match link::untagged(frame)? {
        Some(network @ Network::V4(_)) => {
            let packet = ip::packet(frame, network)?;
            if packet.transport == V4_TRANSPORT {
                return transport::classify(frame, &packet.at(V4_TRANSPORT), config, direction);
            }
        }
        Some(network @ Network::V6(offset)) if !ip::has_extensions(frame, offset)? => {
            let packet = ip::packet(frame, network)?;
            return transport::classify(frame, &packet.at(V6_TRANSPORT), config, direction);
        }
        _ => {}
    }
    let mut classified = Classified::pass(PassReason::Flow);
    // A copy, so that the frame itself needs no address and stays in registers.
    let odd = *frame;
    classify_odd(&odd, config, direction, &mut classified)?;
    Ok(classified)
}

/// Inlined, although its paths are many: a function of its own would carry the compiler's hash of
/// this crate in its name, which depends on the folder of the checkout, and the object wouldn't be
/// reproducible.
#[inline(always)]
fn classify_odd(
    frame: &impl Frame,
    config: &Config,
    direction: Direction,
    classified: &mut Classified,
) -> Result<(), PassReason> {
    let network = link::network(frame)?;
    let packet = ip::packet(frame, network)?;
    let found = transport::classify(frame, &packet, config, direction)?;
    *classified = Classified { plain_payload: 0, ..found };
    Ok(())
}

impl Classified {
    const fn pass(reason: PassReason) -> Self {
        Self { verdict: Verdict::Pass(reason), flow: None, payload_len: 0, plain_payload: 0 }
    }

    /// The verdict that is counted for a packet with a flow key, once it was looked up.
    #[inline(always)]
    #[must_use]
    pub const fn looked_up(&self, found: bool) -> Verdict {
        match self.verdict {
            Verdict::Pass(PassReason::Flow) if !found => Verdict::Pass(PassReason::Unattributed),
            verdict => verdict,
        }
    }
}

/// A frame in memory.
impl Frame for &[u8] {
    fn frame_len(&self) -> u32 {
        <[u8]>::len(self) as u32
    }

    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.get(offset as usize..)?.first_chunk().copied()
    }
}

/// Reads that a parser can't do without.
#[inline(always)]
fn need<const N: usize>(frame: &impl Frame, offset: u32) -> Result<[u8; N], PassReason> {
    match frame.read(offset) {
        Some(bytes) => Ok(bytes),
        None => Err(PassReason::Truncated),
    }
}
