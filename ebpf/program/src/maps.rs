//! The maps of `weir_abi::map`.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, PerCpuArray, ReusePortSockArray, XskMap},
};
use weir_abi::{
    Config, Counter, FLOWS_MAX, FlowCounters, SENT_ROWS, STEER_SLOTS, Steer, VERDICT_ROWS,
    WORKERS_MAX, XSK_ROWS, XskOwner,
    table::{self, Bucket, PortUse, Slot},
};

/// Both generations have a socket for each of their workers.
const WORKER_SOCKETS: u32 = STEER_SLOTS * WORKERS_MAX;

/// One row per `weir_abi::Steering`.
const STEERED_ROWS: u32 = 5;

#[map(name = "weir_config")]
pub static CONFIG: Array<Config> = Array::with_max_entries(1, 0);

#[map(name = "weir_steer")]
pub static STEER: Array<Steer> = Array::with_max_entries(STEER_SLOTS, 0);

#[map(name = "weir_ports")]
pub static PORTS: Array<PortUse> = Array::with_max_entries(table::PORTS, BPF_F_MMAPABLE);

#[map(name = "weir_buckets")]
pub static BUCKETS: Array<Bucket> =
    Array::with_max_entries(table::buckets(FLOWS_MAX), BPF_F_MMAPABLE);

#[map(name = "weir_slots")]
pub static SLOTS: Array<Slot> = Array::with_max_entries(FLOWS_MAX, BPF_F_MMAPABLE);

#[map(name = "weir_flows")]
pub static FLOWS: PerCpuArray<FlowCounters> = PerCpuArray::with_max_entries(FLOWS_MAX, 0);

/// No program touches it. It is here to be made, pinned and recovered with the others.
#[map(name = "weir_flow_sent")]
pub static FLOW_SENT: Array<Counter> = Array::with_max_entries(FLOWS_MAX, BPF_F_MMAPABLE);

/// As above.
#[map(name = "weir_sent")]
pub static SENT: Array<Counter> = Array::with_max_entries(SENT_ROWS, BPF_F_MMAPABLE);

#[map(name = "weir_verdicts")]
pub static VERDICTS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(VERDICT_ROWS, 0);

#[map(name = "weir_steered")]
pub static STEERED: PerCpuArray<u64> = PerCpuArray::with_max_entries(STEERED_ROWS, 0);

#[map(name = "weir_workers")]
pub static WORKERS: ReusePortSockArray = ReusePortSockArray::with_max_entries(WORKER_SOCKETS, 0);

#[map(name = "weir_xsks")]
pub static XSKS: XskMap = XskMap::with_max_entries(XSK_ROWS, 0);

#[map(name = "weir_xsk_owners")]
pub static XSK_OWNERS: Array<XskOwner> = Array::with_max_entries(XSK_ROWS, 0);
