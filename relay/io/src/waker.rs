//! Ends a worker's wait from another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;

/// Wakes one worker: its current wait, or the next one, ends at once. Wakes that come before the
/// worker has noticed the first are one wake. Cheap to clone; any thread may call [`Waker::wake`].
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// An eventfd in blocking mode: io_uring waits for it only if the descriptor may block, and a
    /// write can't block because `pending` keeps the count at 1.
    event: OwnedFd,
    /// Set by the first wake, cleared by the worker before it looks at its queues, so that a wake
    /// after the look is never swallowed.
    pending: AtomicBool,
}

impl Waker {
    /// A waker for one worker; hand it to [`crate::Backend::open`].
    pub fn new() -> Result<Waker, Error> {
        // SAFETY: no pointers are passed. The standard library has no eventfd.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(Error::last_os("eventfd"));
        }
        // SAFETY: `fd` was just created and nothing else owns it.
        let event = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Waker { shared: Arc::new(Shared { event, pending: AtomicBool::new(false) }) })
    }

    /// Wakes the worker. Costs one atomic operation if it is about to wake up anyway.
    pub fn wake(&self) {
        if !self.shared.pending.swap(true, Ordering::AcqRel) {
            self.write();
        }
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }

    /// The worker has taken the event; from here on a wake is a new one.
    pub(crate) fn acknowledge(&self) {
        self.shared.pending.swap(false, Ordering::AcqRel);
    }

    /// Takes the event, for a backend that has seen the descriptor readable.
    pub(crate) fn drain(&self) -> io::Result<()> {
        crate::sys::read_counter(self.descriptor())?;
        self.acknowledge();
        Ok(())
    }

    fn write(&self) {
        // The only failures are a bad descriptor and an overflow; `pending` rules out both.
        let written = crate::sys::write_counter(self.descriptor());
        debug_assert!(written.is_ok(), "eventfd write: {written:?}");
    }
}
