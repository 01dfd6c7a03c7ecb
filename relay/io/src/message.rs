//! One `sendmsg`: a train of UDP datagrams, or a single one.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::{mem, ptr};

use weir_core::port::{EcnCodepoint, MAX_TRAIN_SEGMENTS, Transmit};

use crate::addr::RawAddress;
use crate::cmsg::Control;

/// How a payload is to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Train {
    /// `None` on a connected socket.
    pub(crate) destination: Option<SocketAddr>,
    pub(crate) source: Option<IpAddr>,
    pub(crate) ecn: Option<EcnCodepoint>,
    /// Bytes of every datagram but the last. 0 for a single one.
    pub(crate) segment_size: usize,
}

impl Train {
    /// A client-facing train of `bytes`.
    pub(crate) fn to_client(transmit: &Transmit, bytes: usize) -> Train {
        Train {
            destination: Some(transmit.destination),
            source: transmit.src_ip,
            ecn: transmit.ecn,
            segment_size: transmit.segment_size.filter(|&size| size < bytes).unwrap_or(0),
        }
    }

    /// A train of `bytes` on a connected socket.
    pub(crate) fn to_target(segment_size: usize, bytes: usize) -> Train {
        let segment_size = if segment_size < bytes { segment_size } else { 0 };
        Train { destination: None, source: None, ecn: None, segment_size }
    }

    /// Datagrams that `bytes` make.
    pub(crate) fn datagrams(&self, bytes: usize) -> usize {
        if self.segment_size == 0 { 1 } else { bytes.div_ceil(self.segment_size) }
    }

    /// True if `bytes` are several datagrams.
    pub(crate) fn is_many(&self) -> bool {
        self.segment_size != 0
    }

    /// True if the kernel can cut `bytes` into the datagrams.
    pub(crate) fn fits_offload(&self, bytes: usize) -> bool {
        self.segment_size <= usize::from(u16::MAX) && self.datagrams(bytes) <= MAX_TRAIN_SEGMENTS
    }

    /// The datagrams one by one.
    pub(crate) fn singles<'a>(&self, payload: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let size = if self.segment_size == 0 { payload.len() } else { self.segment_size };
        // An empty payload is one empty datagram, which `chunks` would leave out.
        let empty = payload.is_empty().then_some(payload);
        payload.chunks(size.max(1)).chain(empty)
    }
}

/// What the kernel reads of a `sendmsg`, all in one place.
///
/// `header` points to the three fields behind it and to a payload elsewhere, from
/// [`Message::point_at`] on until the kernel is done: in that time the message must not move and
/// the payload must not be freed, moved or written.
#[derive(Debug)]
pub(crate) struct Message {
    header: libc::msghdr,
    payload: libc::iovec,
    control: Control,
    name: RawAddress,
}

impl Message {
    pub(crate) fn new() -> Message {
        Message {
            // SAFETY: all zero is a valid msghdr: no pointers, no lengths. It has padding fields
            // on some C libraries, so it can't be written out.
            header: unsafe { mem::zeroed() },
            payload: libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 },
            control: Control::EMPTY,
            name: RawAddress::EMPTY,
        }
    }

    /// Says where to send and how; `offload` lets the kernel cut the payload.
    pub(crate) fn describe(&mut self, train: &Train, offload: bool) {
        self.name = train.destination.map_or(RawAddress::EMPTY, RawAddress::new);
        self.control = Control::EMPTY;
        if let Some(source) = train.source {
            self.control.source(source);
        }
        if let (Some(ecn), Some(to)) = (train.ecn, train.destination) {
            self.control.ecn(to.is_ipv4(), ecn);
        }
        if offload && train.is_many() {
            self.control.segment_size(train.segment_size as u16);
        }
    }

    /// Points the header at its parts and at `payload`. See the type for how long that must hold.
    pub(crate) fn point_at(&mut self, payload: &[u8]) -> *const libc::msghdr {
        self.payload.iov_base = payload.as_ptr().cast_mut().cast();
        self.payload.iov_len = payload.len();
        let header = &mut self.header;
        header.msg_iov = &raw mut self.payload;
        header.msg_iovlen = 1;
        header.msg_namelen = self.name.len();
        header.msg_name = match self.name.len() {
            0 => ptr::null_mut(),
            _ => self.name.as_ptr().cast_mut().cast(),
        };
        header.msg_controllen = self.control.len() as _;
        header.msg_control = match self.control.len() {
            0 => ptr::null_mut(),
            _ => self.control.as_ptr().cast_mut().cast(),
        };
        &raw const self.header
    }

    /// Sends now, without waiting for room. The error is an `errno`.
    pub(crate) fn send(&mut self, socket: BorrowedFd<'_>, payload: &[u8]) -> Result<usize, i32> {
        let header = self.point_at(payload);
        // SAFETY: `header` and all that it points to live until the call returns, and the kernel
        // only reads. socket2 would build the control buffer anew for each call.
        let sent = unsafe {
            libc::sendmsg(socket.as_raw_fd(), header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
        };
        usize::try_from(sent).map_err(|_| errno())
    }
}

/// The error of the last system call.
pub(crate) fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}
