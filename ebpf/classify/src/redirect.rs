//! Which packets an AF_XDP socket may take. Whatever is in doubt goes to the kernel, whose sockets
//! are there in any case.

use weir_abi::{Config, Steering, XSK_INTERFACES_MAX, XSK_QUEUES_MAX, XskOwner};

use crate::{Classified, Frame};

/// Can user space take this frame without being a network stack: plain UDP, and short enough for
/// a UMEM frame? The caller has to see to it that it is in one piece.
#[inline(always)]
pub fn fits_xsk(frame: &impl Frame, classified: &Classified, config: &Config) -> bool {
    classified.plain_payload != 0 && frame.frame_len() <= config.redirect_len_max
}

/// Row of the socket of a receive queue, if it may have one. A socket takes packets of its own
/// queue only.
#[inline(always)]
pub fn xsk_row(config: &Config, if_index: u32, queue: u32) -> Option<u32> {
    if queue >= XSK_QUEUES_MAX {
        return None;
    }
    for slot in 0..XSK_INTERFACES_MAX {
        if config.interfaces[slot] == if_index {
            return Some(slot as u32 * XSK_QUEUES_MAX + queue);
        }
    }
    None
}

/// Is the worker that [`steer`](crate::steer) has found the one whose socket this is? If not, the
/// packet passes, and the reuseport program finds the worker's kernel socket.
#[inline(always)]
pub fn is_owner(owner: &XskOwner, (steering, worker): (Steering, u32)) -> bool {
    !matches!(steering, Steering::Fallback) && owner.worker_plus_one == worker + 1
}

/// The UDP payload of a plain datagram.
#[derive(Debug)]
pub struct Payload<'a, F> {
    frame: &'a F,
    offset: u32,
    len: u32,
}

impl<'a, F: Frame> Payload<'a, F> {
    /// Of what `classified` says about `frame`.
    #[inline(always)]
    pub fn new(frame: &'a F, classified: &Classified) -> Self {
        Self { frame, offset: classified.plain_payload, len: classified.payload_len }
    }
}

impl<F: Frame> Frame for Payload<'_, F> {
    #[inline(always)]
    fn frame_len(&self) -> u32 {
        self.len
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        // Behind the datagram the frame may go on with padding.
        if offset + N as u32 > self.len {
            return None;
        }
        self.frame.read(self.offset + offset)
    }
}
