//! Local ports of exit flows that have no kernel socket, and whom a frame from a target belongs to.
//!
//! A port serves as many flows as there are targets: what must be unique is the pair of local port
//! and target. Which port a target gets isn't predictable (RFC 6056, section 3.3.3).

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use weir_core::port::EgressId;

/// A pair isn't used again for so long, so that a late answer to one tunnel doesn't reach the next.
/// Targets that answer later than this are rare, and sockets have the same weakness.
const REST: Duration = Duration::from_secs(10);
/// Pairs tried before the kernel's own sockets are used. Even with nine ports in ten taken, all of
/// them are taken once in 10^6 times.
const TRIES_MAX: usize = 128;

/// Local port and target.
type Pair = (u16, SocketAddr);

/// The ports of one worker.
#[derive(Debug)]
pub(super) struct Ports {
    all: RangeInclusive<u16>,
    /// Ports of each worker.
    share: u16,
    worker: u16,
    /// `None` while the pair rests.
    pairs: HashMap<Pair, Option<EgressId>>,
    resting: VecDeque<(Instant, Pair)>,
    /// Chosen by chance at the start.
    secret: RandomState,
    count: u64,
}

impl Ports {
    /// Takes the part of `all` that belongs to `worker`.
    pub(super) fn new(all: RangeInclusive<u16>, worker: usize, workers: usize) -> Ports {
        let share = (all.len() / workers.max(1)) as u16;
        Ports {
            all,
            share,
            worker: worker as u16,
            pairs: HashMap::new(),
            resting: VecDeque::new(),
            secret: RandomState::new(),
            count: 0,
        }
    }

    /// Finds a port towards `target` that `is_free` agrees to.
    pub(super) fn open(
        &mut self,
        now: Instant,
        target: SocketAddr,
        id: EgressId,
        mut is_free: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        self.forget_rested(now);
        if self.share == 0 {
            return None;
        }
        let first = *self.all.start() + self.worker * self.share;
        for _ in 0..TRIES_MAX {
            self.count += 1;
            let chance = self.secret.hash_one((target, self.count));
            let port = first + (chance % u64::from(self.share)) as u16;
            if !self.pairs.contains_key(&(port, target)) && is_free(port) {
                self.pairs.insert((port, target), Some(id));
                return Some(port);
            }
        }
        None
    }

    /// The flow that frames of `remote` to `port` belong to.
    #[inline]
    pub(super) fn flow(&self, port: u16, remote: SocketAddr) -> Option<EgressId> {
        self.pairs.get(&(port, remote)).copied().flatten()
    }

    /// The flow is closed; its pair rests.
    pub(super) fn close(&mut self, now: Instant, port: u16, target: SocketAddr) {
        if let Some(place) = self.pairs.get_mut(&(port, target)) {
            *place = None;
            self.resting.push_back((now + REST, (port, target)));
        }
    }

    /// The worker whose flows use a port.
    #[inline]
    pub(super) fn worker(&self, port: u16) -> Option<usize> {
        if !self.all.contains(&port) {
            return None;
        }
        (port - self.all.start()).checked_div(self.share).map(usize::from)
    }

    fn forget_rested(&mut self, now: Instant) {
        while let Some((until, pair)) = self.resting.front()
            && *until <= now
        {
            self.pairs.remove(pair);
            self.resting.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u32) -> EgressId {
        EgressId { index, epoch: 1 }
    }

    #[test]
    fn each_worker_has_ports_of_its_own() {
        let now = Instant::now();
        let target = "192.0.2.1:53".parse().unwrap();
        for worker in 0..3 {
            let mut ports = Ports::new(60_000..=60_010, worker, 3);
            for index in 0..3 {
                let port = ports.open(now, target, id(index), |_| true).unwrap();
                assert_eq!(ports.worker(port), Some(worker));
                assert_eq!(ports.flow(port, target), Some(id(index)));
            }
            assert_eq!(ports.open(now, target, id(9), |_| true), None, "three each");
            let other = "192.0.2.2:53".parse().unwrap();
            assert!(ports.open(now, other, id(9), |_| true).is_some(), "another target");
        }
        let ports = Ports::new(60_000..=60_010, 0, 3);
        assert_eq!((ports.worker(59_999), ports.worker(60_011)), (None, None));
    }

    #[test]
    fn a_pair_rests_before_it_is_used_again() {
        let now = Instant::now();
        let target = "192.0.2.1:53".parse().unwrap();
        let mut ports = Ports::new(60_000..=60_000, 0, 1);
        let port = ports.open(now, target, id(0), |_| true).unwrap();
        ports.close(now, port, target);
        assert_eq!(ports.flow(port, target), None);
        assert_eq!(ports.open(now + REST / 2, target, id(1), |_| true), None);
        assert_eq!(ports.open(now + REST, target, id(1), |_| true), Some(port));
        assert!(ports.pairs.len() == 1 && ports.resting.is_empty());
    }

    #[test]
    fn a_port_that_is_taken_elsewhere_is_left_alone() {
        let now = Instant::now();
        let target = "192.0.2.1:53".parse().unwrap();
        let mut ports = Ports::new(60_000..=60_001, 0, 1);
        assert_eq!(ports.open(now, target, id(0), |port| port == 60_001), Some(60_001));
        assert_eq!(ports.open(now, target, id(1), |port| port == 60_001), None);
    }

    #[test]
    fn more_workers_than_ports_leave_the_rest_to_the_kernel() {
        let mut ports = Ports::new(60_000..=60_001, 0, 3);
        let target = "192.0.2.1:53".parse().unwrap();
        assert_eq!(ports.open(Instant::now(), target, id(0), |_| true), None);
        assert_eq!(ports.worker(60_000), None);
    }
}
