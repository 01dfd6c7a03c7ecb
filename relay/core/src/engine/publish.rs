//! Counters out.

use std::time::Instant;

use crate::answer::Failure;
use crate::port::{FlowTuple, Ledger, LedgerEntry};
use crate::tunnel::Phase;

use super::Engine;

impl Engine {
    /// Writes the counters of the tunnels that moved since the last call, adds what they used to
    /// the credit lines, and gives new tunnels their slots. Once per turn, after
    /// [`turn::flush`](crate::turn::flush).
    ///
    /// A tunnel is answered with 2xx, and payload flows, only when it has its slot: no byte is
    /// forwarded that couldn't be accounted for.
    pub fn publish(&mut self, ledger: &mut impl Ledger) {
        let now = self.core.now;
        let mut moved = std::mem::take(&mut self.core.moved);
        for key in moved.drain(..) {
            let Some(tunnel) = self.core.tunnels.get_mut(key) else { continue };
            if !std::mem::replace(&mut tunnel.meter.listed, false) {
                continue;
            }
            tunnel.meter.charge();
            if let Some(slot) = tunnel.meter.slot() {
                ledger.publish(slot, tunnel.meter.counters());
            }
        }
        // The allocation is kept; what closing tunnels moved meanwhile is not lost either.
        moved.append(&mut self.core.moved);
        self.core.moved = moved;
        for (slot, counters) in self.core.finals.drain(..) {
            ledger.close(slot, &counters);
        }
        let mut opened = std::mem::take(&mut self.core.opened);
        for key in opened.drain(..) {
            self.open_slot(ledger, key, now);
        }
        self.core.opened = opened;
    }

    fn open_slot(&mut self, ledger: &mut impl Ledger, key: usize, now: Instant) {
        let Some(tunnel) = self.core.tunnels.get_mut(key) else { return };
        let Phase::Opened(exit) = tunnel.phase else { return };
        let entry = LedgerEntry {
            tunnel: tunnel.id,
            session: tunnel.session,
            channel: tunnel.meter.grant.channel.unwrap_or_default(),
            lane: tunnel.meter.grant.lane,
            flow: FlowTuple {
                transport: tunnel.traffic.transport(),
                local: exit.local,
                remote: exit.remote,
            },
        };
        let Some(slot) = ledger.open(&entry) else {
            self.settle_opening(key, Err(Failure::Overloaded), now);
            return;
        };
        tunnel.meter.set_slot(slot);
        tunnel.phase = Phase::Open(exit.id);
        self.core.mark_moved(key);
        if let Some((connection, core)) = self.split_tunnel(key) {
            connection.tunnel_opened(core, key, exit.remote.ip(), now);
        }
    }
}
