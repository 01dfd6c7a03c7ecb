//! What leaves through AF_XDP sockets. It passes no tc program, so it is counted by who puts it
//! into the transmit ring: in arrays of the kernel that are mapped and pinned, which outlive a
//! killed process like the programs' own counts.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use weir_abi::{Counter, WORKERS_MAX};

use crate::error::{Result, XdpError};
use crate::flows::Flow;
use crate::sys::mapping::Mapping;
use crate::table::{self, Table};

/// Counts what one worker sends through its AF_XDP sockets. No system call, no lock.
#[derive(Debug)]
pub struct Sender {
    table: Arc<Table>,
    totals: Arc<Mapping>,
    worker: usize,
    // A row is written by one thread: not Sync.
    one_thread: PhantomData<Cell<()>>,
}

impl Sender {
    pub(crate) fn new(table: Arc<Table>, totals: Arc<Mapping>, worker: u32) -> Result<Self> {
        if worker >= WORKERS_MAX {
            return Err(XdpError::NoSuchWorker { index: worker, max: WORKERS_MAX });
        }
        Ok(Self { table, totals, worker: worker as usize, one_thread: PhantomData })
    }

    /// What was put into transmit rings for this worker's flow since it was inserted; a total,
    /// which only grows. `wire_bytes` are whole Ethernet frames without frame check sequence.
    /// False, and nothing counted, if the flow is not in the table: tell the last total before the
    /// flow's removal.
    #[must_use]
    pub fn flow_total(&self, flow: &Flow, total: Counter) -> bool {
        let Some(before) = self.table.set_sent(&flow.key(), total) else { return false };
        table::add(&self.totals, WORKERS_MAX as usize + self.worker, total.minus(before));
        true
    }

    /// What was put into transmit rings towards clients by this worker, since the start.
    pub fn access_total(&self, total: Counter) {
        table::set(&self.totals, self.worker * size_of::<Counter>(), total);
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
