//! The version-independent part of QUIC (RFC 8999), and enough of versions 1 and 2 (RFC 9000,
//! section 17.2; RFC 9369, section 3.2) to tell an Initial.

use weir_abi::{DropReason, OursKind, QUIC_INITIAL_MIN_LEN, Verdict};

use crate::Frame;

const LONG_HEADER: u8 = 0x80;
const VERSION_NEGOTIATION: u32 = 0;
const VERSION_1: u32 = 1;
const VERSION_2: u32 = 0x6b33_43cf;
/// First byte, version, and the two connection ID length bytes at least.
const LONG_HEADER_LEN_MIN: u32 = 7;

/// The verdict on a UDP payload to our port, by its first QUIC packet.
#[inline(always)]
pub(crate) fn verdict(frame: &impl Frame, offset: u32, payload_len: u32) -> Verdict {
    let kind = kind(frame, offset, payload_len);
    if kind as u64 == OursKind::Initial as u64 && payload_len < QUIC_INITIAL_MIN_LEN {
        return Verdict::Drop(DropReason::InitialTooShort);
    }
    Verdict::Ours(kind)
}

#[inline(always)]
fn kind(frame: &impl Frame, offset: u32, payload_len: u32) -> OursKind {
    if payload_len == 0 {
        return OursKind::NotQuic;
    }
    let Some([first]) = frame.read(offset) else { return OursKind::NotQuic };
    if first & LONG_HEADER == 0 {
        return OursKind::Short;
    }
    if payload_len < LONG_HEADER_LEN_MIN {
        return OursKind::NotQuic;
    }
    let Some(version) = frame.read(offset + 1) else { return OursKind::NotQuic };
    let long_type = first >> 4 & 0x03;
    match u32::from_be_bytes(version) {
        VERSION_NEGOTIATION => OursKind::VersionNegotiation,
        VERSION_1 => long_kind(long_type),
        // Version 2 numbers the types one further.
        VERSION_2 => long_kind(long_type.wrapping_sub(1) & 0x03),
        _ => OursKind::UnknownVersion,
    }
}

#[inline(always)]
const fn long_kind(long_type: u8) -> OursKind {
    match long_type {
        0 => OursKind::Initial,
        1 => OursKind::ZeroRtt,
        2 => OursKind::Handshake,
        _ => OursKind::Retry,
    }
}
