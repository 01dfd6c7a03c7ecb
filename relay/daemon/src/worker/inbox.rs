//! What other threads hand to a worker: answers, orders, and packets that came to the wrong one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;
use weir_core::port::PacketMeta;
use weir_core::{Command, ControlReply};

/// As many answers as an engine can have questions open (`Limits::resolves`), with room to spare.
const REPLIES_MAX: usize = 4_096;

/// Orders are rare: a reload sends three, each raised credit one.
const COMMANDS_MAX: usize = 256;

/// Trains that came to the wrong worker. At 64 KiB each this bounds them to 16 MiB per worker;
/// a client that migrates sends a few, and what doesn't fit is lost like on any network.
const STRAYS_MAX: usize = 256;

/// A client-facing train that another worker received.
#[derive(Debug)]
pub(super) struct Stray {
    pub meta: PacketMeta,
    pub train: Vec<u8>,
}

/// The queues of one worker. Any thread pushes, the worker pops.
#[derive(Debug)]
pub(super) struct Inbox {
    replies: ArrayQueue<ControlReply>,
    commands: ArrayQueue<Command>,
    strays: ArrayQueue<Stray>,
    /// Set when credit was raised: one flag, so that a burst of vouchers can't fill the queue.
    credit: AtomicBool,
    strays_lost: AtomicU64,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            replies: ArrayQueue::new(REPLIES_MAX),
            commands: ArrayQueue::new(COMMANDS_MAX),
            strays: ArrayQueue::new(STRAYS_MAX),
            credit: AtomicBool::new(false),
            strays_lost: AtomicU64::new(0),
        }
    }
}

impl Inbox {
    /// `false` when the queue is full: the engine's own timeout answers the question then.
    pub(super) fn push_reply(&self, reply: ControlReply) -> bool {
        self.replies.push(reply).is_ok()
    }

    /// `false` when the queue is full.
    pub(super) fn push_command(&self, command: Command) -> bool {
        self.commands.push(command).is_ok()
    }

    pub(super) fn push_stray(&self, stray: Stray) {
        if self.strays.push(stray).is_err() {
            self.strays_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn raise_credit(&self) {
        self.credit.store(true, Ordering::Release);
    }

    pub(super) fn pop_reply(&self) -> Option<ControlReply> {
        self.replies.pop()
    }

    pub(super) fn pop_command(&self) -> Option<Command> {
        if self.credit.swap(false, Ordering::Acquire) {
            return Some(Command::CreditChanged);
        }
        self.commands.pop()
    }

    pub(super) fn pop_stray(&self) -> Option<Stray> {
        self.strays.pop()
    }

    /// Something is left after the budget of a turn.
    pub(super) fn has_more(&self) -> bool {
        !(self.replies.is_empty() && self.commands.is_empty() && self.strays.is_empty())
    }

    /// Trains that found the queue full.
    pub(super) fn strays_lost(&self) -> u64 {
        self.strays_lost.load(Ordering::Relaxed)
    }
}
