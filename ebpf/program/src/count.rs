//! Writing down what was seen. All values are per CPU, so plain additions are enough: XDP and tc
//! run with migration disabled, and no two of our programs interrupt each other on one counter
//! (ingress and egress have rows and fields of their own).

use weir_abi::{
    Config, Counter, Direction, FlowKey, Steering,
    table::{Looked, Place, PortUse, SLOT_REDIRECT},
};
use weir_classify::Classified;

use crate::maps;

/// A packet's exit flow in the table.
#[derive(Clone, Copy)]
pub struct Found {
    slot: u32,
    flags: u32,
}

impl Found {
    /// Do the flow's packets go to an AF_XDP socket?
    #[inline(always)]
    pub fn is_redirected(self) -> bool {
        self.flags & SLOT_REDIRECT != 0
    }
}

/// Counts a packet in its verdict row, and in its exit flow if that is in the table.
#[inline(always)]
pub fn packet(
    direction: Direction,
    config: &Config,
    classified: &Classified,
    seen: Counter,
) -> Option<Found> {
    let found = classified.flow.as_ref().and_then(|key| find(key, config));
    let verdict = classified.looked_up(found.is_some());
    if let Some(row) = maps::VERDICTS.get_ptr_mut(verdict.row(direction)) {
        add(row, seen);
    }
    let found = found?;
    if let Some(flow) = maps::FLOWS.get_ptr_mut(found.slot) {
        // SAFETY: the pointer is this CPU's value, valid until the program returns. Not a
        // reference, because user space reads the same bytes at any time.
        let side = unsafe {
            match direction {
                Direction::Ingress => &raw mut (*flow).ingress,
                Direction::Egress => &raw mut (*flow).egress,
            }
        };
        add(side, seen);
    }
    Some(found)
}

/// Looks the flow up as `weir_abi::table` says.
#[inline(always)]
fn find(key: &FlowKey, config: &Config) -> Option<Found> {
    let (port, protocol) = PortUse::index(key);
    if maps::PORTS.get(port)?.flows[protocol] == 0 {
        return None;
    }
    let place = Place::of(key, &config.hash_key, config.bucket_mask);
    let slot = match maps::BUCKETS.get(place.first)?.look(place.tag) {
        Looked::Slot(slot) => slot,
        Looked::Nowhere => return None,
        Looked::Elsewhere => match maps::BUCKETS.get(place.second)?.look(place.tag) {
            Looked::Slot(slot) => slot,
            Looked::Nowhere | Looked::Elsewhere => return None,
        },
    };
    let entry = maps::SLOTS.get(slot)?;
    if entry.is_of(key) { Some(Found { slot, flags: entry.flags }) } else { None }
}

/// Counts a choice of socket.
#[inline(always)]
pub fn steered(steering: Steering) {
    if let Some(row) = maps::STEERED.get_ptr_mut(steering as u32) {
        // SAFETY: as in `add`.
        unsafe { *row += 1 };
    }
}

#[inline(always)]
fn add(counter: *mut Counter, seen: Counter) {
    // SAFETY: the caller got the pointer from a per-CPU map lookup that succeeded, so it is valid
    // and aligned until the program returns, and no other CPU writes there. Safe code has no way
    // to write through a map pointer.
    unsafe {
        (*counter).packets += seen.packets;
        (*counter).payload_bytes += seen.payload_bytes;
        (*counter).wire_bytes += seen.wire_bytes;
    }
}
