//! Choice of backend, and the one type that the relay runs.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Instant;

use weir_core::port::{EgressOp, FlowHook, Handler, Io, Transmit};

use crate::config::{IoConfig, IoStats};
use crate::error::Error;
use crate::poll::Poll;
use crate::probe::probe;
use crate::sockets::WorkerSockets;
use crate::uring::Uring;
use crate::waker::Waker;
use crate::xsk::{Xsk, XskConfig};

/// What the operator asks for (`io.backend`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendChoice {
    /// io_uring if the host allows it, epoll otherwise. Per datagram they cost the same, within
    /// what two runs differ by; io_uring needs one system call per turn however many sockets a
    /// turn touches, and none to look for packets while it polls. ARCHITECTURE.md has the figures.
    #[default]
    Auto,
    Uring,
    Poll,
    /// AF_XDP over io_uring, or nothing. `auto` never takes it: whether frames beat sockets depends
    /// on the traffic, which is not known beforehand. `udp-1200` and `udp-scattered` of the bench
    /// have both side by side, and bench/runs what was kept of them.
    Xsk,
}

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendKind {
    Uring,
    Poll,
    Xsk,
}

/// A backend and the sentence that says why it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    pub kind: BackendKind,
    pub reason: String,
}

/// Turns a choice into a backend. Fails only if io_uring is demanded, by itself or beneath AF_XDP,
/// and refused. What AF_XDP needs besides is found out by [`Backend::open_xsk`].
pub fn select(choice: BackendChoice) -> Result<Selection, Error> {
    match choice {
        BackendChoice::Poll => {
            Ok(Selection { kind: BackendKind::Poll, reason: "poll was asked for".to_owned() })
        }
        BackendChoice::Uring => {
            probe()?;
            Ok(Selection { kind: BackendKind::Uring, reason: "uring was asked for".to_owned() })
        }
        BackendChoice::Xsk => {
            probe()?;
            Ok(Selection { kind: BackendKind::Xsk, reason: "xsk was asked for".to_owned() })
        }
        BackendChoice::Auto => Ok(match probe() {
            Ok(()) => Selection {
                kind: BackendKind::Uring,
                reason: "io_uring has everything that is needed".to_owned(),
            },
            Err(refusal) => Selection {
                kind: BackendKind::Poll,
                reason: format!("io_uring is not usable here: {refusal}"),
            },
        }),
    }
}

/// One worker's I/O. Created and used in the worker's thread; neither `Send` nor `Sync`, because
/// an io_uring instance with a single issuer belongs to the thread that enabled it.
#[derive(Debug)]
pub enum Backend {
    Uring(Box<Uring>),
    Poll(Box<Poll>),
    Xsk(Box<Xsk>),
}

impl Backend {
    /// Opens the backend on the calling thread. The waker ends waits of this backend only; `hook`
    /// is told of every exit flow.
    pub fn open(
        kind: BackendKind,
        config: &IoConfig,
        sockets: WorkerSockets,
        waker: &Waker,
        hook: Box<dyn FlowHook>,
    ) -> Result<Backend, Error> {
        Ok(match kind {
            BackendKind::Uring => {
                Backend::Uring(Box::new(Uring::open(config, sockets, waker, hook)?))
            }
            BackendKind::Poll => Backend::Poll(Box::new(Poll::open(config, sockets, waker, hook)?)),
            BackendKind::Xsk => {
                let problem = "it is opened with its own configuration, by `open_xsk`";
                return Err(Error::XskConfig(problem.to_owned()));
            }
        })
    }

    /// Opens the AF_XDP backend on the calling thread, as [`Backend::open`] does the others.
    pub fn open_xsk(
        config: &IoConfig,
        xsk: XskConfig,
        sockets: WorkerSockets,
        waker: &Waker,
        hook: Box<dyn FlowHook>,
    ) -> Result<Backend, Error> {
        Ok(Backend::Xsk(Box::new(Xsk::open(config, xsk, sockets, waker, hook)?)))
    }

    /// What is slower here than it could be, and why: for the log.
    pub fn notes(&self) -> &[String] {
        match self {
            Backend::Uring(_) | Backend::Poll(_) => &[],
            Backend::Xsk(io) => io.notes(),
        }
    }

    pub fn kind(&self) -> BackendKind {
        match self {
            Backend::Uring(_) => BackendKind::Uring,
            Backend::Poll(_) => BackendKind::Poll,
            Backend::Xsk(_) => BackendKind::Xsk,
        }
    }

    /// What was counted so far.
    pub fn stats(&self) -> &IoStats {
        match self {
            Backend::Uring(io) => io.stats(),
            Backend::Poll(io) => io.stats(),
            Backend::Xsk(io) => io.stats(),
        }
    }
}

impl Io for Backend {
    fn take_buffer(&mut self) -> Option<Vec<u8>> {
        match self {
            Backend::Uring(io) => io.take_buffer(),
            Backend::Poll(io) => io.take_buffer(),
            Backend::Xsk(io) => io.take_buffer(),
        }
    }

    fn give_back(&mut self, buffer: Vec<u8>) {
        match self {
            Backend::Uring(io) => io.give_back(buffer),
            Backend::Poll(io) => io.give_back(buffer),
            Backend::Xsk(io) => io.give_back(buffer),
        }
    }

    fn transmit(&mut self, transmit: &Transmit, buffer: Vec<u8>) {
        match self {
            Backend::Uring(io) => io.transmit(transmit, buffer),
            Backend::Poll(io) => io.transmit(transmit, buffer),
            Backend::Xsk(io) => io.transmit(transmit, buffer),
        }
    }

    fn egress(&mut self, op: EgressOp, buffer: Vec<u8>) {
        match self {
            Backend::Uring(io) => io.egress(op, buffer),
            Backend::Poll(io) => io.egress(op, buffer),
            Backend::Xsk(io) => io.egress(op, buffer),
        }
    }

    fn turn<H: Handler>(
        &mut self,
        deadline: Option<Instant>,
        handler: &mut H,
    ) -> io::Result<Instant> {
        match self {
            Backend::Uring(io) => io.turn(deadline, handler),
            Backend::Poll(io) => io.turn(deadline, handler),
            Backend::Xsk(io) => io.turn(deadline, handler),
        }
    }
}

impl FromStr for BackendChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(BackendChoice::Auto),
            "uring" => Ok(BackendChoice::Uring),
            "poll" => Ok(BackendChoice::Poll),
            "xsk" => Ok(BackendChoice::Xsk),
            other => Err(format!("unknown backend `{other}`: use auto, uring, poll or xsk")),
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BackendKind::Uring => "uring",
            BackendKind::Poll => "poll",
            BackendKind::Xsk => "xsk",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_parsed_or_named_in_the_error() {
        assert_eq!("uring".parse(), Ok(BackendChoice::Uring));
        assert!("dpdk".parse::<BackendChoice>().unwrap_err().contains("`dpdk`"));
    }

    #[test]
    fn poll_is_always_available() {
        assert_eq!(select(BackendChoice::Poll).unwrap().kind, BackendKind::Poll);
    }
}
