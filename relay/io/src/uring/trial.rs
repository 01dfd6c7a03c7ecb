//! A small ring that is put through its paces once, to learn what the host allows.

use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use io_uring::opcode;
use io_uring::types::Fd;

use super::buffers::BufferGroup;
use super::ring::Ring;
use super::token::Token;

/// How far the trial got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Create,
    Opcode(&'static str),
    Buffers,
    Enable,
    Receive,
}

impl Step {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Step::Create => "creating a ring with deferred task work",
            Step::Opcode(_) => "probing operations",
            Step::Buffers => "registering provided buffers",
            Step::Enable => "restricting and enabling the ring",
            Step::Receive => "a multishot receive",
        }
    }
}

/// The step that failed, and its `errno`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    pub(crate) errno: i32,
}

impl Step {
    fn failed(self) -> impl Fn(io::Error) -> Failure {
        move |error| Failure { step: self, errno: error.raw_os_error().unwrap_or(libc::EIO) }
    }
}

/// Runs the trial on the calling thread.
pub(crate) fn run() -> Result<(), Failure> {
    let mut ring = Ring::new(8, 16).map_err(Step::Create.failed())?;
    let missing = ring.missing_opcode().map_err(Step::Opcode("all").failed())?;
    if let Some(opcode) = missing {
        return Err(Failure { step: Step::Opcode(opcode), errno: libc::EOPNOTSUPP });
    }
    let buffers = BufferGroup::register(&ring, 0, 2).map_err(Step::Buffers.failed())?;
    ring.enable().map_err(Step::Enable.failed())?;
    let received = receive_one(&mut ring, &buffers);
    if ring.in_flight() > 0 {
        // The kernel may still write to the buffers.
        mem::forget(buffers);
    }
    received.map_err(Step::Receive.failed())
}

/// One datagram through a multishot receive; the end of the peer ends the receive.
fn receive_one(ring: &mut Ring, buffers: &BufferGroup) -> io::Result<()> {
    let (near, far) = UnixDatagram::pair()?;
    far.send(b"weir")?;
    // SAFETY: all zero is a valid msghdr.
    let header: libc::msghdr = unsafe { mem::zeroed() };
    let fd = Fd(near.as_raw_fd());
    let entry = opcode::RecvMsgMulti::new(fd, &raw const header, buffers.group()).build();
    // SAFETY: the header is copied at submission, which `enter` below does; the buffers are
    // leaked if the receive has not ended by then.
    unsafe { ring.push(entry, Token::ClientReceive(0))? };
    let mut completions = Vec::new();
    ring.enter(1, Some(Duration::from_secs(1)))?;
    ring.completions(1, &mut completions);
    let first = completions.pop().ok_or(io::ErrorKind::TimedOut)?;
    if first.result < 0 {
        return Err(io::Error::from_raw_os_error(-first.result));
    }
    if !first.more() || first.buffer().is_none() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let cancel = opcode::AsyncCancel2::new(io_uring::types::CancelBuilder::any()).build();
    // SAFETY: a cancellation points to nothing.
    unsafe { ring.push(cancel, Token::CancelAll)? };
    while ring.in_flight() > 0 {
        let before = ring.in_flight();
        ring.enter(1, Some(Duration::from_secs(1)))?;
        ring.completions(usize::MAX, &mut completions);
        if ring.in_flight() == before && completions.is_empty() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        completions.clear();
    }
    Ok(())
}
