//! A group of receive buffers that the kernel picks from.

use std::io;
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

/// Buffers that a group starts with. It doubles each time the kernel runs out, up to the cap: a
/// quiet worker cycles through few buffers that stay in the cache.
const START: u16 = 32;

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
    tail: u16,
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
        let mut this =
            BufferGroup { group, base, length, buffers: entries, cap, active: 0, tail: 0 };
        // SAFETY: `base` is page aligned, has room for `cap` entries, and stays mapped until this
        // is dropped, which the owner does after the ring is quiet.
        unsafe { ring.register_buffers(base.as_ptr() as u64, cap, group)? };
        this.grow(START);
        this.publish();
        Ok(this)
    }

    pub(super) fn group(&self) -> u16 {
        self.group
    }

    /// The kernel ran out: hand it as many again as it has, up to the cap.
    pub(super) fn ran_out(&mut self) {
        self.grow(self.active);
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

    /// Hands a buffer back to the kernel, at the next [`BufferGroup::publish`].
    pub(super) fn give_back(&mut self, buffer: u16) {
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

    /// Lets the kernel see what was handed back.
    pub(super) fn publish(&mut self) {
        // SAFETY: `base` is the first entry of a registered ring, whose last field is the tail.
        let tail = unsafe { BufRingEntry::tail(self.base.cast().as_ptr()) };
        // SAFETY: the tail is an aligned u16 in the mapping that the kernel only reads.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: the entries before the tail.
        tail.store(self.tail, Ordering::Release);
    }

    /// Keeps the mapping for ever, for when the kernel may still write to it.
    pub(super) fn leak(&mut self) {
        self.length = 0;
    }

    fn grow(&mut self, by: u16) {
        let until = self.active.saturating_add(by).min(self.cap);
        for buffer in self.active..until {
            self.active = buffer + 1;
            self.give_back(buffer);
        }
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
