//! One test program, so that the chain library is linked once.

mod audit;
mod bond;
mod book;
mod chain;
mod common;
mod config;
mod duties;
mod evidence;
mod failures;
mod hostile;
mod journal;
mod keys;
mod many;
mod nodes;
mod operate;
mod policy;
mod quorum;
mod rival;
mod sample;
mod server;
mod sla;
mod state;
mod statements;
mod torture;
