//! Ledger B: what the kernel counted for each exit flow.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use weir_abi::{FlowCounters, FlowKey, Protocol};

use crate::error::{Result, XdpError};
use crate::table::{REDIRECT, Refused, Table};

/// The table of exit flows. A cheap handle; clones share it. Writers wait for each other for about
/// a microsecond, readers for nobody.
#[derive(Clone, Debug)]
pub struct FlowTable {
    pub(crate) table: Arc<Table>,
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
    /// Starts counting a flow, from zero. To be called when the socket has its local port and
    /// before its first packet; packets before that are counted as unattributed.
    ///
    /// # Errors
    /// [`XdpError::FlowTableFull`], [`XdpError::FlowExists`].
    pub fn insert(&self, flow: &Flow) -> Result<()> {
        match self.table.insert(&flow.key(), 0) {
            Ok(_) => Ok(()),
            Err(refused) => Err(error(refused, flow)),
        }
    }

    /// From now on the flow's arriving packets go to the AF_XDP socket of their queue. Inserts the
    /// flow if it isn't there.
    ///
    /// # Errors
    /// [`XdpError::FlowTableFull`].
    pub fn redirect(&self, flow: &Flow) -> Result<()> {
        let key = flow.key();
        if self.table.set_flags(&key, REDIRECT) {
            return Ok(());
        }
        self.table.insert(&key, REDIRECT).map_err(|refused| error(refused, flow))
    }

    /// The counts so far, of all CPUs. `None` if the flow is not in the table.
    pub fn read(&self, flow: &Flow) -> Result<Option<FlowCounters>> {
        self.table.read(&flow.key()).map_err(XdpError::system("can't read a flow"))
    }

    /// The final counts; the flow is no longer in the table. To be called after its socket is
    /// closed; what arrives later is counted as unattributed.
    pub fn remove_with_final_read(&self, flow: &Flow) -> Result<Option<FlowCounters>> {
        self.table.take(&flow.key()).map_err(XdpError::system("can't remove a flow"))
    }

    /// All flows with their counts. Flows that come or go meanwhile may be missing.
    pub fn iterate(&self) -> Result<Vec<(Flow, FlowCounters)>> {
        let entries = self.table.entries().map_err(XdpError::system("can't list the flows"))?;
        let known = entries
            .into_iter()
            .filter_map(|(key, counts)| Flow::from_key(&key).map(|flow| (flow, counts)));
        Ok(known.collect())
    }

    /// Flows that fit.
    #[must_use]
    pub fn flows_max(&self) -> u32 {
        self.table.flows_max()
    }
}

fn error(refused: Refused, flow: &Flow) -> XdpError {
    match refused {
        Refused::Full => XdpError::FlowTableFull,
        Refused::Exists => XdpError::FlowExists(flow.to_string()),
        Refused::System(error) => XdpError::system("can't insert an exit flow")(error),
    }
}

impl Flow {
    pub(crate) fn key(&self) -> FlowKey {
        FlowKey::new(self.protocol, self.local, self.remote)
    }

    /// `None` for a protocol that this version does not insert.
    fn from_key(key: &FlowKey) -> Option<Self> {
        Some(Self { protocol: key.protocol()?, local: key.local(), remote: key.remote() })
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
