//! The ring itself: creation, submission, waiting.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::time::{Duration, Instant};

use io_uring::register::Restriction;
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};

use super::token::Token;

/// Submission queue entries. A turn sends at most `IoConfig::send_buffers` trains and re-arms what
/// ended; when more comes together, the queue is submitted in between.
const SUBMISSIONS: u32 = 1024;
/// Completion queue entries. Beyond them the kernel keeps completions in its own memory, and
/// multishot receives end.
const COMPLETIONS: u32 = 4096;

/// Every operation that the backend submits; the ring refuses all others.
pub(crate) const OPCODES: [(u8, &str); 8] = [
    (opcode::Read::CODE, "READ"),
    (opcode::RecvMsgMulti::CODE, "RECVMSG"),
    (opcode::SendMsg::CODE, "SENDMSG"),
    (opcode::Recv::CODE, "RECV"),
    (opcode::Send::CODE, "SEND"),
    (opcode::Connect::CODE, "CONNECT"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
];

/// io_uring_register opcodes that remain allowed: letting go of files, and the ring's own
/// descriptor, which can only be registered once the ring is enabled.
const IORING_UNREGISTER_FILES: u8 = 3;
const IORING_REGISTER_RING_FDS: u8 = 20;
const IORING_UNREGISTER_RING_FDS: u8 = 21;

/// Looks at the ring between two readings of the clock while polling.
const LOOKS_PER_CLOCK: usize = 4;

/// One ring, owned by the thread that created it.
pub(crate) struct Ring {
    uring: IoUring,
    /// Operations that have not had their last completion. While it isn't 0 the kernel may access
    /// what they point to.
    in_flight: usize,
    /// System calls so far.
    enters: u64,
    /// The ring's number among the thread's registered rings; saves a lookup per system call.
    registered: Option<u32>,
}

/// A completion, without the ring's types.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) token: Token,
    /// Bytes or 0, or a negative `errno`.
    pub(super) result: i32,
    pub(super) flags: u32,
}

impl Completion {
    /// The operation goes on: more completions follow.
    pub(super) fn more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// The provided buffer that was used.
    pub(super) fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }
}

impl Ring {
    /// Creates a disabled ring; [`Ring::enable`] makes it usable by the calling thread alone.
    pub(crate) fn new(submissions: u32, completions: u32) -> io::Result<Ring> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            // Completions are posted only when this thread asks for them: no interruptions.
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            // Says in shared memory that there are completions to ask for.
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_r_disabled()
            .setup_cqsize(completions)
            .dontfork()
            .build(submissions)?;
        Ok(Ring { uring, in_flight: 0, enters: 0, registered: None })
    }

    /// A ring of the size that a worker needs.
    pub(super) fn for_worker() -> io::Result<Ring> {
        Ring::new(SUBMISSIONS, COMPLETIONS)
    }

    /// Registers files, so that operations on them need no lookup. Their index is their number.
    pub(super) fn register_files(&self, files: &[RawFd]) -> io::Result<()> {
        self.uring.submitter().register_files(files)
    }

    /// Lets go of the registered files.
    pub(super) fn unregister_files(&self) {
        // Fails only if none are registered.
        let _ = self.uring.submitter().unregister_files();
    }

    /// Registers a ring of provided buffers.
    ///
    /// # Safety
    /// `entries` points to the start of a page and to `count` entries, which stay mapped as long
    /// as the ring exists and has operations in flight.
    pub(crate) unsafe fn register_buffers(
        &self,
        entries: u64,
        count: u16,
        group: u16,
    ) -> io::Result<()> {
        // SAFETY: the caller's promise is that of this call.
        unsafe { self.uring.submitter().register_buf_ring_with_flags(entries, count, group, 0) }
    }

    /// Restricts the ring to [`OPCODES`] and enables it for the calling thread. A bug, or whoever
    /// gets hold of the descriptor, can't make it open files.
    pub(crate) fn enable(&mut self) -> io::Result<()> {
        let flags = squeue::Flags::FIXED_FILE | squeue::Flags::BUFFER_SELECT;
        let mut restrictions = vec![
            Restriction::sqe_flags_allowed(flags.bits()),
            Restriction::register_op(IORING_UNREGISTER_FILES),
            Restriction::register_op(IORING_REGISTER_RING_FDS),
            Restriction::register_op(IORING_UNREGISTER_RING_FDS),
        ];
        restrictions.extend(OPCODES.map(|(code, _)| Restriction::sqe_op(code)));
        let submitter = self.uring.submitter();
        submitter.register_restrictions(&mut restrictions)?;
        submitter.register_enable_rings()?;
        // An optimisation that may fail where many rings share a thread.
        self.registered = self.register_self().ok();
        Ok(())
    }

    /// Which of `codes` the kernel doesn't know; for the probe, on a ring that isn't enabled.
    pub(crate) fn missing_opcode(&self) -> io::Result<Option<&'static str>> {
        let mut probe = io_uring::Probe::new();
        self.uring.submitter().register_probe(&mut probe)?;
        Ok(OPCODES.iter().find(|(code, _)| !probe.is_supported(*code)).map(|(_, name)| *name))
    }

    /// Queues an operation; submits the queue first if it is full.
    ///
    /// # Safety
    /// Everything that the entry points to must stay valid, unmoved and untouched until the
    /// operation's last completion was returned by [`Ring::completions`].
    pub(crate) unsafe fn push(&mut self, entry: squeue::Entry, token: Token) -> io::Result<()> {
        let entry = entry.user_data(token.pack());
        // SAFETY: the caller's promise is that of this call.
        if unsafe { self.uring.submission().push(&entry) }.is_err() {
            self.enter(0, None)?;
            // SAFETY: as above.
            unsafe { self.uring.submission().push(&entry) }
                .map_err(|_| io::Error::from_raw_os_error(libc::EBUSY))?;
        }
        self.in_flight += 1;
        Ok(())
    }

    /// Submits what is queued and waits until `want` completions are there or `wait` is over.
    /// A timeout or a signal is no error.
    pub(crate) fn enter(&mut self, want: usize, wait: Option<Duration>) -> io::Result<()> {
        self.enters += 1;
        let queued = self.uring.submission().len() as u32;
        let timespec = wait.map(Timespec::from);
        let mut args = SubmitArgs::new();
        if let Some(timespec) = &timespec {
            args = args.timespec(timespec);
        }
        // GETEVENTS even if nothing is waited for: only then does the kernel run the deferred
        // work that posts completions.
        let mut flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        let fd = match self.registered {
            Some(number) => {
                flags |= EnterFlags::REGISTERED_RING;
                number as RawFd
            }
            None => self.uring.as_raw_fd(),
        };
        // SAFETY: `args` is the structure that EXT_ARG announces (SubmitArgs is transparent over
        // it) and it and the timespec live until the call returns. The queue entries were
        // promised valid in `push`. The crate's own wrapper would need the submitter, which knows
        // the registered number, to live beside the ring that it borrows.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                fd,
                queued,
                want as u32,
                flags.bits(),
                ptr::from_ref(&args),
                size_of::<SubmitArgs<'_, '_>>(),
            )
        };
        if result >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // EBUSY: completions must be taken before more is submitted; the next turn goes on.
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        }
    }

    /// Submits what is queued and polls until `want` completions are there or `until` has passed;
    /// true if they are. Asks the kernel again only when it says that it has something, so that
    /// waiting costs no system calls.
    pub(super) fn poll(&mut self, want: usize, until: Instant) -> io::Result<bool> {
        self.enter(0, None)?;
        loop {
            for _ in 0..LOOKS_PER_CLOCK {
                if self.uring.completion().len() >= want {
                    return Ok(true);
                }
                let submission = self.uring.submission();
                if submission.taskrun() || submission.cq_overflow() {
                    drop(submission);
                    self.enter(0, None)?;
                } else {
                    std::hint::spin_loop();
                }
            }
            if Instant::now() >= until {
                return Ok(self.uring.completion().len() >= want);
            }
        }
    }

    /// Moves at most `budget` completions into `into`.
    pub(super) fn completions(&mut self, budget: usize, into: &mut Vec<Completion>) {
        for entry in self.uring.completion().take(budget) {
            let flags = entry.flags();
            if !cqueue::more(flags) {
                self.in_flight -= 1;
            }
            if let Some(token) = Token::unpack(entry.user_data()) {
                into.push(Completion { token, result: entry.result(), flags });
            }
        }
    }

    /// True if no completion waits to be taken.
    pub(super) fn is_drained(&mut self) -> bool {
        self.uring.completion().is_empty() && !self.overflowed()
    }

    /// True if the kernel keeps completions that did not fit the queue.
    pub(super) fn overflowed(&mut self) -> bool {
        self.uring.submission().cq_overflow()
    }

    /// System calls that submitted or waited.
    pub(super) fn enters(&self) -> u64 {
        self.enters
    }

    /// Operations that have not had their last completion.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn register_self(&self) -> io::Result<u32> {
        /// `struct io_uring_rsrc_update`.
        #[repr(C)]
        struct Update {
            offset: u32,
            reserved: u32,
            data: u64,
        }
        let fd = self.uring.as_raw_fd();
        let mut update = Update { offset: u32::MAX, reserved: 0, data: fd as u64 };
        // SAFETY: `update` is one such structure, and the kernel writes only its offset. The
        // crate keeps the number inside of a submitter that borrows the ring.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                fd,
                u32::from(IORING_REGISTER_RING_FDS),
                &raw mut update,
                1,
            )
        };
        if result == 1 { Ok(update.offset) } else { Err(io::Error::last_os_error()) }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("fd", &self.uring.as_raw_fd())
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}
