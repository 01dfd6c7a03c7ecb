//! Moves bytes between the kernel and the engine. Knows no protocol.
//!
//! A worker is one thread with one backend:
//!
//! ```text
//! control thread                              worker thread (pinned)
//!   select(choice)        -> Selection          affinity::pin(cpu)
//!   bind_workers(..)      -> [WorkerSockets]    Backend::open(kind, config, sockets, &waker, hook)
//!   steer: Steerer::attach                      loop { io.turn(deadline, &mut engine); ... }
//!   Waker::new()          -> Waker, cloned      wakes on packets, completions, deadline, waker
//! ```
//!
//! [`Backend`] is io_uring ([`uring::Uring`]), epoll ([`poll::Poll`]) or AF_XDP ([`xsk::Xsk`]); all
//! implement [`weir_core::port::Io`] with the same meaning, and one test suite runs against each.
//! The ledger of tunnels that survives the process is [`ledger_file`].

pub mod affinity;
pub mod backend;
pub mod config;
pub mod error;
pub mod ledger_file;
pub mod limits;
pub mod poll;
pub mod probe;
pub mod sockets;
pub mod steer;
pub mod uring;
pub mod waker;
pub mod xsk;

mod addr;
mod cmsg;
mod ebb;
mod egress;
mod errno;
mod message;
mod pool;
mod send;
mod spin;
mod sys;

pub use backend::{Backend, BackendChoice, BackendKind, Selection, select};
pub use config::{IoConfig, IoStats};
pub use error::Error;
pub use ledger_file::{LedgerReader, LedgerWriter, SlotRead, SlotSnapshot, SlotState};
pub use probe::{Refusal, probe};
pub use sockets::{ClientOptions, ClientSocket, WorkerSockets, bind_workers};
pub use steer::{ClassicInstruction, ClassicSteerer, EbpfSteerer, Steerer};
pub use waker::Waker;
pub use xsk::{Crossing, XskConfig, XskInterface, XskRegistrar, ZeroCopy};
