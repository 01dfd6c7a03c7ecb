//! What happens when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::rng::Rng;

/// The path between clients and the relay, alike in both directions.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    pub delay: Duration,
    /// Up to so much more, drawn for every packet: packets overtake each other.
    pub jitter: Duration,
    pub loss_percent: u64,
    /// Longer UDP payloads are lost.
    pub mtu: usize,
    /// Where the path to the clients is narrowest; `None` is as wide as needed.
    pub bottleneck: Option<Bottleneck>,
}

/// A link that packets queue for, in front of a queue that drops what doesn't fit.
#[derive(Clone, Copy, Debug)]
pub struct Bottleneck {
    pub bytes_per_second: u64,
    /// The longest wait; what would wait longer is lost.
    pub queue: Duration,
}

impl Bottleneck {
    /// When a packet that arrives now is through, given when the link is free; `None` when it is
    /// lost.
    pub fn carry(&self, free_at: &mut Instant, now: Instant, len: usize) -> Option<Duration> {
        let start = now.max(*free_at);
        if start - now > self.queue {
            return None;
        }
        *free_at = start + Duration::from_nanos(len as u64 * 1_000_000_000 / self.bytes_per_second);
        Some(*free_at - now)
    }
}

impl Default for Link {
    fn default() -> Self {
        Link {
            delay: Duration::from_millis(5),
            jitter: Duration::ZERO,
            loss_percent: 0,
            mtu: 1472,
            bottleneck: None,
        }
    }
}

impl Link {
    /// How long a packet takes; `None` when it is lost.
    pub fn carry(&self, rng: &mut Rng, len: usize) -> Option<Duration> {
        if len > self.mtu || rng.chance(self.loss_percent) {
            return None;
        }
        let jitter = match self.jitter.as_micros() as u64 {
            0 => 0,
            micros => rng.below(micros),
        };
        Some(self.delay + Duration::from_micros(jitter))
    }
}

/// A queue of things that happen at a time; those of the same time keep their order.
#[derive(Debug)]
pub struct Schedule<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    pushed: u64,
}

impl<T> Default for Schedule<T> {
    fn default() -> Self {
        Schedule { heap: BinaryHeap::new(), pushed: 0 }
    }
}

impl<T> Schedule<T> {
    pub fn push(&mut self, at: Instant, what: T) {
        self.pushed += 1;
        self.heap.push(Reverse(Entry { at, order: self.pushed, what }));
    }

    pub fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// Takes the first thing that has happened by `now`.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        if self.next_at()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry.what)
    }
}

#[derive(Debug)]
struct Entry<T> {
    at: Instant,
    order: u64,
    what: T,
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl<T> Eq for Entry<T> {}
