//! IPv4 (RFC 791) and IPv6 (RFC 8200) down to the transport header.

use weir_abi::{Address, Direction, IPV6_EXTENSIONS_MAX, PassReason};

use crate::{Frame, link::Network, need};

/// Without options.
pub(crate) const IPV4_HEADER_LEN: u32 = 20;
/// Without extension headers.
pub(crate) const IPV6_HEADER_LEN: u32 = 40;
/// More-fragments flag and fragment offset; the reserved bit and DF are not looked at.
/// They are the last two of the header's first eight bytes.
const IPV4_FRAGMENT: u64 = 0x3FFF;

const HOP_BY_HOP: u8 = 0;
const ICMP: u8 = 1;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const ICMPV6: u8 = 58;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;

/// An IP packet that is whole as far as its headers say.
pub(crate) struct Packet {
    pub(crate) source: Address,
    pub(crate) destination: Address,
    pub(crate) is_v6: bool,
    pub(crate) protocol: u8,
    /// Offset of the transport header in the frame.
    pub(crate) transport: u32,
    /// Offset at which the IP packet says it ends; the frame may go on with padding. Zero if the
    /// length field is zero, as in trains beyond 64 KiB ("BIG TCP") and jumbograms.
    end: u32,
}

impl Packet {
    /// The same packet, whose transport header is known to be at `transport`.
    #[inline(always)]
    pub(crate) const fn at(&self, transport: u32) -> Self {
        Self { transport, ..*self }
    }

    /// Bytes from the transport header to the end of the packet.
    #[inline(always)]
    pub(crate) fn transport_len(
        &self,
        frame: &impl Frame,
        direction: Direction,
    ) -> Result<u32, PassReason> {
        let end = match direction {
            // A train carries the length of itself or of nothing, depending on kernel and
            // protocol; what the device is handed is the frame, and the stack doesn't pad.
            Direction::Egress => frame.frame_len(),
            Direction::Ingress if self.end > frame.frame_len() => {
                return Err(PassReason::Truncated);
            }
            Direction::Ingress => self.end,
        };
        end.checked_sub(self.transport).ok_or(PassReason::BadIpHeader)
    }
}

#[inline(always)]
pub(crate) fn packet(frame: &impl Frame, network: Network) -> Result<Packet, PassReason> {
    let packet = match network {
        Network::V4(offset) => ipv4(frame, offset)?,
        Network::V6(offset) => ipv6(frame, offset)?,
    };
    match packet.protocol {
        ICMP if !packet.is_v6 => Err(PassReason::Icmp),
        ICMPV6 if packet.is_v6 => Err(PassReason::Icmp),
        _ => Ok(packet),
    }
}

#[inline(always)]
fn ipv4(frame: &impl Frame, offset: u32) -> Result<Packet, PassReason> {
    // Whole words: an array of bytes would be loaded byte by byte.
    let start = u64::from_be_bytes(need(frame, offset)?);
    let addresses = u64::from_be_bytes(need(frame, offset + 12)?);
    let [protocol] = need(frame, offset + 9)?;
    let (version, header_len) = (start >> 60, (start >> 56 & 0x0F) as u32 * 4);
    let total_len = (start >> 32 & 0xFFFF) as u32;
    if version != 4 || header_len < IPV4_HEADER_LEN {
        return Err(PassReason::BadIpHeader);
    }
    if total_len != 0 && total_len < header_len {
        return Err(PassReason::BadIpHeader);
    }
    if start & IPV4_FRAGMENT != 0 {
        return Err(PassReason::Fragment);
    }
    Ok(Packet {
        source: Address::v4((addresses >> 32) as u32),
        destination: Address::v4(addresses as u32),
        is_v6: false,
        protocol,
        transport: offset + header_len,
        end: if total_len == 0 { 0 } else { offset + total_len },
    })
}

#[inline(always)]
fn ipv6(frame: &impl Frame, offset: u32) -> Result<Packet, PassReason> {
    let start = u64::from_be_bytes(need(frame, offset)?);
    if start >> 60 != 6 {
        return Err(PassReason::BadIpHeader);
    }
    let (payload_len, next) = ((start >> 16 & 0xFFFF) as u32, (start >> 8) as u8);
    let half = |at| need(frame, offset + at).map(u64::from_be_bytes);
    let source = Address([half(8)?, half(16)?]);
    let destination = Address([half(24)?, half(32)?]);
    let (protocol, transport) = skip_extensions(frame, next, offset + IPV6_HEADER_LEN)?;
    let end = if payload_len == 0 { 0 } else { offset + IPV6_HEADER_LEN + payload_len };
    Ok(Packet { source, destination, is_v6: true, protocol, transport, end })
}

/// Does a header stand between the IPv6 header at `offset` and the transport header?
#[inline(always)]
pub(crate) fn has_extensions(frame: &impl Frame, offset: u32) -> Result<bool, PassReason> {
    let [next] = need(frame, offset + 6)?;
    Ok(is_extension(next))
}

/// Walks the extension headers whose length field is of the common form (RFC 6564) to the first
/// header that is none of them.
#[inline(always)]
fn skip_extensions(
    frame: &impl Frame,
    mut next: u8,
    mut offset: u32,
) -> Result<(u8, u32), PassReason> {
    for _ in 0..IPV6_EXTENSIONS_MAX {
        if !matches!(next, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS) {
            break;
        }
        let [following, len]: [u8; 2] = need(frame, offset)?;
        next = following;
        offset += (u32::from(len) + 1) * 8;
    }
    match next {
        FRAGMENT => Err(PassReason::Fragment),
        next if is_extension(next) => Err(PassReason::Extensions),
        protocol => Ok((protocol, offset)),
    }
}

#[inline(always)]
const fn is_extension(next: u8) -> bool {
    matches!(
        next,
        HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS | AUTHENTICATION | MOBILITY
    )
}
