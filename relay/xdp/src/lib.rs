//! Loads, attaches, pins and reads Weir's programs in the kernel.
//!
//! [`Packets::start`] loads the object that is committed in `ebpf/object`, checks that it speaks
//! this crate's ABI version, pins its maps below `/sys/fs/bpf/weir/<instance>` and attaches it to
//! the interfaces. [`FlowTable`], [`Counters`], [`Steering`] and [`XskMap`] are cheap handles to
//! the maps, for workers and exporter alike. [`recover`] reads what a crashed predecessor left
//! behind.
//!
//! This is control plane: a map operation is a system call or takes a lock. Only [`Sender`] is
//! made to run per packet.

mod attach;
mod counters;
mod elf;
mod error;
mod flows;
mod interface;
mod kernel;
mod maps;
mod measure;
mod offload;
mod packets;
mod pins;
mod recover;
mod sent;
mod steering;
mod sys;
mod table;
mod xsks;

pub use attach::{Attachment, Egress, Mode};
pub use counters::{Counters, VerdictCount};
pub use error::{Result, XdpError};
pub use flows::{Flow, FlowTable};
pub use kernel::{OBJECT, Programs, Ran, Statistics};
pub use measure::{VerdictCost, measure_verdicts};
pub use offload::{gro, mtu, set_gro};
pub use packets::{Options, Packets, WantedMode, probe};
pub use recover::{Leftover, recover};
pub use sent::Sender;
pub use steering::Steering;
pub use weir_abi::{
    ABI_VERSION, Config, Counter, Direction, FLOWS_MAX, FlowCounters, Listen, Protocol, Steer,
    Steering as SteeredBy, Verdict, cid,
};
pub use xsks::{XskEntry, XskMap};
