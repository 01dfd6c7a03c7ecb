//! Tunnels that wait for credit: in the overdraft for the next step of the trickle, at its end for
//! a voucher.

use std::time::{Duration, Instant};

use crate::core::Core;
use crate::credit::Standing;
use crate::timers::{Due, TimerId, Timers};

/// Between two looks at whether the trickle has anything for those that wait; one timer for all of
/// them, and none while nobody waits for it.
const TICK: Duration = Duration::from_millis(20);

/// With less than this, tunnels of one payer look at each other's use within a turn. All of them
/// together carry about this much in one.
const NEAR_BYTES: u64 = 16 << 20;

#[derive(Debug)]
pub(crate) struct Held {
    /// Each tunnel knows its place in here.
    tunnels: Vec<usize>,
    timer: TimerId,
    ticking: bool,
}

impl Held {
    pub(crate) fn new(timers: &mut Timers, now: Instant) -> Self {
        Held { tunnels: Vec::new(), timer: timers.add(Due::Credit, now), ticking: false }
    }

    pub(crate) fn len(&self) -> usize {
        self.tunnels.len()
    }

    pub(crate) fn get(&self, place: usize) -> Option<usize> {
        self.tunnels.get(place).copied()
    }

    /// The timer fired.
    pub(crate) fn ticked(&mut self) {
        self.ticking = false;
    }
}

impl Core {
    /// Whether a tunnel's payer has to wait; it is then told when it may go on.
    fn is_out_of_credit(&mut self, key: usize) -> bool {
        self.tunnels[key].meter.grant.exhausted() && self.hold(key)
    }

    /// Bytes that the payer of a tunnel may have forwarded now; near the limit beyond those that
    /// wait in the tunnel's own queues. Zero doesn't put the tunnel in line: datagrams don't wait.
    pub(crate) fn credit_room(&mut self, key: usize) -> u64 {
        let meter = &mut self.tunnels[key].meter;
        let open = meter.grant.open();
        meter.eager = open < NEAR_BYTES;
        if meter.eager { self.credit_room_near(key) } else { open }
    }

    #[cold]
    fn credit_room_near(&mut self, key: usize) -> u64 {
        let tunnel = &mut self.tunnels[key];
        tunnel.meter.charge();
        let grant = &tunnel.meter.grant;
        if grant.exhausted() {
            grant.pace(self.now);
        }
        grant.open().saturating_sub(tunnel.traffic.queued_bytes() as u64)
    }

    /// The same for a stream. `None`: it has to wait, and is told when it may go on. Never zero, so
    /// that nobody waits who isn't in line.
    pub(crate) fn stream_room(&mut self, key: usize) -> Option<u64> {
        let room = self.credit_room(key);
        if room > 0 {
            return Some(room);
        }
        (!self.is_out_of_credit(key)).then(|| self.tunnels[key].meter.grant.open().max(1))
    }

    #[cold]
    fn hold(&mut self, key: usize) -> bool {
        let tunnel = &mut self.tunnels[key];
        let standing = tunnel.meter.grant.pace(self.now);
        if !tunnel.meter.grant.exhausted() {
            return false;
        }
        if tunnel.held_at.is_none() {
            tunnel.held_at = Some(self.held.tunnels.len());
            self.held.tunnels.push(key);
        }
        if standing == Standing::Throttled {
            self.tick();
        }
        true
    }

    /// Looks again after a while.
    pub(crate) fn tick(&mut self) {
        if !std::mem::replace(&mut self.held.ticking, true) {
            self.timers.set(self.held.timer, Some(self.now + TICK));
        }
    }

    /// A tunnel waits no longer.
    pub(crate) fn let_go(&mut self, key: usize) {
        let Some(place) = self.tunnels[key].held_at.take() else { return };
        self.held.tunnels.swap_remove(place);
        if let Some(&moved) = self.held.tunnels.get(place) {
            self.tunnels[moved].held_at = Some(place);
        }
    }
}
