//! Ledger B: exit flows enter the kernel's table before their first packet and leave it when the
//! kernel has nothing more to send for them.
//!
//! A closed UDP socket sends nothing more, so its last values are read at once by the worker. A
//! closed TCP socket may: the kernel goes on with what it has taken. Its entry stays until the
//! kernel has counted as much as ledger A says, or patience ends.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use weir_abi::Protocol;
use weir_core::ledger::TunnelCounters;
use weir_core::port::{EgressId, FlowHook, FlowTuple, Transport};
use weir_usage::{ExitFlow, FlowAmount};
use weir_xdp::{Flow, FlowCounters, FlowTable, XdpError};

use crate::control::export::{FlowBook, FlowReading};

/// Flows that closed since the last round: five rounds a second, so 80,000 closings a second.
const CLOSED_MAX: usize = 16_384;

/// A TCP flow rests this long after it closed, so that the last acknowledgements are counted.
const REST: Duration = Duration::from_millis(200);

/// A flow that never adds up (a reset, a target that is gone) is let go after so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// A full table is complained of so often at most: clients open flows as fast as they like, and a
/// worker waits for its log.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// What workers tell the exporter.
#[derive(Debug)]
pub(super) struct ClosedFlows {
    queue: ArrayQueue<Closed>,
    lost: AtomicU64,
}

#[derive(Debug)]
struct Closed {
    flow: FlowTuple,
    /// `None`: still in the kernel's table.
    last: Option<FlowCounters>,
}

impl Default for ClosedFlows {
    fn default() -> Self {
        Self { queue: ArrayQueue::new(CLOSED_MAX), lost: AtomicU64::new(0) }
    }
}

/// The hook of one worker.
pub(super) fn hook(table: FlowTable, closed: Arc<ClosedFlows>) -> Box<dyn FlowHook + Send> {
    Box::new(Hook { table, closed, uncounted: Complaints::default() })
}

#[derive(Debug)]
struct Hook {
    table: FlowTable,
    closed: Arc<ClosedFlows>,
    uncounted: Complaints,
}

/// What there is to complain of, and when that was done last.
#[derive(Debug, Default)]
struct Complaints {
    unsaid: u64,
    last: Option<Instant>,
}

impl Complaints {
    /// Adds one. Returns how many to complain of now, if it is time to.
    fn add(&mut self, now: Instant) -> Option<u64> {
        self.unsaid += 1;
        if self.last.is_some_and(|last| now < last + COMPLAIN_EVERY) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

impl FlowHook for Hook {
    fn opened(&mut self, _: EgressId, flow: &FlowTuple) {
        match self.table.insert(&kernel_flow(flow)) {
            // A predecessor with the same addresses rests in the table; both are counted there.
            Ok(()) | Err(XdpError::FlowExists(_)) => {}
            Err(error) => {
                if let Some(flows) = self.uncounted.add(Instant::now()) {
                    tracing::error!(flows, "flows go uncounted by the kernel: {error}");
                }
            }
        }
    }

    fn closed(&mut self, _: EgressId, flow: &FlowTuple) {
        let last = match flow.transport {
            Transport::Udp => {
                self.table.remove_with_final_read(&kernel_flow(flow)).unwrap_or_default()
            }
            Transport::Tcp => None,
        };
        if self.closed.queue.push(Closed { flow: *flow, last }).is_err() {
            self.closed.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The exporter's view.
#[derive(Debug)]
pub(super) struct KernelFlows {
    table: FlowTable,
    closed: Arc<ClosedFlows>,
    /// Out of the table; kept until asked for.
    last: HashMap<FlowTuple, (ExitFlow, Instant)>,
    /// TCP flows that are closed and still in the table.
    resting: HashMap<FlowTuple, Instant>,
    /// Closed tunnels' flows that were not found in one round.
    missing: HashSet<FlowTuple>,
    /// What a dead process left behind.
    inherited: HashMap<FlowTuple, ExitFlow>,
}

impl KernelFlows {
    pub(super) fn new(
        table: FlowTable,
        closed: Arc<ClosedFlows>,
        inherited: Vec<(Flow, FlowCounters)>,
    ) -> Self {
        let inherited = inherited.iter().map(|(flow, count)| (tuple(flow), exit_flow(count)));
        Self {
            table,
            closed,
            last: HashMap::new(),
            resting: HashMap::new(),
            missing: HashSet::new(),
            inherited: inherited.collect(),
        }
    }

    fn so_far(&self, flow: &FlowTuple) -> Option<ExitFlow> {
        self.table.read(&kernel_flow(flow)).ok().flatten().map(|count| exit_flow(&count))
    }

    fn take(&mut self, flow: &FlowTuple) -> Option<ExitFlow> {
        self.resting.remove(flow);
        let last = self.table.remove_with_final_read(&kernel_flow(flow)).ok().flatten();
        last.map(|count| exit_flow(&count))
    }
}

impl FlowBook for KernelFlows {
    fn begin(&mut self) {
        let now = Instant::now();
        while let Some(closed) = self.closed.queue.pop() {
            match (closed.flow.transport, closed.last) {
                (_, Some(count)) => {
                    self.last.insert(closed.flow, (exit_flow(&count), now));
                }
                (Transport::Tcp, None) => {
                    self.resting.insert(closed.flow, now);
                }
                (Transport::Udp, None) => {}
            }
        }
        // Attempts to connect that failed belong to no tunnel: nobody asks for them.
        self.last.retain(|_, (_, since)| now < *since + 2 * PATIENCE);
        let forgotten: Vec<FlowTuple> = self
            .resting
            .iter()
            .filter(|(_, since)| now >= **since + 2 * PATIENCE)
            .map(|(flow, _)| *flow)
            .collect();
        for flow in &forgotten {
            self.take(flow);
        }
    }

    fn read(&mut self, flow: &FlowTuple, closed: Option<&TunnelCounters>) -> FlowReading {
        let Some(a) = closed else {
            return self.so_far(flow).map_or(FlowReading::Uncounted, FlowReading::SoFar);
        };
        if let Some((last, _)) = self.last.remove(flow) {
            self.missing.remove(flow);
            return FlowReading::Last(last);
        }
        let entry = match flow.transport {
            Transport::Tcp => self.so_far(flow),
            // Taken out before the tunnel closed: what is there now is a later tunnel's.
            Transport::Udp => None,
        };
        let Some(b) = entry else {
            // Its worker may be between taking it out of the table and saying so: the next round
            // knows.
            let first_time = self.missing.insert(*flow);
            if first_time {
                return FlowReading::SoFar(ExitFlow::default());
            }
            self.missing.remove(flow);
            return FlowReading::Uncounted;
        };
        // If the notice of its closing found no room, its rest begins here.
        let rest = self.resting.entry(*flow).or_insert_with(Instant::now).elapsed();
        let covered = b.up.payload_bytes >= a.up.forwarded.bytes
            && b.down.payload_bytes >= a.down.received.bytes;
        if rest >= PATIENCE || (covered && rest >= REST) {
            return FlowReading::Last(self.take(flow).unwrap_or(b));
        }
        FlowReading::SoFar(b)
    }

    fn inherited(&mut self, flow: &FlowTuple) -> Option<ExitFlow> {
        self.inherited.remove(flow)
    }
}

pub(super) fn kernel_flow(flow: &FlowTuple) -> Flow {
    let protocol = match flow.transport {
        Transport::Tcp => Protocol::Tcp,
        Transport::Udp => Protocol::Udp,
    };
    Flow { protocol, local: flow.local, remote: flow.remote }
}

fn tuple(flow: &Flow) -> FlowTuple {
    let transport = match flow.protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
    };
    FlowTuple { transport, local: flow.local, remote: flow.remote }
}

fn exit_flow(count: &FlowCounters) -> ExitFlow {
    let amount = |from: weir_xdp::Counter| FlowAmount {
        packets: from.packets,
        payload_bytes: from.payload_bytes,
        wire_bytes: from.wire_bytes,
    };
    ExitFlow { up: amount(count.egress), down: amount(count.ingress) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_flows_is_no_flood_of_log_lines() {
        let start = Instant::now();
        let mut complaints = Complaints::default();
        let said: Vec<u64> =
            (0..25_000).filter_map(|n| complaints.add(start + Duration::from_millis(n))).collect();
        assert_eq!(said, [1, 10_000, 10_000]);
    }
}
