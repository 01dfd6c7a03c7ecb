//! A ledger in a table, which checks every write.

use weir_core::ledger::TunnelCounters;
use weir_core::port::{Ledger, LedgerEntry, SlotId};

#[derive(Clone, Debug)]
pub struct Row {
    pub entry: LedgerEntry,
    pub counters: TunnelCounters,
    pub closed: bool,
}

#[derive(Debug, Default)]
pub struct SimLedger {
    pub rows: Vec<Row>,
    /// Slots that may be open at once; `None` is no limit.
    pub capacity: Option<usize>,
}

impl SimLedger {
    pub fn open_rows(&self) -> usize {
        self.rows.iter().filter(|row| !row.closed).count()
    }

    fn write(&mut self, slot: SlotId, counters: &TunnelCounters) -> &mut Row {
        let row = &mut self.rows[slot.0 as usize];
        assert!(!row.closed, "slot {slot:?} was written after it was closed");
        for (name, old, new) in
            [("up", &row.counters.up, &counters.up), ("down", &row.counters.down, &counters.down)]
        {
            assert!(new.pending().is_some(), "{name}: more left than came in: {new:?}");
            assert!(new.received.bytes >= old.received.bytes, "{name}: received went back");
            assert!(new.forwarded.bytes >= old.forwarded.bytes, "{name}: forwarded went back");
            for (old, new) in old.dropped.iter().zip(&new.dropped) {
                assert!(new.bytes >= old.bytes, "{name}: dropped went back");
            }
        }
        row.counters = *counters;
        row
    }
}

impl Ledger for SimLedger {
    fn open(&mut self, entry: &LedgerEntry) -> Option<SlotId> {
        if self.capacity.is_some_and(|capacity| self.open_rows() >= capacity) {
            return None;
        }
        assert!(
            self.rows.iter().all(|row| row.entry.tunnel != entry.tunnel),
            "tunnel {:x} opened twice",
            entry.tunnel
        );
        let counters = TunnelCounters::default();
        self.rows.push(Row { entry: *entry, counters, closed: false });
        Some(SlotId(self.rows.len() as u32 - 1))
    }

    fn publish(&mut self, slot: SlotId, counters: &TunnelCounters) {
        self.write(slot, counters);
    }

    fn close(&mut self, slot: SlotId, counters: &TunnelCounters) {
        for direction in [&counters.up, &counters.down] {
            let pending = direction.pending().expect("checked by write");
            assert_eq!((pending.bytes, pending.datagrams), (0, 0), "pending at close");
        }
        self.write(slot, counters).closed = true;
    }
}
