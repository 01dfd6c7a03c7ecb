//! The settlement sidecar of a Weir exit: it turns what the relay counted into vouchers that the
//! payers sign, and vouchers into tokens.
//!
//! - [`journal`]: the one file that is the truth. Nothing is acked before it is in there.
//! - [`book`]: what follows from the journal: totals per lane, vouchers, asks. No I/O, no clock.
//! - [`state`]: the same kept in a file, so that a start needn't replay the whole journal.
//! - [`clerk`]: the one task that writes the journal and keeps the book.
//! - [`server`]: the relay's socket.
//! - [`service`]: samples of the service that payers signed, and this exit signs too.
//! - [`chain`]: claims, settlements and anchors, each exactly once.
//! - [`agreement`], [`evidence`] and [`audit`]: files that go from hand to hand.
//! - [`control`] and [`metrics`]: the operator's side.
//!
//! It holds the only key that signs transactions, and never sees a packet.

#![forbid(unsafe_code)]

pub mod agreement;
pub mod audit;
pub mod book;
pub mod chain;
pub mod clerk;
pub mod clock;
pub mod config;
pub mod control;
mod error;
pub mod evidence;
pub mod explain;
pub mod export;
pub mod health;
pub mod journal;
pub mod keys;
mod lock;
pub mod metrics;
pub mod server;
pub mod service;
pub mod sidecar;
pub mod state;
pub mod status;
pub mod storage;

pub use error::Error;

/// Unix time in milliseconds.
pub fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // A clock before 1970 is a broken clock; times are for readers only.
    now.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// Returns when it is time to stop. A sender that is gone means the same.
pub(crate) async fn stopped(stop: &mut tokio::sync::watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}
