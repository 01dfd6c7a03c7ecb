//! Which worker's socket a client-facing UDP datagram belongs to: the rule of `weir_abi::cid` over
//! the generations that are steered at the same time.

use weir_abi::{
    Steer, Steering,
    cid::{self, CidKey, Seen},
};

use crate::Frame;

const LONG_HEADER: u8 = 0x80;

/// The rule's answer: how it was found, and the index in the socket array (0 for
/// [`Steering::Fallback`], where it means nothing). `payload` is the UDP payload.
#[inline(always)]
pub fn steer(payload: &impl Frame, current: &Steer, draining: &Steer) -> (Steering, u32) {
    if current.workers == 0 {
        return (Steering::Fallback, 0);
    }
    let Some(seen) = seen(payload) else { return (Steering::Short, current.base) };
    if seen.may_be_ours {
        if let Some(index) = owner(current, seen.bytes) {
            return (Steering::Current, index);
        }
        if let Some(index) = owner(draining, seen.bytes) {
            return (Steering::Draining, index);
        }
    }
    (Steering::Hashed, current.base + current.key.hash(seen.bytes) % current.workers)
}

#[inline(always)]
fn owner(slot: &Steer, bytes: [u8; cid::LEN]) -> Option<u32> {
    let cid = CidKey::decode(&slot.key, bytes)?;
    let worker = u32::from(cid.worker);
    let is_owner = u32::from(cid.generation) == slot.generation & 0xFF && worker < slot.workers;
    if is_owner { Some(slot.base + worker) } else { None }
}

#[inline(always)]
fn seen(payload: &impl Frame) -> Option<Seen> {
    let [first] = payload.read(0)?;
    if first & LONG_HEADER == 0 {
        return Some(Seen { bytes: payload.read(cid::SHORT_OFFSET as u32)?, may_be_ours: true });
    }
    let [len] = payload.read(cid::LONG_LEN_OFFSET as u32)?;
    let bytes = payload.read(cid::LONG_OFFSET as u32)?;
    Some(Seen { bytes, may_be_ours: len as usize == cid::LEN })
}
