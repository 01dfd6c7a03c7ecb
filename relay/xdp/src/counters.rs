//! Counts that belong to no flow: verdicts, unattributed packets, steering.

use std::sync::Arc;

use weir_abi::{
    Counter, Direction, FlowCounters, OursKind, PassReason, Steering as SteeredBy, Verdict,
};

use crate::error::{Result, XdpError};
use crate::maps::{Map, Maps};
use crate::sent;
use crate::sys::mapping::Mapping;

/// A cheap handle; clones share the maps.
#[derive(Clone, Debug)]
pub struct Counters {
    verdicts: Map<u32, Counter>,
    sent: Arc<Mapping>,
    steered: Map<u32, u64>,
}

/// Packets that got one verdict for one reason in one direction. Together the rows of a direction
/// are all packets of the interfaces: `wire_bytes` of the rows is ledger C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerdictCount {
    pub direction: Direction,
    pub verdict: Verdict,
    pub count: Counter,
}

impl Counters {
    pub(crate) fn new(maps: &Maps, sent: Arc<Mapping>) -> Self {
        Self { verdicts: maps.verdicts.clone(), sent, steered: maps.steered.clone() }
    }

    /// Every direction and verdict, in the same order each time, zeros included. What left through
    /// AF_XDP sockets is in the rows in which tc would have counted it.
    pub fn verdicts(&self) -> Result<Vec<VerdictCount>> {
        let (access_sent, flows_sent) = sent::totals(&self.sent);
        let mut counts = Vec::new();
        for direction in Direction::ALL {
            for verdict in Verdict::all() {
                let count = read(&self.verdicts, verdict.row(direction))?;
                let count = match (direction, verdict) {
                    (Direction::Egress, Verdict::Ours(OursKind::Sent)) => count.plus(access_sent),
                    (Direction::Egress, Verdict::Pass(PassReason::Flow)) => count.plus(flows_sent),
                    _ => count,
                };
                counts.push(VerdictCount { direction, verdict, count });
            }
        }
        Ok(counts)
    }

    /// TCP and UDP packets that are neither ours nor of a flow in the table: the host's own
    /// traffic on these interfaces, and what comes after a flow was removed.
    pub fn unattributed(&self) -> Result<FlowCounters> {
        let row = |direction| {
            read(&self.verdicts, Verdict::Pass(PassReason::Unattributed).row(direction))
        };
        Ok(FlowCounters { ingress: row(Direction::Ingress)?, egress: row(Direction::Egress)? })
    }

    /// How client-facing UDP datagrams found their sockets.
    pub fn steered(&self) -> Result<Vec<(SteeredBy, u64)>> {
        SteeredBy::ALL
            .into_iter()
            .map(|by| Ok((by, values(&self.steered, by as u32)?.into_iter().sum())))
            .collect()
    }
}

fn read(map: &Map<u32, Counter>, row: u32) -> Result<Counter> {
    Ok(values(map, row)?.into_iter().fold(Counter::default(), Counter::plus))
}

fn values<V: aya::Pod>(map: &Map<u32, V>, row: u32) -> Result<Vec<V>> {
    let values = map.get(&row).map_err(XdpError::system("can't read a counter"))?;
    // An array has all its rows; `Maps::open` compared their number.
    Ok(values.unwrap_or_default())
}
