//! Reads the ledgers and says what has to be reported: the joint of ledger A, written by the
//! workers, and ledger B, counted by the kernel.
//!
//! A slot is freed only after the last values of its tunnel are safe: in the sidecar's journal
//! where settlement is configured, in the totals otherwise. A process that dies leaves its ledger
//! files behind; the next one reads them here and reports their tunnels as closed.

pub(crate) mod recover;
#[cfg(test)]
mod tests;
mod totals;

use std::collections::{HashMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use weir_core::ledger::{DirectionCounters, TunnelCounters};
use weir_core::port::{FlowTuple, LedgerEntry, SlotId, Transport};
use weir_io::{LedgerReader, SlotSnapshot, SlotState};
use weir_usage::{
    Amount, ChannelId, Digest, Direction, ExitFlow, ExitId, Transport as UsageTransport,
    UsageRecord,
};

use super::grants::Lane;
use recover::Recovered;
pub(crate) use totals::{KindTotals, Totals};

/// What ledger B says of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlowReading {
    /// Nobody counts this flow.
    Uncounted,
    /// So far.
    SoFar(ExitFlow),
    /// The last values; the kernel's entry is gone.
    Last(ExitFlow),
}

/// Ledger B, where the kernel counts.
pub(crate) trait FlowBook: Send + std::fmt::Debug {
    /// Comes before a round of reads.
    fn begin(&mut self);
    /// Reads a flow; `closed` holds the tunnel's last counters once it is closed, after which the
    /// answer becomes [`FlowReading::Last`] within seconds.
    fn read(&mut self, flow: &FlowTuple, closed: Option<&TunnelCounters>) -> FlowReading;
    /// What was counted of a flow that a dead process had open. Each is told once, and to none but
    /// its heirs: a living tunnel with the same addresses starts from zero.
    fn inherited(&mut self, flow: &FlowTuple) -> Option<ExitFlow>;
}

/// Everything that is known about tunnels that aren't fully reported yet, and the totals.
#[derive(Debug)]
pub(crate) struct Export {
    ledgers: Vec<LedgerReader>,
    recovered: Vec<Recovered>,
    flows: Option<Box<dyn FlowBook>>,
    /// Whether a sidecar has to acknowledge a tunnel's last values before they are let go.
    settled: bool,
    tunnels: HashMap<u128, Tracked>,
    in_flight: VecDeque<InFlight>,
    acked: HashMap<Lane, u64>,
    /// Tunnels of this process that are closed and let go.
    gone: Totals,
    /// Tunnels of processes before this one.
    inherited: Totals,
}

#[derive(Debug)]
struct Tracked {
    place: Place,
    entry: LedgerEntry,
    counters: TunnelCounters,
    flow: FlowReading,
    closed: bool,
    opened_ms: u64,
    sent: Option<Sent>,
    acked_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Slot { ledger: usize, slot: SlotId },
    Recovered { file: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    seq: u64,
    counters: TunnelCounters,
    last: bool,
}

#[derive(Debug)]
struct InFlight {
    seq: u64,
    tunnel: u128,
    bytes: u64,
    last: bool,
}

impl Export {
    /// `ledgers` are the live files of this process, `recovered` those of dead ones.
    pub(crate) fn new(
        ledgers: Vec<LedgerReader>,
        recovered: Vec<Recovered>,
        flows: Option<Box<dyn FlowBook>>,
        settled: bool,
    ) -> Self {
        let mut export = Self {
            ledgers,
            recovered: Vec::new(),
            flows,
            settled,
            tunnels: HashMap::new(),
            in_flight: VecDeque::new(),
            acked: HashMap::new(),
            gone: Totals::default(),
            inherited: Totals::default(),
        };
        for file in recovered {
            export.inherit(file);
        }
        export
    }

    /// Reads all ledgers. Never disturbs a worker.
    pub(crate) fn collect(&mut self) {
        let now_ms = now_ms();
        for (index, ledger) in self.ledgers.iter().enumerate() {
            for slot in ledger.iter() {
                match slot {
                    Ok(slot) => {
                        let place = Place::Slot { ledger: index, slot: slot.slot };
                        observe(&mut self.tunnels, &slot, place, now_ms);
                    }
                    Err(error) => tracing::error!("{error}"),
                }
            }
        }
        if let Some(flows) = &mut self.flows {
            flows.begin();
            for tunnel in self.tunnels.values_mut() {
                let counted = matches!(tunnel.place, Place::Slot { .. });
                if counted && !matches!(tunnel.flow, FlowReading::Last(_)) {
                    let closed = tunnel.closed.then_some(&tunnel.counters);
                    tunnel.flow = flows.read(&tunnel.entry.flow, closed);
                }
            }
        }
        if !self.settled {
            let done: Vec<u128> =
                self.tunnels.iter().filter(|(_, t)| t.is_final()).map(|(id, _)| *id).collect();
            for tunnel in done {
                self.let_go(tunnel);
            }
        }
    }

    /// Up to `count` records of tunnels that changed since they were sent, those that waited
    /// longest first. Their place in the chain isn't filled in.
    pub(crate) fn pending(&self, count: usize) -> Vec<UsageRecord> {
        let now_ms = now_ms();
        let mut changed: Vec<&Tracked> = self.tunnels.values().filter(|t| t.changed()).collect();
        changed.sort_by_key(|tunnel| tunnel.sent.map(|sent| sent.seq));
        changed.truncate(count);
        changed.into_iter().map(|tunnel| tunnel.record(now_ms)).collect()
    }

    /// The record of a tunnel went out as number `seq`.
    pub(crate) fn sent(&mut self, tunnel: u128, seq: u64) {
        let Some(tracked) = self.tunnels.get_mut(&tunnel) else { return };
        let last = tracked.is_final();
        tracked.sent = Some(Sent { seq, counters: tracked.counters, last });
        let bytes = billable(&tracked.counters);
        self.in_flight.push_back(InFlight { seq, tunnel, bytes, last });
    }

    /// The journal holds all records before `next_seq`.
    pub(crate) fn acked(&mut self, next_seq: u64) {
        while let Some(first) = self.in_flight.front() {
            if first.seq >= next_seq {
                break;
            }
            let Some(done) = self.in_flight.pop_front() else { break };
            let Some(tracked) = self.tunnels.get_mut(&done.tunnel) else { continue };
            let more = done.bytes.saturating_sub(tracked.acked_bytes);
            tracked.acked_bytes += more;
            // What earlier processes used isn't part of this one's account: see `credit`.
            if let Place::Slot { .. } = tracked.place {
                *self.acked.entry((tracked.entry.channel, tracked.entry.lane)).or_default() += more;
            }
            if done.last {
                self.let_go(done.tunnel);
            }
        }
    }

    /// A new connection to the sidecar, whose journal ends before `next_seq`: what was under way
    /// beyond that is lost and will be said again.
    pub(crate) fn resume(&mut self, next_seq: u64) {
        self.acked(next_seq);
        for lost in self.in_flight.drain(..) {
            if let Some(tracked) = self.tunnels.get_mut(&lost.tunnel) {
                tracked.sent = None;
            }
        }
    }

    /// Bytes per lane that this process used and the journal holds.
    pub(crate) fn acked_bytes(&self) -> HashMap<Lane, u64> {
        self.acked.clone()
    }

    /// Bytes per lane of tunnels that dead processes left, whose last values the journal is not
    /// known to hold.
    pub(crate) fn inherited_unacked(&self) -> HashMap<Lane, u64> {
        let mut unacked = HashMap::new();
        for tunnel in self.tunnels.values() {
            if let Place::Recovered { .. } = tunnel.place {
                *unacked.entry((tunnel.entry.channel, tunnel.entry.lane)).or_default() +=
                    billable(&tunnel.counters);
            }
        }
        unacked
    }

    /// Everything since this process started, open and closed tunnels together.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = self.gone.clone();
        for tunnel in self.tunnels.values() {
            if let Place::Slot { .. } = tunnel.place {
                totals.add(&tunnel.entry.flow, &tunnel.counters, tunnel.exit_flow());
                totals.kind_mut(tunnel.entry.flow.transport).open += u64::from(!tunnel.closed);
            }
        }
        totals
    }

    /// What was found in the ledgers of crashed processes.
    pub(crate) fn inherited(&self) -> &Totals {
        &self.inherited
    }

    /// Tunnels whose end isn't safe yet.
    pub(crate) fn unfinished(&self) -> usize {
        self.tunnels.len()
    }

    /// Tunnels whose last change the sidecar has not acknowledged, and records under way.
    pub(crate) fn lag(&self) -> (usize, usize) {
        if !self.settled {
            return (0, 0);
        }
        (self.tunnels.values().filter(|tunnel| tunnel.changed()).count(), self.in_flight.len())
    }

    fn inherit(&mut self, file: Recovered) {
        let index = self.recovered.len();
        for slot in &file.slots {
            let place = Place::Recovered { file: index };
            observe(&mut self.tunnels, slot, place, file.made_ms);
            let Some(tracked) = self.tunnels.get_mut(&slot.entry.tunnel) else { continue };
            tracked.closed = true;
            // A tunnel that was closed has no entry any more: the one with its addresses is a
            // later tunnel's. Without B a tunnel is reported as uncounted, which is no discrepancy;
            // so it is after a second crash before the report.
            if slot.state == SlotState::Open
                && let Some(b) = self.flows.as_mut().and_then(|b| b.inherited(&slot.entry.flow))
            {
                tracked.flow = FlowReading::Last(b);
            }
            self.inherited.add(&slot.entry.flow, &slot.counters, tracked.exit_flow());
            if !self.settled {
                self.tunnels.remove(&slot.entry.tunnel);
            }
        }
        let done = file.slots.is_empty() || !self.settled;
        self.recovered.push(file);
        if done {
            self.recovered[index].remove();
        }
    }

    fn let_go(&mut self, tunnel: u128) {
        let Some(tracked) = self.tunnels.remove(&tunnel) else { return };
        match tracked.place {
            Place::Slot { ledger, slot } => {
                self.gone.add(&tracked.entry.flow, &tracked.counters, tracked.exit_flow());
                if !self.ledgers[ledger].free(slot, tunnel) {
                    tracing::error!("ledger slot {} could not be freed", slot.0);
                }
            }
            Place::Recovered { file } => {
                let left = self.tunnels.values().any(
                    |other| matches!(other.place, Place::Recovered { file: of } if of == file),
                );
                if !left {
                    self.recovered[file].remove();
                }
            }
        }
    }
}

fn observe(
    tunnels: &mut HashMap<u128, Tracked>,
    slot: &SlotSnapshot,
    place: Place,
    opened_ms: u64,
) {
    let tracked = tunnels.entry(slot.entry.tunnel).or_insert_with(|| Tracked {
        place,
        entry: slot.entry,
        counters: slot.counters,
        flow: FlowReading::Uncounted,
        closed: false,
        opened_ms,
        sent: None,
        acked_bytes: 0,
    });
    tracked.counters = slot.counters;
    tracked.closed = slot.state == SlotState::Closed;
}

impl Tracked {
    /// Closed, and ledger B has said its last word too.
    fn is_final(&self) -> bool {
        self.closed && !matches!(self.flow, FlowReading::SoFar(_))
    }

    fn changed(&self) -> bool {
        self.sent.is_none_or(|sent| sent.counters != self.counters || sent.last != self.is_final())
    }

    fn exit_flow(&self) -> Option<ExitFlow> {
        match self.flow {
            FlowReading::Uncounted => None,
            FlowReading::SoFar(flow) | FlowReading::Last(flow) => Some(flow),
        }
    }

    fn record(&self, now_ms: u64) -> UsageRecord {
        UsageRecord {
            exit: ExitId::ZERO,
            epoch: 0,
            seq: 0,
            prev_hash: Digest::ZERO,
            tunnel: self.entry.tunnel,
            session: self.entry.session,
            channel: ChannelId(self.entry.channel),
            lane: self.entry.lane,
            transport: match self.entry.flow.transport {
                Transport::Tcp => UsageTransport::Tcp,
                Transport::Udp => UsageTransport::Udp,
            },
            is_final: self.is_final(),
            t0_ms: self.opened_ms,
            t1_ms: now_ms.max(self.opened_ms),
            up: direction(&self.counters.up),
            down: direction(&self.counters.down),
            flow: self.exit_flow(),
        }
    }
}

fn direction(counters: &DirectionCounters) -> Direction {
    let amount =
        |from: &weir_core::ledger::Amount| Amount { bytes: from.bytes, packets: from.datagrams };
    Direction {
        received: amount(&counters.received),
        forwarded: amount(&counters.forwarded),
        dropped: counters.dropped.each_ref().map(amount),
    }
}

fn billable(counters: &TunnelCounters) -> u64 {
    counters.up.forwarded.bytes + counters.down.forwarded.bytes
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
