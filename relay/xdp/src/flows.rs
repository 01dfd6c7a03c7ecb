//! Ledger B: what the kernel counted for each exit flow.

use std::fmt;
use std::net::SocketAddr;

use weir_abi::{FlowCounters, FlowKey, Protocol};

use crate::error::{Result, XdpError};
use crate::maps::{Map, Maps};
use crate::sys::bpf;

/// The table of exit flows. A cheap handle to a kernel map; clones share it, and any thread may
/// use any of them without a lock.
#[derive(Clone, Debug)]
pub struct FlowTable {
    map: Map<FlowKey, FlowCounters>,
}

/// The 5-tuple of an exit flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    pub protocol: Protocol,
    /// The relay's end.
    pub local: SocketAddr,
    /// The target's end.
    pub remote: SocketAddr,
}

impl FlowTable {
    pub(crate) fn new(maps: &Maps) -> Self {
        Self { map: maps.flows.clone() }
    }

    /// Starts counting a flow, from zero. To be called when the socket has its local port and
    /// before its first packet; packets before that are counted as unattributed.
    ///
    /// # Errors
    /// [`XdpError::FlowTableFull`], [`XdpError::FlowExists`].
    pub fn insert(&self, flow: &Flow) -> Result<()> {
        self.map.set(&flow.key(), &FlowCounters::default(), bpf::NO_EXIST).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::E2BIG | libc::ENOMEM) => XdpError::FlowTableFull,
                Some(libc::EEXIST) => XdpError::FlowExists(flow.to_string()),
                _ => XdpError::system("can't insert an exit flow")(error),
            }
        })
    }

    /// The counts so far, of all CPUs. `None` if the flow is not in the table.
    pub fn read(&self, flow: &Flow) -> Result<Option<FlowCounters>> {
        let values = self.map.get(&flow.key()).map_err(XdpError::system("can't read a flow"))?;
        Ok(values.map(sum))
    }

    /// The final counts; the flow is no longer in the table. To be called after its socket is
    /// closed. Reading and removing are one step for the kernel; what arrives later is counted as
    /// unattributed.
    pub fn remove_with_final_read(&self, flow: &Flow) -> Result<Option<FlowCounters>> {
        let values = self.map.take(&flow.key()).map_err(XdpError::system("can't remove a flow"))?;
        Ok(values.map(sum))
    }

    /// All flows with their counts. Flows that come or go meanwhile may be missing.
    pub fn iterate(&self) -> Result<Vec<(Flow, FlowCounters)>> {
        let entries = self.map.entries().map_err(XdpError::system("can't list the flows"))?;
        let known = entries
            .into_iter()
            .filter_map(|(key, values)| Flow::from_key(&key).map(|flow| (flow, sum(values))));
        Ok(known.collect())
    }

    /// Flows that fit.
    #[must_use]
    pub fn flows_max(&self) -> u32 {
        self.map.entries_max()
    }
}

impl Flow {
    fn key(&self) -> FlowKey {
        FlowKey::new(self.protocol, self.local, self.remote)
    }

    /// `None` for a protocol that this version does not insert.
    fn from_key(key: &FlowKey) -> Option<Self> {
        let protocol = [Protocol::Tcp, Protocol::Udp]
            .into_iter()
            .find(|protocol| *protocol as u8 == key.protocol)?;
        Some(Self { protocol, local: key.local(), remote: key.remote() })
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        write!(f, "{protocol} {} -> {}", self.local, self.remote)
    }
}

fn sum(values: Vec<FlowCounters>) -> FlowCounters {
    values.into_iter().fold(FlowCounters::default(), FlowCounters::plus)
}
