//! The maps of `weir_abi::map`.

use aya_ebpf::{
    macros::map,
    maps::{Array, PerCpuArray, PerCpuHashMap, ReusePortSockArray},
};
use weir_abi::{
    Config, Counter, FLOWS_MAX, FlowCounters, FlowKey, STEER_SLOTS, Steer, VERDICT_ROWS,
    WORKERS_MAX,
};

/// Both generations have a socket for each of their workers.
const WORKER_SOCKETS: u32 = STEER_SLOTS * WORKERS_MAX;

/// One row per `weir_abi::Steering`.
const STEERED_ROWS: u32 = 5;

#[map(name = "weir_config")]
pub static CONFIG: Array<Config> = Array::with_max_entries(1, 0);

#[map(name = "weir_steer")]
pub static STEER: Array<Steer> = Array::with_max_entries(STEER_SLOTS, 0);

/// User space inserts and removes; no program ever does. Its memory is allocated when it is
/// created: with BPF_F_NO_PREALLOC the kernel takes elements from a small per-CPU cache, and a
/// burst of new tunnels fails with ENOMEM until the cache is filled again (seen on Linux 6.18).
#[map(name = "weir_flows")]
pub static FLOWS: PerCpuHashMap<FlowKey, FlowCounters> =
    PerCpuHashMap::with_max_entries(FLOWS_MAX, 0);

#[map(name = "weir_verdicts")]
pub static VERDICTS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(VERDICT_ROWS, 0);

#[map(name = "weir_unattrib")]
pub static UNATTRIBUTED: PerCpuArray<Counter> = PerCpuArray::with_max_entries(2, 0);

#[map(name = "weir_steered")]
pub static STEERED: PerCpuArray<u64> = PerCpuArray::with_max_entries(STEERED_ROWS, 0);

#[map(name = "weir_workers")]
pub static WORKERS: ReusePortSockArray = ReusePortSockArray::with_max_entries(WORKER_SOCKETS, 0);
