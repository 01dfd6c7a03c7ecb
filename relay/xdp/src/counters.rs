//! Counts that belong to no flow: verdicts, unattributed packets, steering.

use weir_abi::{Counter, Direction, FlowCounters, Steering as SteeredBy, Verdict};

use crate::error::{Result, XdpError};
use crate::maps::{Map, Maps};

/// A cheap handle; clones share the maps.
#[derive(Clone, Debug)]
pub struct Counters {
    verdicts: Map<u32, Counter>,
    unattributed: Map<u32, Counter>,
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
    pub(crate) fn new(maps: &Maps) -> Self {
        Self {
            verdicts: maps.verdicts.clone(),
            unattributed: maps.unattributed.clone(),
            steered: maps.steered.clone(),
        }
    }

    /// Every direction and verdict, in the same order each time, zeros included.
    pub fn verdicts(&self) -> Result<Vec<VerdictCount>> {
        let mut counts = Vec::new();
        for direction in Direction::ALL {
            for verdict in Verdict::all() {
                let count = read(&self.verdicts, verdict.row(direction))?;
                counts.push(VerdictCount { direction, verdict, count });
            }
        }
        Ok(counts)
    }

    /// TCP and UDP packets that are neither ours nor of a flow in the table: the host's own
    /// traffic on these interfaces, and what comes after a flow was removed.
    pub fn unattributed(&self) -> Result<FlowCounters> {
        Ok(FlowCounters {
            ingress: read(&self.unattributed, Direction::Ingress as u32)?,
            egress: read(&self.unattributed, Direction::Egress as u32)?,
        })
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
