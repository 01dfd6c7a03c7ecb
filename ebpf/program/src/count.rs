//! Writing down what was seen. All values are per CPU, so plain additions are enough: XDP and tc
//! run with migration disabled, and no two of our programs interrupt each other on one counter
//! (ingress and egress have rows and fields of their own).

use weir_abi::{Counter, Direction, Steering};
use weir_classify::Classified;

use crate::maps;

/// Counts a packet in its verdict row, and in its exit flow or as unattributed.
#[inline(always)]
pub fn packet(direction: Direction, classified: &Classified, seen: Counter) {
    if let Some(row) = maps::VERDICTS.get_ptr_mut(classified.verdict.row(direction)) {
        add(row, seen);
    }
    let Some(key) = &classified.flow else { return };
    if let Some(flow) = maps::FLOWS.get_ptr_mut(key) {
        // SAFETY: the pointer is this CPU's value, valid until the program returns. Not a
        // reference, because user space reads the same bytes at any time.
        let side = unsafe {
            match direction {
                Direction::Ingress => &raw mut (*flow).ingress,
                Direction::Egress => &raw mut (*flow).egress,
            }
        };
        add(side, seen);
    } else if let Some(row) = maps::UNATTRIBUTED.get_ptr_mut(direction as u32) {
        add(row, seen);
    }
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
