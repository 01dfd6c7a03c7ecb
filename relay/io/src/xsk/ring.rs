//! The single-producer, single-consumer rings that an AF_XDP socket shares with the kernel
//! (Documentation/networking/af_xdp.rst). Two counters that run for ever modulo 2^32, a flag word
//! and a power of two of entries; an index is a counter modulo the size.
//!
//! The crate `xdp` has such rings too. These differ in what this backend needs: the need-wakeup
//! flag, which that crate doesn't read, frames by number instead of pointers, and counters that
//! may wrap in a debug build.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the parts of a ring lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<T> {
    pub(super) producer: NonNull<AtomicU32>,
    pub(super) consumer: NonNull<AtomicU32>,
    pub(super) flags: NonNull<AtomicU32>,
    pub(super) entries: NonNull<T>,
    /// A power of two.
    pub(super) count: u32,
}

impl<T> Parts<T> {
    fn atomic(&self, which: NonNull<AtomicU32>) -> &AtomicU32 {
        // SAFETY: whoever made the parts promised (`Producer::new`, `Consumer::new`) that they
        // stay mapped as long as the ring is used; other side and this one use atomics only.
        unsafe { which.as_ref() }
    }

    fn entry(&self, index: u32) -> NonNull<T> {
        // SAFETY: the index is reduced modulo the number of entries, which are all there.
        unsafe { self.entries.add((index & (self.count - 1)) as usize) }
    }

    /// The kernel wants a system call before it goes on.
    fn needs_wakeup(&self) -> bool {
        self.atomic(self.flags).load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

/// The side that writes: fill and transmit rings.
#[derive(Debug)]
pub(super) struct Producer<T> {
    parts: Parts<T>,
    /// What is written; the other side sees it up to its own counter.
    written: u32,
    published: u32,
    /// The consumer's counter when it was looked at last.
    consumed: u32,
}

impl<T: Copy> Producer<T> {
    /// # Safety
    /// All parts stay mapped until the ring is dropped, and nobody else produces.
    pub(super) unsafe fn new(parts: Parts<T>) -> Producer<T> {
        let written = parts.atomic(parts.producer).load(Ordering::Relaxed);
        let consumed = parts.atomic(parts.consumer).load(Ordering::Acquire);
        Producer { parts, written, published: written, consumed }
    }

    /// Entries that may be written. Looks at the consumer only when fewer than `wanted` are known.
    pub(super) fn room(&mut self, wanted: u32) -> u32 {
        if self.known_room() < wanted {
            self.consumed = self.parts.atomic(self.parts.consumer).load(Ordering::Acquire);
        }
        self.known_room()
    }

    fn known_room(&self) -> u32 {
        self.parts.count.saturating_sub(self.written.wrapping_sub(self.consumed))
    }

    /// Writes an entry; it is seen after [`Producer::publish`]. `false` if the ring is full.
    pub(super) fn push(&mut self, entry: T) -> bool {
        if self.room(1) == 0 {
            return false;
        }
        // SAFETY: the entry is free: the consumer has passed it and this side hasn't published it.
        unsafe { self.parts.entry(self.written).write(entry) };
        self.written = self.written.wrapping_add(1);
        true
    }

    /// Lets the other side see what was written. Returns how many entries that were.
    pub(super) fn publish(&mut self) -> u32 {
        let new = self.written.wrapping_sub(self.published);
        if new > 0 {
            self.parts.atomic(self.parts.producer).store(self.written, Ordering::Release);
            self.published = self.written;
        }
        new
    }

    /// Entries that the consumer has not taken.
    pub(super) fn outstanding(&mut self) -> u32 {
        self.consumed = self.parts.atomic(self.parts.consumer).load(Ordering::Acquire);
        self.written.wrapping_sub(self.consumed)
    }

    pub(super) fn needs_wakeup(&self) -> bool {
        self.parts.needs_wakeup()
    }
}

/// The side that reads: receive and completion rings.
#[derive(Debug)]
pub(super) struct Consumer<T> {
    parts: Parts<T>,
    /// What was read; the other side may write again up to its own counter.
    read: u32,
    released: u32,
    /// The producer's counter when it was looked at last.
    produced: u32,
}

impl<T: Copy> Consumer<T> {
    /// # Safety
    /// All parts stay mapped until the ring is dropped, and nobody else consumes.
    pub(super) unsafe fn new(parts: Parts<T>) -> Consumer<T> {
        let read = parts.atomic(parts.consumer).load(Ordering::Relaxed);
        let produced = parts.atomic(parts.producer).load(Ordering::Acquire);
        Consumer { parts, read, released: read, produced }
    }

    /// The next entry. Looks at the producer only when all that it knows of is read.
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: the producer published the entry and doesn't touch it before it is released.
        let entry = unsafe { self.parts.entry(self.read).read() };
        self.read = self.read.wrapping_add(1);
        Some(entry)
    }

    pub(super) fn is_empty(&mut self) -> bool {
        if self.read == self.produced {
            self.produced = self.parts.atomic(self.parts.producer).load(Ordering::Acquire);
        }
        self.read == self.produced
    }

    /// Gives what was read back to the producer.
    pub(super) fn release(&mut self) {
        if self.read != self.released {
            self.parts.atomic(self.parts.consumer).store(self.read, Ordering::Release);
            self.released = self.read;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const COUNT: u32 = 8;

    /// A ring in plain memory.
    struct Memory {
        counters: [AtomicU32; 3],
        entries: [u64; COUNT as usize],
    }

    impl Memory {
        fn starting_at(counter: u32) -> Box<Memory> {
            let counters = [AtomicU32::new(counter), AtomicU32::new(counter), AtomicU32::new(0)];
            Box::new(Memory { counters, entries: [0; COUNT as usize] })
        }

        fn parts(&mut self) -> Parts<u64> {
            let entries = NonNull::from(&mut self.entries).cast();
            let [producer, consumer, flags] = self.counters.each_ref().map(NonNull::from);
            Parts { producer, consumer, flags, entries, count: COUNT }
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Push,
        Publish,
        Pop,
        Release,
    }

    /// The model: what is written and unseen, what is seen and unread, what is read and unreleased.
    #[derive(Default)]
    struct Oracle {
        unseen: VecDeque<u64>,
        seen: VecDeque<u64>,
        unreleased: usize,
    }

    impl Oracle {
        fn is_full(&self) -> bool {
            self.unseen.len() + self.seen.len() + self.unreleased == COUNT as usize
        }
    }

    proptest! {
        #[test]
        fn both_ends_do_what_a_queue_does(
            start in prop_oneof![Just(0), Just(u32::MAX - 3), any::<u32>()],
            steps in proptest::collection::vec(
                prop_oneof![
                    3 => Just(Step::Push),
                    2 => Just(Step::Publish),
                    3 => Just(Step::Pop),
                    2 => Just(Step::Release),
                ],
                0..400,
            ),
        ) {
            let mut memory = Memory::starting_at(start);
            let parts = memory.parts();
            // SAFETY: the memory outlives both ends, each of which there is once.
            let (mut producer, mut consumer) =
                unsafe { (Producer::new(parts), Consumer::new(parts)) };
            let mut oracle = Oracle::default();
            for (number, step) in (0..).zip(steps) {
                match step {
                    Step::Push => {
                        let full = oracle.is_full();
                        prop_assert_eq!(producer.push(number), !full);
                        if !full {
                            oracle.unseen.push_back(number);
                        }
                    }
                    Step::Publish => {
                        prop_assert_eq!(producer.publish() as usize, oracle.unseen.len());
                        oracle.seen.append(&mut oracle.unseen);
                    }
                    Step::Pop => {
                        let expected = oracle.seen.pop_front();
                        oracle.unreleased += usize::from(expected.is_some());
                        prop_assert_eq!(consumer.pop(), expected);
                    }
                    Step::Release => {
                        consumer.release();
                        oracle.unreleased = 0;
                    }
                }
                let taken = oracle.unseen.len() + oracle.seen.len() + oracle.unreleased;
                prop_assert_eq!(producer.outstanding() as usize, taken);
                prop_assert_eq!(consumer.is_empty(), oracle.seen.is_empty());
            }
        }
    }

    #[test]
    fn the_wakeup_flag_is_read() {
        let mut memory = Memory::starting_at(0);
        // SAFETY: as above.
        let producer = unsafe { Producer::new(memory.parts()) };
        assert!(!producer.needs_wakeup());
        memory.counters[2].store(libc::XDP_RING_NEED_WAKEUP, Ordering::Relaxed);
        assert!(producer.needs_wakeup());
    }
}
