//! A file as an array of atomic words.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

/// A shared, writable mapping of the first `words * 8` bytes of a file.
#[derive(Debug)]
pub(super) struct Map {
    /// Start of the mapping; page aligned, valid for `words` words until drop.
    base: NonNull<AtomicU64>,
    words: usize,
    /// Keeps the lock on the file (see `LedgerWriter::create`) as long as the mapping lives.
    file: File,
}

// SAFETY: the mapping is only reached as `&AtomicU64`, which any thread may share, and unmapping
// needs the exclusive access of drop. A raw pointer field would otherwise forbid both.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Maps `words` words. The file must be at least that long and must stay so: a shorter file
    /// is a SIGBUS at the first access, which is why the files are private to the user (0600).
    pub(super) fn new(file: File, words: usize) -> io::Result<Map> {
        let length = words * 8;
        // SAFETY: a fresh shared mapping at an address of the kernel's choice aliases no Rust
        // object. The standard library can't map files.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).expect("mmap never maps page zero here");
        Ok(Map { base, words, file })
    }

    /// A word of the file. Panics outside the mapping: an index is computed from a slot number
    /// that was checked.
    pub(super) fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.words, "word {index} of {}", self.words);
        // SAFETY: within the mapping, aligned (the base is page aligned), and every process that
        // maps the file only ever touches it as atomics. Mapped memory has no safe reference.
        unsafe { self.base.add(index).as_ref() }
    }

    /// `N` consecutive words from `index`.
    pub(super) fn words<const N: usize>(&self, index: usize) -> &[AtomicU64; N] {
        assert!(index + N <= self.words, "words {index}+{N} of {}", self.words);
        // SAFETY: as in `word`, for all N.
        unsafe { self.base.add(index).cast::<[AtomicU64; N]>().as_ref() }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: base and length are those of the mapping, and no reference into it outlives
        // `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.words * 8) };
    }
}
