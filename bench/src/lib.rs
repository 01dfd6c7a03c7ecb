//! Benchmarks of the relay, and the lab that they and the demo run in.
//!
//! [`lab`] is both ends of the experiment: an "internet" of targets, and applications that use it
//! directly or through a proxy and report what they saw. It shares no code with the relay or its
//! client, so its numbers are an independent check of theirs.

#![forbid(unsafe_code)]

pub mod lab;
