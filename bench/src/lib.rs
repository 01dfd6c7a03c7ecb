//! Benchmarks of the relay, and the lab that they and the demo run in.
//!
//! [`lab`] is both ends of the demo: an "internet" of targets, and applications that use it
//! directly or through a proxy and report what they saw. It shares no code with the relay or its
//! client, so its numbers are an independent check of theirs.
//!
//! [`run`] is the benchmark: [`run::scenario`] is the table of what is measured, [`sla`] the
//! promises about it, [`report`] what is kept. `bench/METHOD.md` says how it is measured.

#![forbid(unsafe_code)]

pub mod lab;
pub mod peers;
pub mod report;
pub mod run;
pub mod sla;
pub mod stats;
