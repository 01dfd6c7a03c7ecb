//! The engine's calls of a turn, each behind a function of its own that is never inlined: what a
//! profiler is told to look at.

use std::time::Instant;

use weir_core::port::{EgressEvent, Handler, PacketMeta};
use weir_core::{Engine, turn};

use crate::memory_io::{MemoryIo, TableLedger};

/// A client-facing train.
pub(crate) type Train = (PacketMeta, Vec<u8>);

#[inline(never)]
pub(crate) fn packets(engine: &mut Engine, now: Instant, trains: &[Train]) {
    for (meta, train) in trains {
        engine.handle_packets(now, meta, train);
    }
}

#[inline(never)]
pub(crate) fn egress(engine: &mut Engine, now: Instant, events: Vec<EgressEvent<'static>>) {
    for event in events {
        engine.handle_egress(now, event);
    }
}

#[inline(never)]
pub(crate) fn flush(engine: &mut Engine, now: Instant, io: &mut MemoryIo) {
    engine.handle_timeout(now);
    turn::flush(engine, io, now);
}

#[inline(never)]
pub(crate) fn publish(engine: &mut Engine, ledger: &mut TableLedger) {
    engine.publish(ledger);
}
