//! Typed access to one kernel map, shared between threads.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use aya::Pod;
use weir_abi::{
    Config, Counter, FlowCounters, SENT_ROWS, STEER_SLOTS, Steer, Steering, VERDICT_ROWS, XSK_ROWS,
    XskOwner, map,
    table::{self, Bucket, PortUse, Slot},
};

use crate::error::{Result, XdpError};
use crate::sys::bpf::{self, MapInfo};
use crate::sys::mapping::Mapping;

/// linux/bpf.h
const ARRAY: u32 = 2;
const ARRAY_PER_CPU: u32 = 6;
const XSKMAP: u32 = 17;
const REUSEPORT_SOCKARRAY: u32 = 20;

/// All maps of the object.
#[derive(Clone, Debug)]
pub(crate) struct Maps {
    pub(crate) config: Map<u32, Config>,
    pub(crate) steer: Map<u32, Steer>,
    pub(crate) ports: Map<u32, PortUse>,
    pub(crate) buckets: Map<u32, Bucket>,
    pub(crate) slots: Map<u32, Slot>,
    pub(crate) flows: Map<u32, FlowCounters>,
    pub(crate) flow_sent: Map<u32, Counter>,
    pub(crate) sent: Map<u32, Counter>,
    pub(crate) verdicts: Map<u32, Counter>,
    pub(crate) steered: Map<u32, u64>,
    pub(crate) workers: Map<u32, u32>,
    pub(crate) xsks: Map<u32, u32>,
    pub(crate) xsk_owners: Map<u32, XskOwner>,
}

impl Maps {
    /// `open` gives the descriptor of the map of a name. Each map's type and sizes are compared
    /// with the ABI, so that a map of another version is never read as one of this.
    pub(crate) fn open(mut open: impl FnMut(&'static str) -> Result<OwnedFd>) -> Result<Self> {
        const STEERED_ROWS: u32 = Steering::ALL.len() as u32;
        let maps = Self {
            config: Map::new(map::CONFIG, open(map::CONFIG)?, ARRAY, 1)?,
            steer: Map::new(map::STEER, open(map::STEER)?, ARRAY, STEER_SLOTS)?,
            ports: Map::new(map::PORTS, open(map::PORTS)?, ARRAY, table::PORTS)?,
            buckets: Map::new(map::BUCKETS, open(map::BUCKETS)?, ARRAY, 2)?,
            slots: Map::new(map::SLOTS, open(map::SLOTS)?, ARRAY, 1)?,
            flows: Map::new(map::FLOWS, open(map::FLOWS)?, ARRAY_PER_CPU, 1)?,
            flow_sent: Map::new(map::FLOW_SENT, open(map::FLOW_SENT)?, ARRAY, 1)?,
            sent: Map::new(map::SENT, open(map::SENT)?, ARRAY, SENT_ROWS)?,
            verdicts: Map::new(map::VERDICTS, open(map::VERDICTS)?, ARRAY_PER_CPU, VERDICT_ROWS)?,
            steered: Map::new(map::STEERED, open(map::STEERED)?, ARRAY_PER_CPU, STEERED_ROWS)?,
            workers: Map::new(map::WORKERS, open(map::WORKERS)?, REUSEPORT_SOCKARRAY, 1)?,
            xsks: Map::new(map::XSKS, open(map::XSKS)?, XSKMAP, XSK_ROWS)?,
            xsk_owners: Map::new(map::XSK_OWNERS, open(map::XSK_OWNERS)?, ARRAY, XSK_ROWS)?,
        };
        let flows_max = maps.flows.entries_max();
        let same = [maps.slots.entries_max(), maps.flow_sent.entries_max()];
        if same != [flows_max; 2] || !maps.buckets.entries_max().is_power_of_two() {
            return Err(XdpError::ForeignMap {
                path: map::SLOTS.into(),
                problem: "it and its index don't belong to one flow table".to_owned(),
            });
        }
        Ok(maps)
    }

    /// Opens the maps pinned below `dir`.
    pub(crate) fn open_pinned(dir: &Path) -> Result<Self> {
        Self::open(|name| {
            let path = dir.join(name);
            bpf::open_pin(&path).map_err(XdpError::file("can't open the pinned map", path))
        })
    }
}

/// A map from `K` to `V`; per-CPU if its type says so.
#[derive(Debug)]
pub(crate) struct Map<K, V> {
    fd: Arc<OwnedFd>,
    info: MapInfo,
    types: PhantomData<fn(K) -> V>,
}

impl<K, V> Clone for Map<K, V> {
    fn clone(&self) -> Self {
        Self { fd: Arc::clone(&self.fd), info: self.info, types: PhantomData }
    }
}

impl<K: Pod, V: Pod> Map<K, V> {
    fn new(name: &'static str, fd: OwnedFd, kind: u32, entries_min: u32) -> Result<Self> {
        let info = bpf::map_info(fd.as_fd()).map_err(XdpError::system("can't query a map"))?;
        let found = (info.kind, info.key_size as usize, info.value_size as usize);
        if found != (kind, size_of::<K>(), size_of::<V>()) || info.max_entries < entries_min {
            return Err(XdpError::ForeignMap {
                path: name.into(),
                problem: format!(
                    "type, key size, value size are {found:?} and not {:?}",
                    (kind, size_of::<K>(), size_of::<V>())
                ),
            });
        }
        Ok(Self { fd: Arc::new(fd), info, types: PhantomData })
    }

    pub(crate) fn entries_max(&self) -> u32 {
        self.info.max_entries
    }

    /// The value, or those of all CPUs.
    pub(crate) fn get(&self, key: &K) -> io::Result<Option<Vec<V>>> {
        let mut buffer = self.value_buffer()?;
        let found = bpf::lookup(self.fd.as_fd(), bytes_of(key), &mut buffer)?;
        Ok(found.then(|| self.values(&buffer)))
    }

    /// Removes the entry, if it is there.
    pub(crate) fn remove(&self, key: &K) -> io::Result<()> {
        bpf::remove(self.fd.as_fd(), bytes_of(key)).map(drop)
    }

    /// Sets the value; in a per-CPU map that of every CPU.
    pub(crate) fn set(&self, key: &K, value: &V, flags: u64) -> io::Result<()> {
        let mut buffer = self.value_buffer()?;
        for slot in buffer.chunks_exact_mut(self.stride()) {
            slot[..size_of::<V>()].copy_from_slice(bytes_of(value));
        }
        bpf::update(self.fd.as_fd(), bytes_of(key), &buffer, flags)
    }

    /// All values in our memory; only of an array that was made for it.
    pub(crate) fn mapping(&self) -> io::Result<Mapping> {
        Mapping::new(self.fd.as_fd(), self.info.max_entries as usize * self.stride())
    }

    fn value_buffer(&self) -> io::Result<Vec<u8>> {
        let cpus = if self.is_per_cpu() { cpus()? } else { 1 };
        Ok(vec![0; cpus * self.stride()])
    }

    fn values(&self, buffer: &[u8]) -> Vec<V> {
        buffer.chunks_exact(self.stride()).map(|slot| read(&slot[..size_of::<V>()])).collect()
    }

    /// The kernel rounds each CPU's value up to 8 bytes, and those of arrays too, which shows only
    /// where they are mapped.
    fn stride(&self) -> usize {
        match self.info.kind {
            ARRAY | ARRAY_PER_CPU => size_of::<V>().next_multiple_of(8),
            _ => size_of::<V>(),
        }
    }

    fn is_per_cpu(&self) -> bool {
        self.info.kind == ARRAY_PER_CPU
    }
}

impl<K, V> AsFd for Map<K, V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Possible CPUs, offline ones included: the kernel writes a value for each.
fn cpus() -> io::Result<usize> {
    aya::util::nr_cpus().map_err(|(_, error)| error)
}

fn bytes_of<T: Pod>(value: &T) -> &[u8] {
    // SAFETY: Pod types have no padding, so all bytes are initialised; the slice covers exactly
    // the value and lives as long. The kernel wants bytes, and std has no safe cast.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

fn read<T: Pod>(bytes: &[u8]) -> T {
    assert_eq!(bytes.len(), size_of::<T>(), "callers cut the buffer by the type's size");
    // SAFETY: the length was just compared, alignment is not needed, and every bit pattern is a
    // value of a Pod type.
    unsafe { bytes.as_ptr().cast::<T>().read_unaligned() }
}
