//! The system calls that aya has no safe form for: per-CPU maps through shared references,
//! maps in our memory, batches, the XDP state of an interface, mounting.

pub(crate) mod bpf;
pub(crate) mod file_system;
pub(crate) mod mapping;
pub(crate) mod offload;
pub(crate) mod random;
pub(crate) mod rtnetlink;
pub(crate) mod xsk;
