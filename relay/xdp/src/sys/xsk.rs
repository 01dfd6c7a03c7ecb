//! AF_XDP sockets, as far as measuring and asking for them goes.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

/// An AF_XDP socket, bound to nothing. Needs CAP_NET_RAW.
pub(crate) fn socket() -> io::Result<OwnedFd> {
    // SAFETY: socket(2) takes no pointers. std has no such sockets.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
