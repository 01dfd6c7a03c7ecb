//! Send buffers: allocated as they are needed, up to a cap, and used again last in, first out,
//! so that a lightly loaded worker keeps to a few warm ones.

use weir_core::port::MAX_TRAIN_BYTES;

/// Free buffers that are kept in any case, so that light traffic allocates nothing.
const KEPT: usize = 8;

#[derive(Debug)]
pub(crate) struct SendPool {
    free: Vec<Vec<u8>>,
    lent: usize,
    /// The most that were lent at a time since the last [`SendPool::shrink`].
    lent_max: usize,
    cap: usize,
}

impl SendPool {
    pub(crate) fn new(cap: usize) -> SendPool {
        SendPool { free: Vec::with_capacity(cap), lent: 0, lent_max: 0, cap }
    }

    /// An empty buffer with room for a train, or `None` if all are lent.
    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        if self.lent >= self.cap {
            return None;
        }
        self.lent += 1;
        self.lent_max = self.lent_max.max(self.lent);
        Some(self.free.pop().unwrap_or_else(|| Vec::with_capacity(MAX_TRAIN_BYTES)))
    }

    /// Takes a buffer back. A smaller one didn't come from here and is dropped.
    pub(crate) fn give(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() < MAX_TRAIN_BYTES {
            return;
        }
        self.lent = self.lent.saturating_sub(1);
        if self.free.len() < self.cap {
            buffer.clear();
            self.free.push(buffer);
        }
    }

    /// Frees buffers that were not needed lately, the coldest first. Twice the peak is kept, so
    /// that traffic that goes up and down allocates nothing.
    pub(crate) fn shrink(&mut self) {
        let wanted = (2 * self.lent_max).max(KEPT).saturating_sub(self.lent);
        let surplus = self.free.len().saturating_sub(wanted);
        self.free.drain(..surplus);
        self.lent_max = self.lent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_burst_needed_goes_and_comes_back() {
        let mut pool = SendPool::new(64);
        for _ in 0..2 {
            let burst: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
            assert_eq!(burst.len(), 64);
            burst.into_iter().for_each(|buffer| pool.give(buffer));
            pool.shrink();
            assert_eq!(pool.free.len(), 64, "in use until now");
            let few: Vec<_> = (0..10).filter_map(|_| pool.take()).collect();
            few.into_iter().for_each(|buffer| pool.give(buffer));
            pool.shrink();
            assert_eq!(pool.free.len(), 20);
            pool.shrink();
            assert_eq!(pool.free.len(), KEPT);
        }
    }

    #[test]
    fn the_cap_holds_and_buffers_come_back_warm() {
        let mut pool = SendPool::new(2);
        let mut first = pool.take().unwrap();
        let second = pool.take().unwrap();
        assert!(pool.take().is_none());
        first.extend_from_slice(b"old");
        let at = first.as_ptr();
        pool.give(second);
        pool.give(first);
        let again = pool.take().unwrap();
        assert!(again.is_empty() && again.as_ptr() == at && again.capacity() >= MAX_TRAIN_BYTES);
    }

    #[test]
    fn a_foreign_buffer_does_not_raise_the_cap() {
        let mut pool = SendPool::new(1);
        let _lent = pool.take().unwrap();
        pool.give(Vec::new());
        assert!(pool.take().is_none());
    }
}
