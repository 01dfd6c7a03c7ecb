//! Thin wrappers over system calls that neither the standard library nor socket2 offer.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sets a socket option from a plain C structure.
///
/// # Safety
/// Pointers inside `value` must be valid for what the option makes the kernel do with them.
pub(crate) unsafe fn set_option<T: Copy>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: `value` is readable for its size; what it points to is the caller's promise.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const *value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets an integer socket option.
pub(crate) fn set_int(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: an integer holds no pointers.
    unsafe { set_option(socket, level, name, &value) }
}

/// Reads an integer socket option.
pub(crate) fn get_int(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: `value` is writable for `len` bytes and `len` for its own size.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut len)
    };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// Takes the count of an eventfd.
pub(crate) fn read_counter(event: BorrowedFd<'_>) -> io::Result<u64> {
    let mut value = [0u8; 8];
    // SAFETY: the buffer has the 8 bytes that an eventfd writes.
    let got = unsafe { libc::read(event.as_raw_fd(), value.as_mut_ptr().cast(), value.len()) };
    if got == 8 { Ok(u64::from_ne_bytes(value)) } else { Err(io::Error::last_os_error()) }
}

/// Adds 1 to an eventfd.
pub(crate) fn write_counter(event: BorrowedFd<'_>) -> io::Result<()> {
    let value = 1u64.to_ne_bytes();
    // SAFETY: the buffer has the 8 bytes that an eventfd reads.
    let put = unsafe { libc::write(event.as_raw_fd(), value.as_ptr().cast(), value.len()) };
    if put == 8 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
