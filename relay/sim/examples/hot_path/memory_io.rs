//! The least that the engine can be given for I/O and a ledger.

use std::time::Instant;

use weir_core::ledger::TunnelCounters;
use weir_core::port::{
    EgressOp, Handler, Io, Ledger, LedgerEntry, MAX_TRAIN_BYTES, SlotId, Transmit,
};

/// Keeps what the engine sends until somebody takes it.
#[derive(Default)]
pub(crate) struct MemoryIo {
    pub(crate) sent: Vec<(Transmit, Vec<u8>)>,
    pub(crate) ops: Vec<(EgressOp, Vec<u8>)>,
    pool: Vec<Vec<u8>>,
}

impl MemoryIo {
    pub(crate) fn recycle(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.pool.push(buffer);
    }
}

impl Io for MemoryIo {
    fn take_buffer(&mut self) -> Option<Vec<u8>> {
        Some(self.pool.pop().unwrap_or_else(|| Vec::with_capacity(MAX_TRAIN_BYTES)))
    }

    fn give_back(&mut self, buffer: Vec<u8>) {
        self.pool.push(buffer);
    }

    fn transmit(&mut self, transmit: &Transmit, buffer: Vec<u8>) {
        self.sent.push((*transmit, buffer));
    }

    fn egress(&mut self, op: EgressOp, buffer: Vec<u8>) {
        self.ops.push((op, buffer));
    }

    fn turn<H: Handler>(&mut self, _: Option<Instant>, _: &mut H) -> std::io::Result<Instant> {
        unreachable!("the rig is the loop")
    }
}

/// As much work per entry as the ledger that is mapped into memory.
#[derive(Default)]
pub(crate) struct TableLedger(Vec<TunnelCounters>);

impl Ledger for TableLedger {
    fn open(&mut self, _: &LedgerEntry) -> Option<SlotId> {
        self.0.push(TunnelCounters::default());
        Some(SlotId(self.0.len() as u32 - 1))
    }

    fn publish(&mut self, slot: SlotId, counters: &TunnelCounters) {
        self.0[slot.0 as usize] = *counters;
    }

    fn close(&mut self, slot: SlotId, counters: &TunnelCounters) {
        self.0[slot.0 as usize] = *counters;
    }
}
