//! Whether tunnels may be opened: not before the relay has said what it wants to be paid, and not
//! if that is more than was agreed. And what a tunnel that the relay refuses is told of the payer.

use std::sync::{Arc, Mutex, PoisonError};

use crate::refusal::{Cause, Refusal};

/// Shared by who asks for the terms and who opens tunnels. Without a payer it is always open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    closed: Option<Closed>,
    /// Why the last ask was not paid in full, if so.
    unpaid: Option<String>,
}

/// Why no tunnel is opened.
#[derive(Clone, Debug)]
struct Closed {
    why: String,
    /// Nobody said no yet: it opens with the first ask.
    is_waiting: bool,
}

impl Gate {
    /// The terms are known and agreed to.
    pub(crate) fn open(&self) {
        self.lock().closed = None;
    }

    /// The terms are known, and are not what was agreed.
    pub(crate) fn close(&self, why: impl ToString) {
        self.lock().closed = Some(Closed { why: why.to_string(), is_waiting: false });
    }

    /// The terms are not known yet.
    pub(crate) fn wait(&self, why: impl ToString) {
        self.lock().closed = Some(Closed { why: why.to_string(), is_waiting: true });
    }

    /// Why the last ask was not paid in full; `None` once one is.
    pub(crate) fn unpaid(&self, why: Option<String>) {
        self.lock().unpaid = why;
    }

    /// Adds to a refusal for lack of credit why there is none.
    pub(crate) fn explain(&self, mut refusal: Refusal) -> Refusal {
        if refusal.cause == Cause::CreditUsedUp {
            refusal.unpaid = self.lock().unpaid.clone();
        }
        refusal
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.lock().closed.as_ref().is_some_and(|closed| closed.is_waiting)
    }

    /// Called before each tunnel.
    pub(crate) fn pass(&self) -> Result<(), Refusal> {
        match self.lock().closed.as_ref() {
            None => Ok(()),
            Some(Closed { why, .. }) => Err(Refusal::own(Cause::Terms, why)),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
