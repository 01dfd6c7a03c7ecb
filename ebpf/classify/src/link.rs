//! Ethernet and VLAN tags (IEEE 802.3, 802.1Q, 802.1ad).

use weir_abi::{PassReason, VLAN_TAGS_MAX};

use crate::{Frame, need};

/// Of a frame without tags.
pub(crate) const HEADER_LEN: u32 = 14;

const ETHERTYPE_OFFSET: u32 = 12;
const TAG_LEN: u32 = 4;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86DD;
const CUSTOMER_TAG: u16 = 0x8100;
const SERVICE_TAG: u16 = 0x88A8;

/// Where the IP header starts, and which it is said to be.
#[derive(Clone, Copy)]
pub(crate) enum Network {
    V4(u32),
    V6(u32),
}

/// The network of a frame without tags; `None` if it has one.
#[inline(always)]
pub(crate) fn untagged(frame: &impl Frame) -> Result<Option<Network>, PassReason> {
    match u16::from_be_bytes(need(frame, ETHERTYPE_OFFSET)?) {
        IPV4 => Ok(Some(Network::V4(HEADER_LEN))),
        IPV6 => Ok(Some(Network::V6(HEADER_LEN))),
        tag if is_tag(tag) => Ok(None),
        _ => Err(PassReason::NotIp),
    }
}

/// The network behind the tags that there are.
#[inline(always)]
pub(crate) fn network(frame: &impl Frame) -> Result<Network, PassReason> {
    let mut offset = ETHERTYPE_OFFSET;
    let mut ethertype = u16::from_be_bytes(need(frame, offset)?);
    // The tag a NIC has taken out of the frame is not seen here, which is what we want.
    for _ in 0..VLAN_TAGS_MAX {
        if !is_tag(ethertype) {
            break;
        }
        offset += TAG_LEN;
        ethertype = u16::from_be_bytes(need(frame, offset)?);
    }
    match ethertype {
        IPV4 => Ok(Network::V4(offset + 2)),
        IPV6 => Ok(Network::V6(offset + 2)),
        tag if is_tag(tag) => Err(PassReason::VlanDepth),
        _ => Err(PassReason::NotIp),
    }
}

const fn is_tag(ethertype: u16) -> bool {
    ethertype == CUSTOMER_TAG || ethertype == SERVICE_TAG
}
