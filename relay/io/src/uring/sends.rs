//! Sends in flight: each keeps what the kernel reads, in one place, until its completion.

use weir_core::port::EgressId;

use crate::message::{Message, Train};

/// Where a send goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// Client-facing socket 0 or 1.
    Client(usize),
    Target(EgressId),
}

/// One send.
#[derive(Debug)]
pub(super) struct Send {
    pub(super) message: Message,
    pub(super) train: Train,
    pub(super) payload: Vec<u8>,
    pub(super) purpose: Purpose,
}

/// A fixed number of sends. The slots never move, so what the kernel was pointed at stays where
/// it is; a slot is taken again only after [`Sends::finish`], which its completion calls.
#[derive(Debug, Default)]
pub(super) struct Sends {
    slots: Box<[Slot]>,
    /// Last in, first out: few sends keep to few warm slots.
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    send: Send,
    busy: bool,
}

impl Sends {
    pub(super) fn new(capacity: usize) -> Sends {
        let nothing = Train { destination: None, source: None, ecn: None, segment_size: 0 };
        let slot = || Slot {
            send: Send {
                message: Message::new(),
                train: nothing,
                payload: Vec::new(),
                purpose: Purpose::Client(0),
            },
            busy: false,
        };
        Sends {
            slots: (0..capacity).map(|_| slot()).collect(),
            free: (0..capacity as u32).rev().collect(),
        }
    }

    /// Fills a free slot. Gives the payload back if there is none.
    pub(super) fn start(
        &mut self,
        purpose: Purpose,
        train: Train,
        payload: Vec<u8>,
    ) -> Result<(u32, &mut Send), Vec<u8>> {
        let Some(number) = self.free.pop() else { return Err(payload) };
        let slot = &mut self.slots[number as usize];
        slot.busy = true;
        slot.send.purpose = purpose;
        slot.send.train = train;
        slot.send.payload = payload;
        Ok((number, &mut slot.send))
    }

    /// The send in a slot whose completion has come.
    pub(super) fn get(&mut self, number: u32) -> Option<&mut Send> {
        self.slots.get_mut(number as usize).filter(|slot| slot.busy).map(|slot| &mut slot.send)
    }

    /// Frees a slot after its completion and returns the payload's buffer.
    pub(super) fn finish(&mut self, number: u32) -> Vec<u8> {
        let slot = &mut self.slots[number as usize];
        debug_assert!(slot.busy, "slot {number} finished twice");
        slot.busy = false;
        self.free.push(number);
        std::mem::take(&mut slot.send.payload)
    }
}
