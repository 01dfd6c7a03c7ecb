//! `bpf(2)` on maps. The kernel takes map operations from any thread, so these functions need a
//! file descriptor and no lock; aya's typed maps want `&mut` for every write.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

const MAP_LOOKUP_ELEM: libc::c_int = 1;
const MAP_UPDATE_ELEM: libc::c_int = 2;
const MAP_DELETE_ELEM: libc::c_int = 3;
const PROG_LOAD: libc::c_int = 5;
const OBJ_GET: libc::c_int = 7;
const PROG_TEST_RUN: libc::c_int = 10;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;

/// `union bpf_attr` for element operations.
#[repr(C)]
#[derive(Default)]
struct ElementAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct PathAttr {
    pathname: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
struct InfoAttr {
    fd: u32,
    len: u32,
    info: u64,
}

/// The beginning of what loads a program.
#[repr(C)]
struct ProgramAttr {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
}

#[repr(C)]
struct RunAttr {
    program: u32,
    returned: u32,
    len_in: u32,
    len_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration_ns: u32,
}

/// The beginning of `struct bpf_map_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MapInfo {
    pub(crate) kind: u32,
    pub(crate) id: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
}

/// Fills `value`, whose length must be that of the map's value (times the CPUs, each rounded up to
/// 8 bytes, for a per-CPU map). False if there is no such key.
pub(crate) fn lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    found(element(MAP_LOOKUP_ELEM, map, key, value.as_mut_ptr(), 0))
}

/// Removes an element. False if there is no such key.
pub(crate) fn remove(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<bool> {
    found(element(MAP_DELETE_ELEM, map, key, std::ptr::null_mut(), 0))
}

/// Writes an element.
pub(crate) fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8], flags: u64) -> io::Result<()> {
    element(MAP_UPDATE_ELEM, map, key, value.as_ptr().cast_mut(), flags).map(drop)
}

/// Opens what is pinned at `path`.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = PathAttr { pathname: address(path.as_ptr()), fd: 0, flags: 0 };
    // SAFETY: the path outlives the call.
    let fd = unsafe { bpf(OBJ_GET, &mut attr) }?;
    // SAFETY: the kernel has just given us this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// An XDP program that lets every packet pass and does nothing else: what remains of a measurement
/// when nothing is measured.
#[derive(Debug)]
pub(crate) struct EmptyXdp(OwnedFd);

impl EmptyXdp {
    pub(crate) fn load() -> io::Result<Self> {
        const XDP: u32 = 6;
        /// `r0 = XDP_PASS; exit` (RFC 9669).
        static CODE: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];
        let mut attr = ProgramAttr {
            kind: XDP,
            instructions: CODE.len() as u32,
            code: address(CODE.as_ptr()),
            license: address(c"Dual MIT/GPL".as_ptr()),
            log_level: 0,
            log_size: 0,
            log: 0,
        };
        // SAFETY: code and licence are static. aya loads programs from objects only.
        let fd = unsafe { bpf(PROG_LOAD, &mut attr) }?;
        // SAFETY: the kernel has just given us this descriptor and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
    }

    /// Mean nanoseconds of `repeat` runs on a frame.
    pub(crate) fn run(&self, frame: &[u8], repeat: u32) -> io::Result<u32> {
        let mut attr = RunAttr {
            program: raw(self.0.as_fd()),
            returned: 0,
            len_in: frame.len() as u32,
            len_out: 0,
            data_in: address(frame.as_ptr()),
            data_out: 0,
            repeat,
            duration_ns: 0,
        };
        // SAFETY: the frame is live and as long as said; nothing is written to memory but `attr`.
        unsafe { bpf(PROG_TEST_RUN, &mut attr) }?;
        Ok(attr.duration_ns)
    }
}

/// Type and shape of a map.
pub(crate) fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    let mut info = MapInfo::default();
    let mut attr =
        InfoAttr { fd: raw(map), len: size_of::<MapInfo>() as u32, info: address(&raw mut info) };
    // SAFETY: the kernel writes at most `len` bytes, the size of `info`.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info)
}

fn element(
    command: libc::c_int,
    map: BorrowedFd<'_>,
    key: &[u8],
    value: *mut u8,
    flags: u64,
) -> io::Result<libc::c_long> {
    let mut attr = ElementAttr {
        map_fd: raw(map),
        pad: 0,
        key: address(key.as_ptr()),
        value: address(value),
        flags,
    };
    // SAFETY: key and value are live buffers of the map's sizes, which `maps::Map` has checked
    // against the kernel when it opened the map; a deletion takes no value.
    unsafe { bpf(command, &mut attr) }
}

fn found(result: io::Result<libc::c_long>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    // A borrowed descriptor is never negative.
    fd.as_raw_fd().cast_unsigned()
}

fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance() as u64
}

/// # Safety
/// `attr` is the prefix of `union bpf_attr` that belongs to `command`, and its addresses are those
/// of live buffers as large as the command wants.
unsafe fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the caller's promise; the size tells the kernel how much of the union is there, and
    // it takes the rest as zero.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
