//! One deadline per connection, tunnel and query in an indexed heap: moving a deadline moves its
//! entry, so that a connection whose timers change with every packet leaves nothing behind.

use std::time::Instant;

use slab::Slab;

/// Who a deadline belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Connection(usize),
    Tunnel(usize),
    Query(u64),
    /// The trickle of payers in their overdraft.
    Credit,
    /// The drain deadline.
    Drain,
}

/// Names an entry until it is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerId(usize);

#[derive(Debug)]
struct Entry {
    due: Due,
    at: Instant,
    /// Position in the heap; `None` when no deadline is set.
    position: Option<usize>,
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    entries: Slab<Entry>,
    heap: Vec<usize>,
}

impl Timers {
    /// A new entry without a deadline. `now` is only a filler.
    pub(crate) fn add(&mut self, due: Due, now: Instant) -> TimerId {
        TimerId(self.entries.insert(Entry { due, at: now, position: None }))
    }

    pub(crate) fn remove(&mut self, id: TimerId) {
        self.set(id, None);
        self.entries.remove(id.0);
    }

    /// Sets, moves or clears the deadline of an entry.
    pub(crate) fn set(&mut self, id: TimerId, at: Option<Instant>) {
        let entry = &mut self.entries[id.0];
        match (at, entry.position) {
            (Some(at), Some(position)) => {
                if entry.at != at {
                    entry.at = at;
                    self.settle(position);
                }
            }
            (Some(at), None) => {
                entry.at = at;
                entry.position = Some(self.heap.len());
                self.heap.push(id.0);
                self.settle(self.heap.len() - 1);
            }
            (None, Some(position)) => {
                entry.position = None;
                self.heap.swap_remove(position);
                if position < self.heap.len() {
                    self.entries[self.heap[position]].position = Some(position);
                    self.settle(position);
                }
            }
            (None, None) => {}
        }
    }

    /// The next deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.first().map(|&id| self.entries[id].at)
    }

    /// Takes one deadline that has passed; it is no longer set.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Due> {
        let &id = self.heap.first()?;
        let Entry { due, at, .. } = self.entries[id];
        if at > now {
            return None;
        }
        self.set(TimerId(id), None);
        Some(due)
    }

    /// Restores the heap order around a position.
    fn settle(&mut self, mut position: usize) {
        while position > 0 {
            let parent = (position - 1) / 2;
            if self.at(parent) <= self.at(position) {
                break;
            }
            self.swap(parent, position);
            position = parent;
        }
        loop {
            let (left, right) = (2 * position + 1, 2 * position + 2);
            let mut least = position;
            for child in [left, right] {
                if child < self.heap.len() && self.at(child) < self.at(least) {
                    least = child;
                }
            }
            if least == position {
                return;
            }
            self.swap(least, position);
            position = least;
        }
    }

    fn at(&self, position: usize) -> Instant {
        self.entries[self.heap[position]].at
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.entries[self.heap[a]].position = Some(a);
        self.entries[self.heap[b]].position = Some(b);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the obvious model: a list of deadlines.
        #[test]
        fn pops_in_order(steps in proptest::collection::vec((0usize..16, proptest::option::of(0u64..1000)), 1..200)) {
            let start = Instant::now();
            let mut timers = Timers::default();
            let ids: Vec<_> = (0..16).map(|n| timers.add(Due::Tunnel(n), start)).collect();
            let mut model = [None; 16];
            for (n, at) in steps {
                model[n] = at;
                timers.set(ids[n], at.map(|ms| start + Duration::from_millis(ms)));
                let earliest = model.iter().flatten().min().copied();
                prop_assert_eq!(timers.next(), earliest.map(|ms| start + Duration::from_millis(ms)));
            }
            let mut last = 0;
            while let Some(Due::Tunnel(n)) = timers.pop(start + Duration::from_secs(10)) {
                let at = model[n].take().unwrap();
                prop_assert!(at >= last);
                last = at;
            }
            prop_assert!(model.iter().all(Option::is_none));
            prop_assert_eq!(timers.next(), None);
        }
    }
}
