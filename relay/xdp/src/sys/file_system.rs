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
