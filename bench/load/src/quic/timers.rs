//! When connections want to be looked at.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// The timers of many connections, by their index. An entry that was overtaken by an earlier one
/// stays in the heap and finds nothing to do.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
    /// The earliest entry of each connection.
    earliest: Vec<Option<Instant>>,
}

impl Timers {
    /// Wakes a connection at that time, or earlier.
    pub(crate) fn set(&mut self, index: usize, at: Option<Instant>) {
        let Some(at) = at else { return };
        if self.earliest.len() <= index {
            self.earliest.resize(index + 1, None);
        }
        let earliest = &mut self.earliest[index];
        if earliest.is_none_or(|earlier| at < earlier) {
            *earliest = Some(at);
            self.heap.push(Reverse((at, index)));
        }
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// A connection whose time has come.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<usize> {
        if self.next()? > now {
            return None;
        }
        let Reverse((at, index)) = self.heap.pop()?;
        if self.earliest[index] == Some(at) {
            self.earliest[index] = None;
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_is_woken_no_later_than_it_asked_for() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.set(0, Some(at(30)));
        timers.set(0, Some(at(40)));
        timers.set(0, Some(at(10)));
        timers.set(5, Some(at(20)));
        timers.set(5, None);
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.expired(at(9)), None);
        assert_eq!(timers.expired(at(20)), Some(0));
        assert_eq!(timers.expired(at(20)), Some(5));
        assert_eq!(timers.expired(at(20)), None);
        // The overtaken entry is a false alarm, no more.
        assert_eq!(timers.expired(at(50)), Some(0));
        assert_eq!(timers.next(), None);
    }
}
