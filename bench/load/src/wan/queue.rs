//! Datagrams on their way. The delay is the same for all, so they leave as they came.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// 2 Gbit/s of full datagrams for 80 ms, and 24 MB of memory.
const DATAGRAMS_MAX: usize = 16_384;

/// A first-in first-out queue with a delay; buffers are used again.
#[derive(Debug)]
pub(super) struct DelayQueue<T> {
    delay: Duration,
    waiting: VecDeque<Waiting<T>>,
    spare: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Waiting<T> {
    due: Instant,
    with: T,
    bytes: Vec<u8>,
}

/// The queue has no room.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl<T: Copy> DelayQueue<T> {
    pub(super) fn new(delay: Duration) -> DelayQueue<T> {
        DelayQueue { delay, waiting: VecDeque::new(), spare: Vec::new() }
    }

    /// Takes a copy of a datagram that came at `at`, which must not be before an earlier one's.
    pub(super) fn push(&mut self, at: Instant, with: T, bytes: &[u8]) -> Result<(), Full> {
        if self.waiting.len() == DATAGRAMS_MAX {
            return Err(Full);
        }
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(bytes);
        self.waiting.push_back(Waiting { due: at + self.delay, with, bytes: copy });
        Ok(())
    }

    /// When the next one is to be sent.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.front().map(|waiting| waiting.due)
    }

    /// Gives what is due by `now` to `send`, in order.
    pub(super) fn pop_due(&mut self, now: Instant, mut send: impl FnMut(T, &[u8])) {
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.due <= now) {
            send(waiting.with, &waiting.bytes);
            self.spare.push(waiting.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(20);

    fn due_by(queue: &mut DelayQueue<u32>, now: Instant) -> Vec<(u32, Vec<u8>)> {
        let mut out = Vec::new();
        queue.pop_due(now, |with, bytes| out.push((with, bytes.to_vec())));
        out
    }

    #[test]
    fn everything_leaves_in_order_after_its_delay_and_not_before() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut queue = DelayQueue::new(DELAY);
        for (with, ms) in [(1, 0), (2, 0), (3, 5)] {
            queue.push(at(ms), with, &[with as u8; 3]).unwrap();
        }
        assert_eq!(queue.due(), Some(at(20)));
        assert_eq!(due_by(&mut queue, at(19)), []);
        assert_eq!(due_by(&mut queue, at(20)), [(1, vec![1; 3]), (2, vec![2; 3])]);
        assert_eq!(queue.due(), Some(at(25)));
        // A buffer that is used again holds nothing of what it held before.
        queue.push(at(21), 4, &[]).unwrap();
        assert_eq!(due_by(&mut queue, at(100)), [(3, vec![3; 3]), (4, vec![])]);
        assert_eq!(queue.due(), None);
    }

    #[test]
    fn a_full_queue_takes_no_more_until_something_left() {
        let now = Instant::now();
        let mut queue = DelayQueue::new(DELAY);
        for index in 0..DATAGRAMS_MAX {
            assert_eq!(queue.push(now, index as u32, &[0]), Ok(()));
        }
        assert_eq!(queue.push(now, 0, &[0]), Err(Full));
        assert_eq!(due_by(&mut queue, now + DELAY).len(), DATAGRAMS_MAX);
        assert_eq!(queue.push(now, 0, &[0]), Ok(()));
    }
}
