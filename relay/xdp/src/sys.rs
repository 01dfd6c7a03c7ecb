//! The system calls that aya has no safe form for: per-CPU maps through shared references,
//! lookup-and-delete, batches, the XDP state of an interface, mounting.

pub(crate) mod bpf;
pub(crate) mod file_system;
pub(crate) mod offload;
pub(crate) mod rtnetlink;
