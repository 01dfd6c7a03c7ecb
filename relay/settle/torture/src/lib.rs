//! Torture for the settlement sidecar: seeded runs in which it dies at every step there is, on a
//! disk that tears and fills up, beside a node that hangs, lies, forgets, reorders and replaces.
//!
//! What runs is the real journal, book, clerk and driver; the payers, the relay's ledger and the
//! chain are models, and time is virtual, so that thousands of courses of events take minutes and
//! a seed gives the same one each time. Against a real node and a real process the same is tested
//! in `relay/settle/tests`.
//!
//! A client has samples co-signed, hours go by, and challengers have leaves of epochs and days
//! picked. So the sidecar has its duties to do meanwhile: days are anchored, challenges answered,
//! epochs signed for.
//!
//! After each crash the sidecar starts from what the disk has, and everybody goes on. In the end
//! nothing breaks any more, and the sums are drawn ([`Verdict`]): what the payers signed, what
//! reached the receiver, what was delivered. No number is given to two roots, each challenge is
//! answered once and in time or said to be lost, no epoch has two statements, and what was signed
//! for is what is anchored.
//!
//! It has caught what it is for. With a journal that acks before its fsync, 200 runs lose 2.2
//! million units beyond the window and payers hold acks for vouchers that are gone; with a book
//! that adds a tunnel's cumulative count as if it were new, payers are asked for bytes that they
//! never got, in nearly every run.
//!
//! `tolerance.unsigned_permille` is 0 here: what a payer may leave unsigned by that key is lost on
//! top of the window, by the operator's own choice.
//!
//! Two things are outside of what a sidecar can survive, and are not done to it: blocks deeper than
//! the configured confirmations never leave the chain, and a node doesn't invent receipts.

#![forbid(unsafe_code)]

pub mod cache;
mod client;
pub mod disk;
pub mod node;
mod payer;
pub mod points;
mod relay;
pub mod rng;
mod run;
mod sidecar;
mod state;
mod summary;
mod verdict;
mod wire;

pub use run::{
    Crowd, another_challenge_as_one_is_recorded, crowd, run, unmined_beside_a_leaving_payer,
};
pub use summary::{Summary, torture};
pub use verdict::Verdict;
