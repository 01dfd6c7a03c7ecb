//! What a backend that stands around this one needs: its descriptors end the wait, its counts and
//! flows go where this one's go.

use std::os::fd::RawFd;

use io_uring::opcode;
use io_uring::types::Fd;
use weir_core::port::FlowHook;

use super::Uring;
use super::ring::Completion;
use super::token::Token;
use crate::config::IoStats;

impl Uring {
    /// From now on a wait ends when one of the descriptors becomes readable. They must stay open
    /// until this backend is dropped.
    pub(crate) fn watch(&mut self, descriptors: Vec<RawFd>) {
        self.watched = descriptors.into_iter().map(|fd| (fd, false)).collect();
    }

    pub(crate) fn stats_mut(&mut self) -> &mut IoStats {
        &mut self.stats
    }

    /// Who is told of exit flows.
    pub(crate) fn hook(&mut self) -> &mut dyn FlowHook {
        self.opener.hook()
    }

    /// Starts the polls that have ended or not begun.
    pub(super) fn arm_watched(&mut self) {
        for (number, (fd, armed)) in (0..).zip(&mut self.watched) {
            if !*armed {
                let entry = opcode::PollAdd::new(Fd(*fd), libc::POLLIN as u32).multi(true).build();
                // SAFETY: a poll points to nothing.
                *armed = unsafe { self.ring.push(entry, Token::Watch(number)) }.is_ok();
            }
        }
    }

    /// A watched descriptor became readable, or its poll ended.
    pub(super) fn watched_ready(&mut self, number: u32, completion: Completion) {
        if let Some((_, armed)) = self.watched.get_mut(number as usize) {
            *armed = completion.more();
        }
    }
}
