//! Ledger A against ledger C: did what a relay's process bills come in from clients at all?
//!
//! The kernel can't tell sessions apart on the clients' side, because only the relay holds their
//! keys; so C is a sum, and is compared with the sum over all billed tunnels of the process that
//! counted it. A tunnel's id begins with that process's epoch, whichever stream reports it.
//!
//! Towards targets the rule is exact: a relay can only forward what it decrypted from packets that
//! the kernel had counted before, or had passed on unread. Towards clients there is none that would
//! hold: what a client breaks off was handed to QUIC and billed, and never left. So that direction
//! is only shown; who breaks off downloads must not be able to hold back everybody's asks.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use weir_usage::AccessCount;

use super::tunnel::Grown;
use super::{Book, Finding, LaneKey};

/// More billed than the kernel saw come from clients, as of the reading at which it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uncarried {
    /// The relay's process.
    pub epoch: u64,
    /// Ledger A: billed bytes, clients to targets.
    pub billed_up: u64,
    /// Ledger C: UDP payload from clients, and what may have been.
    pub seen_up: u64,
}

impl Uncarried {
    /// Billed bytes that the kernel never saw.
    pub fn bytes(&self) -> u64 {
        self.billed_up.saturating_sub(self.seen_up)
    }
}

/// The two ledgers of a process, as of its last reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AccessView {
    /// Ledger A: billed bytes, clients to targets.
    pub billed_up: u64,
    /// Ledger A: billed bytes, targets to clients.
    pub billed_down: u64,
    /// Ledger C: UDP payload from clients.
    pub seen_up: u64,
    /// Ledger C: UDP payload to clients.
    pub seen_down: u64,
}

/// What one process bills, and what came of it.
#[derive(Debug, Default)]
struct Process {
    up_bytes: u64,
    down_bytes: u64,
    seen: Option<AccessCount>,
    finding: Option<Finding>,
    waived: bool,
}

/// All processes whose tunnels are remembered.
#[derive(Debug, Default)]
pub(super) struct Processes(BTreeMap<u64, Process>);

impl Processes {
    /// Adds what a tunnel has grown by.
    pub(super) fn grow(&mut self, tunnel: u128, grown: Grown) {
        let process = self.0.entry(epoch_of(tunnel)).or_default();
        process.up_bytes = process.up_bytes.saturating_add(grown.up_bytes);
        process.down_bytes = process.down_bytes.saturating_add(grown.down_bytes);
    }

    /// What holds back the lanes of the tunnel's process, and the id it has there.
    pub(super) fn finding(&self, tunnel: u128) -> Option<(u128, Finding)> {
        let epoch = epoch_of(tunnel);
        let process = self.0.get(&epoch).filter(|process| !process.waived)?;
        Some((process_id(epoch), process.finding?))
    }

    /// Takes an operator's decision, if it is about a process.
    pub(super) fn waive(&mut self, id: u128) {
        if let Some(process) = process_of(id).and_then(|epoch| self.0.get_mut(&epoch)) {
            process.waived |= process.finding.is_some();
        }
    }

    /// Takes from a lane that was kept what it says of processes.
    pub(super) fn restore(&mut self, id: u128, finding: Option<Finding>) {
        if let Some(epoch) = process_of(id) {
            let process = self.0.entry(epoch).or_default();
            process.waived |= finding.is_none();
            process.finding = process.finding.or(finding).or(Some(Finding::Uncarried { bytes: 0 }));
        }
    }
}

/// Worker and counter of a tunnel's id, where the id stands for all of a process: a worker would
/// have to open 2^48 tunnels to come to it.
const WHOLE_PROCESS: u64 = u64::MAX;

fn epoch_of(id: u128) -> u64 {
    (id >> 64) as u64
}

/// The id under which a process's finding is held, shown and waived.
fn process_id(epoch: u64) -> u128 {
    u128::from(epoch) << 64 | u128::from(WHOLE_PROCESS)
}

/// The process that an id stands for, if it isn't a tunnel's.
pub(super) fn process_of(id: u128) -> Option<u64> {
    (id as u64 == WHOLE_PROCESS).then_some(epoch_of(id))
}

impl Book {
    /// Compares the ledgers with a reading of the process that sends this stream. `Some` once for a
    /// process that bills what the kernel never saw: that belongs in the journal, and in
    /// [`Book::uncarried`].
    pub fn access(&mut self, epoch: u64, seen: AccessCount) -> Option<Uncarried> {
        let process = self.processes.0.entry(epoch).or_default();
        process.seen = Some(seen);
        let billed_up = process.up_bytes;
        let seen_up = seen.up.payload_bytes.saturating_add(seen.unread_bytes);
        let wrong = self.tolerance.access_holds_back && billed_up > seen_up;
        (wrong && process.finding.is_none()).then_some(Uncarried { epoch, billed_up, seen_up })
    }

    /// Holds back every lane that the process billed, and those that it will: of their bytes only
    /// those that were signed for are asked for.
    pub fn uncarried(&mut self, found: &Uncarried) {
        let finding = Finding::Uncarried { bytes: found.bytes() };
        let of_process = self.tunnels.iter().filter(|(id, _)| epoch_of(**id) == found.epoch);
        let lanes: BTreeSet<LaneKey> = of_process.map(|(_, tunnel)| tunnel.key).collect();
        if let (Some(process), false) = (self.processes.0.get_mut(&found.epoch), lanes.is_empty()) {
            process.finding = Some(finding);
        }
        for key in lanes {
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.hold(process_id(found.epoch), finding);
            }
        }
    }

    /// The ledgers of a process that has sent a reading since the start.
    pub fn access_view(&self, epoch: u64) -> Option<AccessView> {
        let process = self.processes.0.get(&epoch)?;
        let seen = process.seen?;
        Some(AccessView {
            billed_up: process.up_bytes,
            billed_down: process.down_bytes,
            seen_up: seen.up.payload_bytes,
            seen_down: seen.down.payload_bytes,
        })
    }
}
