//! IPv4 (RFC 791) and IPv6 (RFC 8200) down to the transport header.

use weir_abi::{Direction, IPV6_EXTENSIONS_MAX, PassReason};

use crate::{Frame, link::Network, need};

const IPV4_HEADER_LEN: u32 = 20;
const IPV6_HEADER_LEN: u32 = 40;
/// More-fragments flag and fragment offset; the reserved bit and DF are not looked at.
const IPV4_FRAGMENT: u16 = 0x3FFF;

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
    /// IPv4 as `::ffff:a.b.c.d`.
    pub(crate) source: [u8; 16],
    pub(crate) destination: [u8; 16],
    pub(crate) is_v6: bool,
    pub(crate) protocol: u8,
    /// Offset of the transport header in the frame.
    pub(crate) transport: u32,
    /// Offset at which the IP packet says it ends; the frame may go on with padding. Zero if the
    /// length field is zero, as in trains beyond 64 KiB ("BIG TCP") and jumbograms.
    end: u32,
}

impl Packet {
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
    let header: [u8; IPV4_HEADER_LEN as usize] = need(frame, offset)?;
    let header_len = u32::from(header[0] & 0x0F) * 4;
    let total_len = u32::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 || header_len < IPV4_HEADER_LEN {
        return Err(PassReason::BadIpHeader);
    }
    if total_len != 0 && total_len < header_len {
        return Err(PassReason::BadIpHeader);
    }
    if u16::from_be_bytes([header[6], header[7]]) & IPV4_FRAGMENT != 0 {
        return Err(PassReason::Fragment);
    }
    Ok(Packet {
        source: mapped([header[12], header[13], header[14], header[15]]),
        destination: mapped([header[16], header[17], header[18], header[19]]),
        is_v6: false,
        protocol: header[9],
        transport: offset + header_len,
        end: if total_len == 0 { 0 } else { offset + total_len },
    })
}

#[inline(always)]
fn ipv6(frame: &impl Frame, offset: u32) -> Result<Packet, PassReason> {
    let [version, _, _, _, len_high, len_low, next, _] = need(frame, offset)?;
    if version >> 4 != 6 {
        return Err(PassReason::BadIpHeader);
    }
    let payload_len = u32::from(u16::from_be_bytes([len_high, len_low]));
    let source = need(frame, offset + 8)?;
    let destination = need(frame, offset + 24)?;
    let (protocol, transport) = skip_extensions(frame, next, offset + IPV6_HEADER_LEN)?;
    let end = if payload_len == 0 { 0 } else { offset + IPV6_HEADER_LEN + payload_len };
    Ok(Packet { source, destination, is_v6: true, protocol, transport, end })
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
        HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | AUTHENTICATION | MOBILITY => {
            Err(PassReason::Extensions)
        }
        protocol => Ok((protocol, offset)),
    }
}

#[inline(always)]
const fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, a, b, c, d]
}
