//! A measurer: a customer of an exit that says, interval by interval, what it got.
//!
//! It buys service as everybody does, through `weir-client` with a grant or with blind tokens, and
//! runs small, bounded probes through the tunnel: round trips to the agreed references all the
//! time, and one download per interval that is just long enough to show the committed rate. What it
//! saw is a `Sample` under its own key, appended to a file that `weir-settle sla import` takes.
//!
//! It signs only what it saw of the exit. When it can't tell the exit's failure from its own (its
//! credential is refused, its own network is down, its clock jumped), it says nothing: a draw.
//!
//! Invariant: nothing in here knows more of a relay than an application behind a proxy does.

#![forbid(unsafe_code)]

mod burst;
mod config;
mod customer;
mod error;
mod measurer;
mod probes;
mod proxy;
mod schedule;
mod tally;

pub use config::Config;
pub use error::Error;
pub use measurer::{Measurer, Said};
