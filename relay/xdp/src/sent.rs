//! What leaves through AF_XDP sockets. It passes no tc program, so it is counted by who puts it
//! into the transmit ring: in arrays of the kernel that are mapped and pinned, which outlive a
//! killed process like the programs' own counts.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use weir_abi::{Counter, WORKERS_MAX};

use crate::error::{Result, XdpError};
use crate::sys::mapping::Mapping;
use crate::table::{self, Entry, Table};

/// Counts what one worker sends through its AF_XDP sockets. No system call, no lock.
#[derive(Debug)]
pub struct Sender {
    table: Arc<Table>,
    totals: Arc<Mapping>,
    worker: usize,
    // A row is written by one thread: not Sync.
    one_thread: PhantomData<Cell<()>>,
}

/// The egress half of one flow that is sent by hand. Ends with the flow's entry in the table.
#[derive(Debug)]
pub struct SentMeter {
    pub(crate) entry: Entry,
}

impl Sender {
    pub(crate) fn new(table: Arc<Table>, totals: Arc<Mapping>, worker: u32) -> Result<Self> {
        if worker >= WORKERS_MAX {
            return Err(XdpError::NoSuchWorker { index: worker, max: WORKERS_MAX });
        }
        Ok(Self { table, totals, worker: worker as usize, one_thread: PhantomData })
    }

    /// Target-facing packets, when they are put into a transmit ring. `wire_bytes` are whole
    /// Ethernet frames without frame check sequence. False, and nothing counted, if the flow has
    /// been removed from the table: count before its tunnel's end is announced.
    #[must_use]
    pub fn flow(&self, meter: &SentMeter, count: Counter) -> bool {
        let counted = self.table.add_sent(meter.entry, count);
        if counted {
            table::add(&self.totals, WORKERS_MAX as usize + self.worker, count);
        }
        counted
    }

    /// Client-facing packets, likewise.
    pub fn access(&self, count: Counter) {
        table::add(&self.totals, self.worker, count);
    }
}

/// Sums over the workers: client-facing, target-facing.
pub(crate) fn totals(rows: &Mapping) -> (Counter, Counter) {
    let sum = |first: u32| {
        (first..first + WORKERS_MAX)
            .map(|row| table::get(rows, row as usize * size_of::<Counter>()))
            .fold(Counter::default(), Counter::plus)
    };
    (sum(0), sum(WORKERS_MAX))
}
