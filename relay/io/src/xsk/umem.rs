//! The memory that one AF_XDP socket shares with the kernel: equal frames, each at any time owned
//! by exactly one of the free list, the kernel (through the fill or transmit ring) and this worker
//! (between a receive and the next fill).

use std::io;
use std::ptr::NonNull;
use std::slice;

/// Headroom that the kernel keeps before a received frame (XDP_PACKET_HEADROOM).
const HEADROOM: usize = 256;

/// Bytes of a frame by MTU: the kernel wants a power of two from 2048 to a page.
pub(super) fn frame_size(mtu: u32) -> Option<usize> {
    // The Ethernet header and a VLAN tag come on top of the MTU.
    let needed = mtu as usize + 18 + HEADROOM;
    [2_048, 4_096].into_iter().find(|&size| needed <= size)
}

/// A mapping of whole frames.
#[derive(Debug)]
pub(super) struct Umem {
    start: NonNull<u8>,
    frame_size: usize,
    frames: u32,
    /// Frames to send from; last in, first out, so that few are in use and stay in the cache.
    free: Vec<u32>,
}

impl Umem {
    /// Maps `frames` frames of `frame_size` bytes (a power of two). All are free.
    pub(super) fn map(frames: u32, frame_size: usize) -> io::Result<Umem> {
        let len = frames as usize * frame_size;
        // SAFETY: a new anonymous mapping, placed by the kernel. The standard library allocates
        // nothing that is aligned to pages and never moved.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Umem { start, frame_size, frames, free: (0..frames).rev().collect() })
    }

    pub(super) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub(super) fn len(&self) -> usize {
        self.frames as usize * self.frame_size
    }

    pub(super) fn frame_size(&self) -> usize {
        self.frame_size
    }

    /// Takes a free frame, which is then the caller's until it is freed.
    pub(super) fn take(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// Frees the frame that an address lies in, as the completion ring reports it. An address
    /// outside of the memory is refused.
    pub(super) fn free(&mut self, address: u64) -> bool {
        match self.frame_of(address) {
            Some(frame) if self.free.len() < self.frames as usize => {
                self.free.push(frame);
                true
            }
            _ => false,
        }
    }

    pub(super) fn free_frames(&self) -> usize {
        self.free.len()
    }

    /// The offset of a frame's first byte.
    pub(super) fn address(&self, frame: u32) -> u64 {
        u64::from(frame) * self.frame_size as u64
    }

    fn frame_of(&self, address: u64) -> Option<u32> {
        let frame = u32::try_from(address / self.frame_size as u64).ok()?;
        (frame < self.frames).then_some(frame)
    }

    /// What the kernel wrote. `None` if it isn't within one frame.
    ///
    /// # Safety
    /// The frame was received and has not been given back since; nobody writes to it while the
    /// slice is in use.
    pub(super) unsafe fn received(&self, address: u64, len: u32) -> Option<&[u8]> {
        let offset = usize::try_from(address).ok()?;
        let within = offset % self.frame_size + len as usize <= self.frame_size;
        if !within || self.frame_of(address).is_none() {
            return None;
        }
        // SAFETY: in bounds, as just compared; the rest is the caller's promise.
        Some(unsafe { slice::from_raw_parts(self.start.as_ptr().add(offset), len as usize) })
    }

    /// A frame to be written, all of it.
    ///
    /// # Safety
    /// The frame was taken and not been handed to the kernel since.
    pub(super) unsafe fn writable(&mut self, frame: u32) -> &mut [u8] {
        debug_assert!(frame < self.frames);
        let offset = self.address(frame) as usize;
        // SAFETY: `take` gives numbers below `frames` only; the rest is the caller's promise.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr().add(offset), self.frame_size) }
    }
}

impl Drop for Umem {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length. A socket that still uses the pages holds them
        // by itself (the kernel pins them), so it can't write into what comes here next.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_follows_the_mtu() {
        assert_eq!(frame_size(1_500), Some(2_048));
        assert_eq!(frame_size(1_774), Some(2_048));
        assert_eq!(frame_size(1_775), Some(4_096));
        assert_eq!(frame_size(3_822), Some(4_096));
        assert_eq!(frame_size(9_000), None);
    }

    #[test]
    fn frames_are_taken_once_and_come_back_warm() {
        let mut umem = Umem::map(4, 2_048).unwrap();
        let taken: Vec<u32> = std::iter::from_fn(|| umem.take()).collect();
        assert_eq!(taken, [0, 1, 2, 3]);
        // SAFETY: the frame was taken.
        let frame = unsafe { umem.writable(2) };
        frame[..4].copy_from_slice(b"weir");
        // SAFETY: nobody writes meanwhile.
        assert_eq!(unsafe { umem.received(2 * 2_048, 4) }.unwrap(), b"weir");
        assert!(umem.free(2 * 2_048 + 700), "anywhere in the frame");
        assert_eq!(umem.take(), Some(2));
        assert!(!umem.free(4 * 2_048), "beyond the memory");
        // SAFETY: as above.
        assert!(unsafe { umem.received(2_048 + 1_000, 1_049) }.is_none(), "across two frames");
    }
}
