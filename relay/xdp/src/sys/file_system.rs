//! The BPF file system, and locks on its directories.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// linux/magic.h
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// Is `path` on a BPF file system?
pub(crate) fn is_bpf_fs(path: &Path) -> io::Result<bool> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: both pointers are valid for the call, and the kernel fills the whole struct.
    if unsafe { libc::statfs(path.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: statfs succeeded, so the struct is filled.
    let kind = unsafe { stat.assume_init() }.f_type;
    Ok(kind == BPF_FS_MAGIC)
}

/// Mounts one there.
pub(crate) fn mount_bpf_fs(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all strings are terminated and outlive the call; bpf takes no data.
    let result = unsafe {
        libc::mount(c"bpf".as_ptr(), path.as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes an exclusive lock that ends with the process. False if somebody else holds it.
pub(crate) fn try_lock(file: &std::fs::File) -> io::Result<bool> {
    use std::os::fd::AsRawFd as _;
    // SAFETY: flock only takes the descriptor.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock { Ok(false) } else { Err(error) }
}
