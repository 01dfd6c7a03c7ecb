//! What one source of clients may do: how many connections it has, and how often it failed to
//! authenticate.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Window in which failures to authenticate are counted.
const FAILURE_WINDOW: Duration = Duration::from_secs(60);

/// Sources remembered only for their failures. Beyond it the table forgets those that are out of
/// their window, and if that isn't enough all of them: it must not be a way to fill memory.
const FAILING_SOURCES_MAX: usize = 65_536;

/// An IPv4 address or an IPv6 /64: what one subscriber usually gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source(IpAddr);

impl Source {
    pub(crate) fn of(ip: IpAddr) -> Self {
        Source(match ip.to_canonical() {
            IpAddr::V4(v4) => IpAddr::V4(v4),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        })
    }
}

#[derive(Debug, Default)]
pub(crate) struct Sources {
    connections: HashMap<Source, usize>,
    failures: HashMap<Source, Failures>,
}

#[derive(Debug)]
struct Failures {
    since: Instant,
    count: u32,
}

impl Sources {
    pub(crate) fn connections(&self, source: Source) -> usize {
        self.connections.get(&source).copied().unwrap_or(0)
    }

    pub(crate) fn connected(&mut self, source: Source) {
        *self.connections.entry(source).or_default() += 1;
    }

    pub(crate) fn disconnected(&mut self, source: Source) {
        if let Some(count) = self.connections.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.connections.remove(&source);
            }
        }
    }

    /// Counts a request with a missing or wrong credential.
    pub(crate) fn failed(&mut self, source: Source, now: Instant) {
        if self.failures.len() >= FAILING_SOURCES_MAX && !self.failures.contains_key(&source) {
            self.failures.retain(|_, f| now.duration_since(f.since) < FAILURE_WINDOW);
            if self.failures.len() >= FAILING_SOURCES_MAX {
                self.failures.clear();
            }
        }
        let failures = self.failures.entry(source).or_insert(Failures { since: now, count: 0 });
        if now.duration_since(failures.since) >= FAILURE_WINDOW {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count = failures.count.saturating_add(1);
    }

    /// Whether a source failed more than `limit` times in its window.
    pub(crate) fn is_blocked(&self, source: Source, now: Instant, limit: u32) -> bool {
        self.failures
            .get(&source)
            .is_some_and(|f| f.count >= limit && now.duration_since(f.since) < FAILURE_WINDOW)
    }
}
