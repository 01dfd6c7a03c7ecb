//! The load of the benchmark: a generator and its targets, on io_uring and quinn-proto.
#![forbid(unsafe_code)]

pub mod spec;
