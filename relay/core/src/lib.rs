//! The sans-IO engine of the relay.
#![forbid(unsafe_code)]

pub mod ledger;
pub mod port;
