//! One queue of one interface: an AF_XDP socket with its memory, received from and sent to in
//! batches.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::config::{XskInterface, ZeroCopy};
use super::socket::{FRAMES, Place, RING, XskSocket};
use super::umem::{Umem, frame_size};
use crate::error::Error;
use crate::limits;

/// Bytes of locked memory beside the frames: rings.
const RING_BYTES: u64 = 1 << 20;

/// System calls in a row to empty the transmit ring. Each takes at least 32 frames in copy mode.
const WAKES_MAX: u32 = RING / 32;

/// See the module.
#[derive(Debug)]
pub(super) struct Channel {
    /// Before the memory, so that it is closed first.
    socket: XskSocket,
    umem: Umem,
    pub(super) queue: u32,
    pub(super) zero_copy: bool,
    /// Received frames that wait to be given back to the kernel.
    spent: Vec<u64>,
}

/// A received frame. Its bytes are valid until it is given back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    address: u64,
    len: u32,
}

impl Channel {
    /// Opens the queue. A note says why it is slower than was hoped.
    pub(super) fn open(
        interface: &XskInterface,
        queue: u32,
        mtu: u32,
        zero_copy: ZeroCopy,
        busy_poll: Duration,
    ) -> Result<(Channel, Option<String>), Error> {
        let Some(size) = frame_size(mtu) else {
            return Err(Error::XskMtu { interface: interface.name.clone(), mtu });
        };
        let place = Place { name: &interface.name, interface: interface.index, queue };
        let attempt = |mode, zero_copy| {
            let bytes = FRAMES as usize * size;
            let locked = limits::locked_memory()?.soft;
            // Best effort: with CAP_IPC_LOCK the limit doesn't count, without it the registration
            // says what is missing.
            let _ = limits::raise_locked_memory(locked.max(bytes as u64 + RING_BYTES));
            let umem = Umem::map(FRAMES, size)
                .map_err(|source| Error::Os { what: "map AF_XDP frames", source })?;
            let socket = XskSocket::open(&umem, place, mode)?;
            Ok(Channel { socket, umem, queue, zero_copy, spent: Vec::with_capacity(RING as usize) })
        };
        let (mut channel, mut note) = match zero_copy {
            ZeroCopy::On => (attempt(libc::XDP_ZEROCOPY, true)?, None),
            ZeroCopy::Off => (attempt(libc::XDP_COPY, false)?, None),
            ZeroCopy::Auto => match attempt(libc::XDP_ZEROCOPY, true) {
                Ok(channel) => (channel, None),
                Err(Error::Xsk { step: "bind", source, .. }) => {
                    let note = format!(
                        "{} queue {queue}: frames are copied, its driver has no zero-copy \
                         ({source})",
                        interface.name
                    );
                    (attempt(libc::XDP_COPY, false)?, Some(note))
                }
                Err(error) => return Err(error),
            },
        };
        if !busy_poll.is_zero()
            && let Err(error) = channel.socket.busy_poll(busy_poll)
        {
            let name = &interface.name;
            note = Some(format!("{name} queue {queue}: no busy polling: {error}"));
        }
        channel.fill_at_first();
        Ok((channel, note))
    }

    fn fill_at_first(&mut self) {
        for _ in 0..RING {
            if let Some(frame) = self.umem.take() {
                let address = self.umem.address(frame);
                self.spent.push(address);
            }
        }
        self.refill();
    }

    /// True if frames wait to be received.
    pub(super) fn has_frames(&mut self) -> bool {
        !self.socket.receive.is_empty()
    }

    /// The next received frame, which must be given back by [`Channel::give_back`].
    #[inline]
    pub(super) fn receive(&mut self) -> Option<Received> {
        let entry = self.socket.receive.pop()?;
        Some(Received { address: entry.addr, len: entry.len })
    }

    /// The bytes of a frame that was received and not given back.
    #[inline]
    pub(super) fn bytes(&self, frame: Received) -> &[u8] {
        // SAFETY: frames come from the receive ring and return to the kernel in `refill` only,
        // which takes `self` mutably; this backend never writes to a frame that it received.
        unsafe { self.umem.received(frame.address, frame.len) }.unwrap_or_default()
    }

    #[inline]
    pub(super) fn give_back(&mut self, frame: Received) {
        self.spent.push(frame.address);
    }

    /// Gives everything that was received back to the kernel, at the end of a batch.
    pub(super) fn refill(&mut self) {
        self.socket.receive.release();
        // As many frames as the ring has entries circulate, so there is room for all.
        while let Some(address) = self.spent.pop() {
            let frame = address & !(self.umem.frame_size() as u64 - 1);
            if !self.socket.fill.push(frame) {
                self.spent.push(address);
                break;
            }
        }
        if self.socket.fill.publish() > 0 && self.socket.fill.needs_wakeup() {
            self.socket.wake_receive();
        }
    }

    /// Puts one frame into the transmit ring; `write` fills it and returns its length. `Ok(false)`
    /// if `write` has nothing to send.
    #[inline]
    pub(super) fn send(
        &mut self,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Result<bool, Full> {
        if self.umem.free_frames() == 0 || self.socket.transmit.room(1) == 0 {
            self.reap();
            if self.umem.free_frames() == 0 || self.socket.transmit.room(1) == 0 {
                // The kernel hasn't been told of this turn's frames yet.
                self.flush();
                if self.socket.transmit.room(1) == 0 {
                    return Err(Full);
                }
            }
        }
        let frame = self.umem.take().ok_or(Full)?;
        let addr = self.umem.address(frame);
        // SAFETY: the frame was just taken from the free list.
        let bytes = unsafe { self.umem.writable(frame) };
        let Some(len) = write(bytes) else {
            self.umem.free(addr);
            return Ok(false);
        };
        self.socket.transmit.push(libc::xdp_desc { addr, len: len as u32, options: 0 });
        Ok(true)
    }

    /// Hands everything that was put into the transmit ring to the kernel, and takes back what is
    /// sent.
    pub(super) fn flush(&mut self) {
        if self.socket.transmit.publish() > 0 || self.socket.transmit.outstanding() > 0 {
            // In copy mode a call takes a limited number of frames and asks for another one.
            for _ in 0..WAKES_MAX {
                if !self.socket.transmit.needs_wakeup() {
                    break;
                }
                let again = matches!(
                    self.socket.wake_transmit(),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock
                );
                if !again || self.socket.transmit.outstanding() == 0 {
                    break;
                }
            }
        }
        self.reap();
    }

    /// Frames that the kernel has not taken out of the transmit ring.
    pub(super) fn unsent(&mut self) -> u32 {
        self.socket.transmit.outstanding()
    }

    fn reap(&mut self) {
        while let Some(address) = self.socket.completed.pop() {
            self.umem.free(address);
        }
        self.socket.completed.release();
    }

    /// Frames that the kernel dropped on their way here.
    pub(super) fn dropped(&self) -> u64 {
        self.socket.dropped()
    }
}

/// The transmit ring or the memory is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
