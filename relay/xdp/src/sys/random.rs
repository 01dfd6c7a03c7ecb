//! Randomness of the kernel.

use std::io;

/// A random number.
pub(crate) fn u32() -> io::Result<u32> {
    let mut bytes = [0u8; 4];
    // SAFETY: the buffer is live and as long as said. std has no random bytes.
    let len = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if len != bytes.len() as isize {
        return Err(io::Error::last_os_error());
    }
    Ok(u32::from_ne_bytes(bytes))
}
