//! A level-triggered epoll set.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use weir_core::port::EgressId;

use crate::error::Error;

/// What became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Waker,
    Leg(usize),
    Egress(EgressId),
}

/// What to wait for. Errors and hang-ups are always reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Interest {
    pub(super) read: bool,
    pub(super) write: bool,
}

impl Interest {
    pub(super) const READ: Interest = Interest { read: true, write: false };
    pub(super) const WRITE: Interest = Interest { read: false, write: true };

    fn bits(self) -> u32 {
        let read = if self.read { libc::EPOLLIN } else { 0 };
        let write = if self.write { libc::EPOLLOUT } else { 0 };
        (read | write) as u32
    }
}

/// The epochs of egress sockets end below this one, which marks all other tokens.
const OTHER_EPOCH: u32 = u32::MAX;

pub(super) struct Epoll {
    set: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// At most `events_max` events are taken at a time.
    pub(super) fn new(events_max: usize) -> Result<Epoll, Error> {
        // SAFETY: no pointers are passed. The standard library has no epoll.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(Error::last_os("epoll_create1"));
        }
        // SAFETY: `fd` was just created and nothing else owns it.
        let set = unsafe { OwnedFd::from_raw_fd(fd) };
        let events = vec![libc::epoll_event { events: 0, u64: 0 }; events_max.max(1)];
        Ok(Epoll { set, events })
    }

    pub(super) fn add(
        &self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, interest)
    }

    pub(super) fn change(
        &self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, interest)
    }

    pub(super) fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, Token::Waker, Interest::default())
    }

    /// Waits for events and returns their number; a signal counts as none.
    pub(super) fn wait(&mut self, wait: Option<Duration>) -> io::Result<usize> {
        match self.wait_once(wait) {
            Ok(count) => Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// The token of event `index` of the last wait.
    pub(super) fn token(&self, index: usize) -> Option<Token> {
        let data = self.events.get(index)?.u64;
        let (epoch, index) = ((data >> 32) as u32, data as u32);
        Some(match (epoch, index) {
            (OTHER_EPOCH, 0) => Token::Waker,
            (OTHER_EPOCH, n) => Token::Leg(n as usize - 1),
            _ => Token::Egress(EgressId { index, epoch }),
        })
    }

    /// epoll_pwait2 has nanoseconds; where it is missing (before 5.11, or seccomp), the time is
    /// rounded up to milliseconds so that a deadline is never met early.
    fn wait_once(&mut self, wait: Option<Duration>) -> io::Result<usize> {
        let capacity = i32::try_from(self.events.len()).unwrap_or(i32::MAX);
        let time = wait.map(|wait| libc::timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        });
        let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: `events` has room for `capacity` events, `time` is null or valid, and there is
        // no signal mask. libc has no wrapper for this call on all C libraries.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.set.as_raw_fd(),
                self.events.as_mut_ptr(),
                capacity,
                time,
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        if let Ok(count) = usize::try_from(count) {
            return Ok(count);
        }
        let error = io::Error::last_os_error();
        if !matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) {
            return Err(error);
        }
        let millis = wait.map_or(-1, |wait| {
            i32::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
        });
        // SAFETY: as above.
        let count = unsafe {
            libc::epoll_wait(self.set.as_raw_fd(), self.events.as_mut_ptr(), capacity, millis)
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    fn control(
        &self,
        op: i32,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let (epoch, index) = match token {
            Token::Waker => (OTHER_EPOCH, 0),
            Token::Leg(number) => (OTHER_EPOCH, number as u32 + 1),
            Token::Egress(id) => (id.epoch, id.index),
        };
        let data = u64::from(epoch) << 32 | u64::from(index);
        let mut event = libc::epoll_event { events: interest.bits(), u64: data };
        // SAFETY: `event` is valid and only read; both descriptors are open.
        let result =
            unsafe { libc::epoll_ctl(self.set.as_raw_fd(), op, fd.as_raw_fd(), &raw mut event) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl std::fmt::Debug for Epoll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Epoll").field("set", &self.set).finish_non_exhaustive()
    }
}
