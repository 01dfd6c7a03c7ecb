//! A group of receive buffers that the kernel picks from.

use std::io;
use std::mem;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::ring::Ring;
use crate::addr::ADDRESS_BYTES;
use crate::cmsg::RECEIVE_BYTES;
use weir_core::port::MAX_TRAIN_BYTES;

/// What multishot recvmsg writes before the payload (`struct io_uring_recvmsg_out`).
const PREFIX_BYTES: usize = 16;
/// One buffer: prefix, name, control and the largest train. The 256 bytes beyond 64 KiB make
/// neighbouring buffers start in different cache sets.
pub(super) const BUFFER_BYTES: usize = 65_536 + 256;
const _: () =
    assert!(PREFIX_BYTES + ADDRESS_BYTES + RECEIVE_BYTES + MAX_TRAIN_BYTES <= BUFFER_BYTES);

/// Buffers that a group starts with and comes back to. The kernel takes them in turn, so the more
/// there are in rotation, the colder each is. Their number doubles, up to the cap, when the kernel
/// ran out in a turn that brought less than [`WARM_BYTES`]; it halves when a turn brought twice
/// that, or when a quarter was enough for [`CALM_TURNS`]. So a few are in rotation for trains and
/// many for single datagrams.
const START: u16 = 4;
/// What is received before any of it is read should still be in the second-level cache then, with
/// room for what is sent of it: half of what a turn may bring.
const WARM_BYTES: usize = 256 << 10;
/// Turns after which the need is looked at again: some tens of milliseconds under load.
const CALM_TURNS: u32 = 4096;

/// The buffers of one group, and the ring through which they are handed to the kernel.
#[derive(Debug)]
pub(super) struct BufferGroup {
    group: u16,
    /// One mapping: `cap` entries of 16 bytes, then `cap` buffers from `buffers` on. Pages are
    /// used only when the kernel first writes to them.
    ///
    /// A buffer belongs to the kernel from [`BufferGroup::give_back`] until a completion names
    /// it; in between nothing here reads it. The mapping outlives every operation that selects
    /// from the group: the owner drops it after the ring has gone quiet.
    base: NonNull<u8>,
    length: usize,
    buffers: usize,
    /// A power of two.
    cap: u16,
    /// Buffers ever handed out; those beyond were never used.
    active: u16,
    /// Buffers taken out of rotation, last in, first out.
    spare: Vec<u16>,
    /// Buffers in rotation: with the kernel, or named by a completion that is being handled.
    rotating: u16,
    /// How many should be.
    wanted: u16,
    tail: u16,
    /// This turn: buffers and bytes that came, and whether the kernel ran out.
    used: u16,
    bytes: usize,
    ran_out: bool,
    /// Since the need was last looked at: the most buffers in any turn, and the turns.
    used_max: u16,
    turns: u32,
}

impl BufferGroup {
    /// Maps the buffers and registers the group with a ring that isn't enabled yet.
    pub(super) fn register(ring: &Ring, group: u16, cap: u16) -> io::Result<BufferGroup> {
        let cap = cap.clamp(1, 1 << 14).next_power_of_two();
        let entries = (usize::from(cap) * size_of::<BufRingEntry>()).next_multiple_of(4096);
        let length = entries + usize::from(cap) * BUFFER_BYTES;
        // SAFETY: a fresh anonymous mapping aliases nothing. The allocator can't promise page
        // alignment and pages that are free until touched at once.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>()).expect("mmap never maps page zero here");
        let mut this = BufferGroup {
            group,
            base,
            length,
            buffers: entries,
            cap,
            active: 0,
            spare: Vec::with_capacity(usize::from(cap)),
            rotating: 0,
            wanted: 0,
            tail: 0,
            used: 0,
            bytes: 0,
            ran_out: false,
            used_max: 0,
            turns: 0,
        };
        // SAFETY: `base` is page aligned, has room for `cap` entries, and stays mapped until this
        // is dropped, which the owner does after the ring is quiet.
        unsafe { ring.register_buffers(base.as_ptr() as u64, cap, group)? };
        this.grow(START);
        this.publish_tail();
        Ok(this)
    }

    pub(super) fn group(&self) -> u16 {
        self.group
    }

    /// The kernel ran out of buffers in this turn.
    pub(super) fn ran_out(&mut self) {
        self.ran_out = true;
    }

    /// The first `len` bytes of a buffer that a completion named.
    pub(super) fn received(&self, buffer: u16, len: usize) -> &[u8] {
        let len = len.min(BUFFER_BYTES);
        // SAFETY: within the mapping (`at` checks the number). The completion has moved the
        // buffer from the kernel to us, and the kernel gets it again only in `give_back`, which
        // needs `&mut self`. Anonymous memory is always initialised. There is no safe view of
        // memory that the kernel writes.
        unsafe { slice::from_raw_parts(self.at(buffer), len) }
    }

    /// Takes a buffer back that a completion named and that held `bytes`. The kernel gets it again
    /// at the next [`BufferGroup::publish`], unless there are more than needed.
    pub(super) fn give_back(&mut self, buffer: u16, bytes: usize) {
        self.used = self.used.saturating_add(1);
        self.bytes += bytes;
        if self.rotating > self.wanted {
            self.rotating -= 1;
            self.spare.push(buffer);
        } else {
            self.hand_over(buffer);
        }
    }

    /// Ends a turn: adapts the number of buffers and lets the kernel see what was handed over.
    pub(super) fn publish(&mut self) {
        let bytes = mem::take(&mut self.bytes);
        self.used_max = self.used_max.max(mem::take(&mut self.used));
        self.turns += 1;
        if mem::take(&mut self.ran_out) && bytes < WARM_BYTES {
            self.grow(self.wanted);
        } else if bytes > 2 * WARM_BYTES {
            self.shrink();
        }
        if self.turns == CALM_TURNS {
            if self.used_max < self.wanted / 4 {
                self.shrink();
            }
            self.turns = 0;
            self.used_max = 0;
        }
        self.publish_tail();
    }

    /// Gives the memory of all buffers back to the system; they have it again when they are
    /// written to.
    ///
    /// # Safety
    /// No completion that names a buffer is unhandled: its contents would be lost. What the kernel
    /// has not filled yet has no contents, and it fills buffers only when this thread enters it.
    pub(super) unsafe fn release(&mut self) {
        let bytes = usize::from(self.active) * BUFFER_BYTES;
        // SAFETY: within the mapping, page aligned at its start. Advice has no safe form.
        unsafe {
            libc::madvise(self.base.add(self.buffers).as_ptr().cast(), bytes, libc::MADV_DONTNEED);
        }
    }

    /// Keeps the mapping for ever, for when the kernel may still write to it.
    pub(super) fn leak(&mut self) {
        self.length = 0;
    }

    /// Puts `by` more buffers into rotation: spare ones first, then ones never used.
    fn grow(&mut self, by: u16) {
        self.wanted = self.wanted.saturating_add(by).min(self.cap);
        while self.rotating < self.wanted {
            let buffer = self.spare.pop().unwrap_or_else(|| {
                self.active += 1;
                self.active - 1
            });
            self.rotating += 1;
            self.hand_over(buffer);
        }
    }

    /// Halves what should rotate; the surplus leaves as it comes back.
    fn shrink(&mut self) {
        self.wanted = (self.wanted / 2).max(START.min(self.cap));
    }

    fn hand_over(&mut self, buffer: u16) {
        let address = self.at(buffer) as u64;
        let index = self.tail & (self.cap - 1);
        // SAFETY: the index is below `cap`, so the entry is within the mapping; the kernel reads
        // an entry only when the tail has passed it. Entry 0 overlaps the tail in a field that
        // none of these setters touches.
        let entry =
            unsafe { &mut *self.base.cast::<BufRingEntry>().add(usize::from(index)).as_ptr() };
        entry.set_addr(address);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish_tail(&mut self) {
        // SAFETY: `base` is the first entry of a registered ring, whose last field is the tail.
        let tail = unsafe { BufRingEntry::tail(self.base.cast().as_ptr()) };
        // SAFETY: the tail is an aligned u16 in the mapping that the kernel only reads.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: the entries before the tail.
        tail.store(self.tail, Ordering::Release);
    }

    fn at(&self, buffer: u16) -> *mut u8 {
        assert!(buffer < self.active, "buffer {buffer} of {}", self.active);
        // SAFETY: `active` never exceeds `cap`, and the mapping holds `cap` buffers.
        unsafe { self.base.add(self.buffers + usize::from(buffer) * BUFFER_BYTES).as_ptr() }
    }
}

impl Drop for BufferGroup {
    fn drop(&mut self) {
        if self.length != 0 {
            // SAFETY: base and length are those of the mapping, no slice of it outlives `self`,
            // and no operation that could write to it is in flight (see `base`).
            unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A group without a kernel behind it: registration is tried on a ring that exists only if
    /// io_uring does.
    fn group(cap: u16) -> Option<(Ring, BufferGroup)> {
        let ring = Ring::new(2, 4).ok()?;
        let group = BufferGroup::register(&ring, 0, cap).ok()?;
        Some((ring, group))
    }

    /// One turn that brings `count` buffers of `bytes`, and in which the kernel ran out or not.
    fn turn(group: &mut BufferGroup, count: u16, bytes: usize, ran_out: bool) {
        (0..count).for_each(|buffer| group.give_back(buffer, bytes));
        if ran_out {
            group.ran_out();
        }
        group.publish();
    }

    #[test]
    fn rotation_follows_the_need() {
        let Some((_ring, mut group)) = group(100) else {
            return eprintln!("SKIP: io_uring is refused");
        };
        assert_eq!((group.cap, group.rotating), (128, 4));
        turn(&mut group, 4, 65_000, true);
        assert_eq!(group.wanted, 8, "just below what stays warm");
        turn(&mut group, 8, 65_000, true);
        assert_eq!(group.wanted, 8, "trains are enough for a turn");
        for expected in [16, 32, 64, 128, 128] {
            turn(&mut group, 8, 1200, true);
            assert_eq!((group.rotating, group.wanted), (expected, expected));
        }
        turn(&mut group, 40, 65_000, false);
        assert_eq!(group.wanted, 64, "far more bytes than stay warm");
        for _ in 0..CALM_TURNS {
            turn(&mut group, 30, 1200, false);
        }
        assert_eq!(group.wanted, 64, "still needed");
        for _ in 0..10 * CALM_TURNS {
            turn(&mut group, 1, 1200, false);
        }
        assert_eq!((group.rotating, group.wanted), (4, 4));
        assert_eq!(group.spare.len(), 124);
        turn(&mut group, 4, 1200, true);
        assert_eq!((group.rotating, group.active), (8, 128), "spare buffers come first");
    }

    /// Pages of the buffers that are in memory.
    fn resident(group: &BufferGroup) -> usize {
        let bytes = usize::from(group.cap) * BUFFER_BYTES;
        let mut pages = vec![0u8; bytes.div_ceil(4096)];
        // SAFETY: `pages` has a byte for each page of the range, which is mapped.
        let result = unsafe {
            let start = group.base.add(group.buffers).as_ptr();
            libc::mincore(start.cast(), bytes, pages.as_mut_ptr())
        };
        assert_eq!(result, 0);
        pages.iter().filter(|page| **page & 1 != 0).count()
    }

    #[test]
    fn memory_goes_back_and_comes_again() {
        let Some((_ring, mut group)) = group(16) else {
            return eprintln!("SKIP: io_uring is refused");
        };
        for _ in 0..2 {
            for buffer in 0..4 {
                // SAFETY: the kernel has nothing to write to these buffers.
                unsafe { group.at(buffer).write_bytes(7, 10_000) };
            }
            assert!(resident(&group) >= 8);
            assert_eq!(group.received(3, 10_000), [7; 10_000]);
            // SAFETY: there are no completions.
            unsafe { group.release() };
            assert_eq!(resident(&group), 0);
        }
    }

    #[test]
    fn a_cap_below_the_start_holds() {
        let Some((_ring, group)) = group(2) else {
            return eprintln!("SKIP: io_uring is refused");
        };
        assert_eq!((group.rotating, group.wanted, group.active), (2, 2, 2));
    }
}
