//! One AF_XDP socket on one queue: creation, the system calls that wake the kernel, its counters.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};

use super::ring::{Consumer, Parts, Producer};
use super::umem::Umem;
use crate::error::Error;
use crate::{limits, sys};

/// Entries of each of the four rings: a millisecond of 64-byte packets at 1 Gbit/s. The kernel
/// drops what finds the receive ring full.
pub(super) const RING: u32 = 2_048;
/// Frames of one socket: the fill ring's and as many to send from.
pub(super) const FRAMES: u32 = 2 * RING;

/// How long a queue may be taken by a dead process' socket, which the kernel takes down in the
/// background.
const BUSY_PATIENCE: Duration = Duration::from_secs(3);
const BUSY_AGAIN: Duration = Duration::from_millis(50);

/// Bytes of frames that may wait in the network stack in copy mode, where each is a socket buffer.
const SEND_BUFFER_BYTES: c_int = 16 << 20;
/// Frames that one system call may send in copy mode; 32 without the option (Linux 6.16 and later).
const SEND_BUDGET: c_int = 512;
/// Not in the libc crate yet (linux/if_xdp.h).
const XDP_MAX_TX_SKB_BUDGET: c_int = 9;
/// Packets that one busy poll may take.
const BUSY_POLL_BUDGET: c_int = 64;

/// The socket and its rings. The memory outlives it: see `Channel`.
#[derive(Debug)]
pub(super) struct XskSocket {
    pub(super) fill: Producer<u64>,
    pub(super) receive: Consumer<libc::xdp_desc>,
    pub(super) transmit: Producer<libc::xdp_desc>,
    pub(super) completed: Consumer<u64>,
    fd: OwnedFd,
    /// Keep the rings mapped.
    _maps: [Mapping; 4],
}

/// Which queue of which interface, for errors too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) name: &'a str,
    pub(super) interface: u32,
    pub(super) queue: u32,
}

impl XskSocket {
    /// Opens a socket over `umem` and binds it; `mode` is XDP_COPY or XDP_ZEROCOPY.
    pub(super) fn open(umem: &Umem, place: Place<'_>, mode: u16) -> Result<XskSocket, Error> {
        let at = |step: &'static str| move |source| failure(place, step, source);
        // SAFETY: no pointers are passed. socket2 knows the family by number only.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(failure(place, "socket", io::Error::last_os_error()));
        }
        // SAFETY: just created, nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        register(&fd, umem, place)?;
        for name in [
            libc::XDP_UMEM_FILL_RING,
            libc::XDP_UMEM_COMPLETION_RING,
            libc::XDP_RX_RING,
            libc::XDP_TX_RING,
        ] {
            sys::set_int(fd.as_fd(), libc::SOL_XDP, name, RING as c_int).map_err(at("rings"))?;
        }
        let offsets = offsets(&fd).map_err(at("ring offsets"))?;
        let map = |page, offset: &libc::xdp_ring_offset, entry: usize| {
            Mapping::new(&fd, page, offset.desc as usize + RING as usize * entry)
                .map_err(at("map a ring"))
        };
        let desc = size_of::<libc::xdp_desc>();
        let maps = [
            map(libc::XDP_UMEM_PGOFF_FILL_RING as i64, &offsets.fr, 8)?,
            map(libc::XDP_PGOFF_RX_RING, &offsets.rx, desc)?,
            map(libc::XDP_PGOFF_TX_RING, &offsets.tx, desc)?,
            map(libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64, &offsets.cr, 8)?,
        ];
        bind(&fd, place, mode).map_err(at("bind"))?;
        // SAFETY: the mappings are kept as long as the rings, which are made here only; the
        // kernel has the other side of each.
        let socket = unsafe {
            XskSocket {
                fill: Producer::new(maps[0].parts(&offsets.fr)),
                receive: Consumer::new(maps[1].parts(&offsets.rx)),
                transmit: Producer::new(maps[2].parts(&offsets.tx)),
                completed: Consumer::new(maps[3].parts(&offsets.cr)),
                fd,
                _maps: maps,
            }
        };
        socket.tune();
        Ok(socket)
    }

    /// Lets the system calls of this socket poll the driver's queue for so long.
    pub(super) fn busy_poll(&self, time: Duration) -> io::Result<()> {
        let set = |name, value| sys::set_int(self.fd.as_fd(), libc::SOL_SOCKET, name, value);
        let micros = c_int::try_from(time.as_micros()).unwrap_or(c_int::MAX);
        set(libc::SO_PREFER_BUSY_POLL, 1)?;
        set(libc::SO_BUSY_POLL, micros)?;
        set(libc::SO_BUSY_POLL_BUDGET, BUSY_POLL_BUDGET)
    }

    /// Makes the kernel take what is in the transmit ring. `WouldBlock` when it took a part.
    pub(super) fn wake_transmit(&self) -> io::Result<()> {
        // SAFETY: nothing is passed but the descriptor.
        let sent = unsafe {
            libc::sendto(self.fd.as_raw_fd(), ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Makes the driver look at the fill ring.
    pub(super) fn wake_receive(&self) {
        // SAFETY: as above. Its errors say that there is nothing to do.
        unsafe {
            libc::recvfrom(
                self.fd.as_raw_fd(),
                ptr::null_mut(),
                0,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
    }

    /// Frames that the kernel dropped because a ring was full or empty.
    pub(super) fn dropped(&self) -> u64 {
        let mut stats = libc::xdp_statistics {
            rx_dropped: 0,
            rx_invalid_descs: 0,
            tx_invalid_descs: 0,
            rx_ring_full: 0,
            rx_fill_ring_empty_descs: 0,
            tx_ring_empty_descs: 0,
        };
        match get(&self.fd, libc::XDP_STATISTICS, &mut stats) {
            Ok(()) => {
                stats.rx_dropped
                    + stats.rx_ring_full
                    + stats.rx_fill_ring_empty_descs
                    + stats.rx_invalid_descs
            }
            Err(_) => 0,
        }
    }

    /// What only makes it faster, and older kernels refuse.
    fn tune(&self) {
        let fd = self.fd.as_fd();
        let _ = sys::set_int(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, SEND_BUFFER_BYTES);
        let _ = sys::set_int(fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, SEND_BUDGET);
    }
}

impl AsFd for XskSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn register(fd: &OwnedFd, umem: &Umem, place: Place<'_>) -> Result<(), Error> {
    let region = libc::xdp_umem_reg {
        addr: umem.start() as u64,
        len: umem.len() as u64,
        chunk_size: umem.frame_size() as u32,
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    // SAFETY: the region is a live mapping of that length; the kernel pins its pages, so that they
    // outlive the mapping if need be.
    let registered =
        unsafe { sys::set_option(fd.as_fd(), libc::SOL_XDP, libc::XDP_UMEM_REG, &region) };
    registered.map_err(|source| match source.raw_os_error() {
        Some(libc::ENOBUFS | libc::ENOMEM) => Error::XskMemory {
            wanted_bytes: umem.len() as u64,
            limit_bytes: limits::locked_memory().map_or(0, |limit| limit.soft),
        },
        _ => failure(place, "register frames", source),
    })
}

fn bind(fd: &OwnedFd, place: Place<'_>, mode: u16) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: mode | libc::XDP_USE_NEED_WAKEUP,
        sxdp_ifindex: place.interface,
        sxdp_queue_id: place.queue,
        sxdp_shared_umem_fd: 0,
    };
    let deadline = Instant::now() + BUSY_PATIENCE;
    loop {
        // SAFETY: the address is readable for its size.
        let bound = unsafe {
            libc::bind(
                fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        if bound == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EBUSY) || Instant::now() >= deadline {
            return Err(error);
        }
        std::thread::park_timeout(BUSY_AGAIN);
    }
}

fn failure(place: Place<'_>, step: &'static str, source: io::Error) -> Error {
    Error::Xsk { interface: place.name.to_owned(), queue: place.queue, step, source }
}

fn offsets(fd: &OwnedFd) -> io::Result<libc::xdp_mmap_offsets> {
    let none = || libc::xdp_ring_offset { producer: 0, consumer: 0, desc: 0, flags: 0 };
    let mut offsets = libc::xdp_mmap_offsets { rx: none(), tx: none(), fr: none(), cr: none() };
    get(fd, libc::XDP_MMAP_OFFSETS, &mut offsets)?;
    Ok(offsets)
}

/// Reads a structure of plain numbers.
fn get<T: Copy>(fd: &OwnedFd, name: c_int, into: &mut T) -> io::Result<()> {
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `into` is writable for `len` bytes, and any bytes are a value of these structures.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, name, (&raw mut *into).cast(), &raw mut len)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A ring in memory.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(fd: &OwnedFd, page: i64, len: usize) -> io::Result<Mapping> {
        // SAFETY: a new shared mapping of the socket's ring, placed by the kernel.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd.as_raw_fd(),
                page,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { start, len })
    }

    fn parts<T>(&self, offset: &libc::xdp_ring_offset) -> Parts<T> {
        // SAFETY: the kernel named offsets within the ring, all of which is mapped.
        let at = |offset: u64| unsafe { self.start.add(offset as usize) };
        Parts {
            producer: at(offset.producer).cast(),
            consumer: at(offset.consumer).cast(),
            flags: at(offset.flags).cast(),
            entries: at(offset.desc).cast(),
            count: RING,
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; the rings go with the socket that holds this.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
