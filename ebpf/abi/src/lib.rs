//! The contract between the BPF object and user space: map names, keys and values, verdicts and
//! their reasons, connection-ID layout, limits.
//!
//! Everything here is read by two programs that are built apart: the committed object in
//! `ebpf/object` and the relay. So every type is `repr(C)` with its padding spelled out, and any
//! change of a layout, a number or a meaning raises [`ABI_VERSION`], which the loader compares
//! before it attaches anything and before it trusts a pinned map.
#![no_std]
#![cfg_attr(not(feature = "user"), forbid(unsafe_code))]

pub mod cid;
mod config;
mod counter;
mod flow;
pub mod table;
#[cfg(feature = "user")]
mod user;
mod verdict;

pub use config::{Config, Listen, Steer, XskOwner};
pub use counter::{Counter, FlowCounters, Steering};
pub use flow::{Address, FlowKey, Protocol};
pub use verdict::{Direction, DropReason, OursKind, PassReason, VERDICT_ROWS, Verdict};

/// Raised by one with every change that an older object or an older relay would misread.
pub const ABI_VERSION: u32 = 2;

/// ELF section of the object that holds [`ABI_VERSION`] as a little-endian u32.
pub const ABI_SECTION: &str = "weir_abi";

/// Names of the maps, in the object and as files below the pin directory. The kernel keeps 15
/// characters of a name.
pub mod map {
    /// Array of one [`Config`](crate::Config).
    pub const CONFIG: &str = "weir_config";
    /// Array of [`STEER_SLOTS`](crate::STEER_SLOTS) [`Steer`](crate::Steer), newest generation
    /// first.
    pub const STEER: &str = "weir_steer";
    /// Array of [`table::PortUse`](crate::table::PortUse) by local port, mapped into user space.
    pub const PORTS: &str = "weir_ports";
    /// Array of [`table::Bucket`](crate::table::Bucket), mapped into user space: the index of the
    /// exit flows.
    pub const BUCKETS: &str = "weir_buckets";
    /// Array of [`table::Slot`](crate::table::Slot), mapped into user space: the exit flows.
    pub const SLOTS: &str = "weir_slots";
    /// Per-CPU array of [`FlowCounters`](crate::FlowCounters), one row per slot.
    pub const FLOWS: &str = "weir_flows";
    /// Array of [`Counter`](crate::Counter), one row per slot, mapped into user space: what was
    /// sent through AF_XDP sockets. The programs don't know it.
    pub const FLOW_SENT: &str = "weir_flow_sent";
    /// Array of [`Counter`](crate::Counter), [`SENT_ROWS`](crate::SENT_ROWS), mapped into user
    /// space: the same by worker, for the verdict rows.
    pub const SENT: &str = "weir_sent";
    /// Per-CPU array of [`Counter`](crate::Counter), one row per direction and reason.
    pub const VERDICTS: &str = "weir_verdicts";
    /// Per-CPU array of u64, one row per [`Steering`](crate::Steering).
    pub const STEERED: &str = "weir_steered";
    /// Reuseport socket array: worker index plus the generation's base, to socket.
    pub const WORKERS: &str = "weir_workers";
    /// AF_XDP socket map: interface and queue, to socket.
    pub const XSKS: &str = "weir_xsks";
    /// Array of [`XskOwner`](crate::XskOwner), with the same rows.
    pub const XSK_OWNERS: &str = "weir_xsk_owners";

    /// All of them; what is pinned is exactly this list.
    pub const ALL: [&str; 13] = [
        CONFIG, STEER, PORTS, BUCKETS, SLOTS, FLOWS, FLOW_SENT, SENT, VERDICTS, STEERED, WORKERS,
        XSKS, XSK_OWNERS,
    ];
}

/// Names of the programs in the object.
pub mod program {
    /// `#[xdp]`, on the wire side of an interface.
    pub const INGRESS: &str = "weir_ingress";
    /// `#[classifier]`, tc ingress of the interfaces that have no XDP.
    pub const INGRESS_TC: &str = "weir_ingress_tc";
    /// `#[classifier]`, tc egress of every interface.
    pub const EGRESS: &str = "weir_egress";
    /// `sk_reuseport`, on the client-facing sockets.
    pub const STEER: &str = "weir_reuseport";
}

/// Exit flows that can be open at once by default; the loader may ask for another number.
/// The kernel allocates the table when it is created: 216 bytes and 48 bytes per CPU for each
/// flow, so 20 MB on 2 CPUs and 215 MB on 64. A tunnel beyond it works, and its ledger B is empty.
pub const FLOWS_MAX: u32 = 65_536;

/// The most that the loader may ask for: all ports of 16 addresses. 3.4 GB on 64 CPUs.
pub const FLOWS_MAX_MAX: u32 = 1 << 20;

/// Listen addresses the classifier knows. The relay takes one IPv4 and one IPv6 address; four
/// leaves room for a handover from old to new addresses.
pub const LISTEN_MAX: usize = 4;

/// Generations steered at the same time: the running one and the one that drains.
pub const STEER_SLOTS: u32 = 2;

/// Workers of one process: the worker's number has eight bits in the connection ID.
pub const WORKERS_MAX: u32 = 256;

/// Interfaces whose queues may have AF_XDP sockets. Compared one by one for each redirected packet.
pub const XSK_INTERFACES_MAX: usize = 8;

/// Queues of an interface that may have one. Beyond them packets go to the kernel.
pub const XSK_QUEUES_MAX: u32 = 64;

/// Rows of the AF_XDP socket map.
pub const XSK_ROWS: u32 = XSK_INTERFACES_MAX as u32 * XSK_QUEUES_MAX;

/// Rows of what was sent through AF_XDP sockets: client-facing packets of each worker, then
/// target-facing ones.
pub const SENT_ROWS: u32 = 2 * WORKERS_MAX;

/// Smallest UDP payload that may carry a QUIC Initial packet (RFC 9000, section 14.1).
pub const QUIC_INITIAL_MIN_LEN: u32 = 1200;

/// VLAN tags that are looked through: one customer tag inside one service tag (IEEE 802.1ad).
pub const VLAN_TAGS_MAX: u32 = 2;

/// IPv6 extension headers that are walked. RFC 8200 section 4.1 recommends at most one of each of
/// the six kinds, and more than four before UDP or TCP is not seen outside of attacks.
pub const IPV6_EXTENSIONS_MAX: u32 = 4;
