//! The table of exit flows as user space keeps it: `weir_abi::table` is its layout and its rule.

use std::collections::VecDeque;
use std::io;
use std::mem::offset_of;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Mutex, MutexGuard, PoisonError};

use weir_abi::table::{BUCKET_WAYS, Bucket, HashKey, Place, PortUse, SLOT_REDIRECT, Slot};
use weir_abi::{Address, Counter, FlowCounters, FlowKey};

use crate::maps::{Map, Maps};
use crate::sys::mapping::Mapping;

/// A reader starts again if its flow left meanwhile and came back; not more often than this, as
/// no flow does so within microseconds.
const READS_MAX: usize = 4;

/// The mapped arrays. Programs read them at any time, threads of ours too; who writes holds the
/// lock.
#[derive(Debug)]
pub(crate) struct Table {
    ports: Mapping,
    buckets: Mapping,
    slots: Mapping,
    sent: Mapping,
    counters: Map<u32, FlowCounters>,
    hash_key: HashKey,
    bucket_mask: u32,
    /// Slots without a flow. The one that has been free for longest is taken, so that a program
    /// that looked a flow up a moment before its removal doesn't count for the next one.
    free: Mutex<VecDeque<u32>>,
}

/// Why a flow was not inserted.
#[derive(Debug)]
pub(crate) enum Refused {
    Full,
    Exists,
    System(io::Error),
}

/// Where in the index an entry stands.
#[derive(Clone, Copy)]
struct Standing {
    bucket: u32,
    way: usize,
    slot: u32,
}

impl Table {
    /// An empty table, or a dead process' one.
    pub(crate) fn open(maps: &Maps, hash_key: HashKey) -> io::Result<Self> {
        let flows_max = maps.flows.entries_max();
        let table = Self {
            ports: maps.ports.mapping()?,
            buckets: maps.buckets.mapping()?,
            slots: maps.slots.mapping()?,
            sent: maps.flow_sent.mapping()?,
            counters: maps.flows.clone(),
            hash_key,
            bucket_mask: maps.buckets.entries_max() - 1,
            free: Mutex::new(VecDeque::new()),
        };
        let free =
            (0..flows_max).filter(|slot| table.generation(*slot).is_multiple_of(2)).collect();
        Ok(Self { free: Mutex::new(free), ..table })
    }

    pub(crate) fn hash_key(&self) -> HashKey {
        self.hash_key
    }

    pub(crate) fn bucket_mask(&self) -> u32 {
        self.bucket_mask
    }

    pub(crate) fn flows_max(&self) -> u32 {
        self.counters.entries_max()
    }

    /// Adds a flow, with counts of zero.
    pub(crate) fn insert(&self, key: &FlowKey, flags: u32) -> Result<(), Refused> {
        let mut free = self.lock();
        let place = self.place(key);
        if self.find(&place, key).is_some() {
            return Err(Refused::Exists);
        }
        // Two flows of one tag can't be told apart in the index: one in 2^31 is refused.
        if self.way_of(place.first, place.tag).or(self.way_of(place.second, place.tag)).is_some() {
            return Err(Refused::Full);
        }
        let (bucket, way) = match (self.way_of(place.first, 0), self.way_of(place.second, 0)) {
            (Some(way), _) => (place.first, way),
            (None, Some(way)) => (place.second, way),
            (None, None) => return Err(Refused::Full),
        };
        let slot = *free.front().ok_or(Refused::Full)?;
        let base = self.kernel_counts(slot).map_err(Refused::System)?;
        free.pop_front();
        self.fill(slot, key, flags, base);
        self.add_port_use(key, 1);
        self.buckets.half(slot_at(bucket, way)).store(slot, Relaxed);
        self.buckets.half(tag_at(bucket, way)).store(place.tag, Release);
        if bucket != place.first {
            self.add_spilled(place.first, 1);
        }
        Ok(())
    }

    /// Sets flags of a flow. False if it isn't in the table.
    pub(crate) fn set_flags(&self, key: &FlowKey, flags: u32) -> bool {
        let _writers = self.lock();
        let Some(Standing { slot, .. }) = self.find(&self.place(key), key) else { return false };
        self.slot_half(slot, offset_of!(Slot, flags)).fetch_or(flags, Release);
        true
    }

    /// The counts since the flow was inserted.
    pub(crate) fn read(&self, key: &FlowKey) -> io::Result<Option<FlowCounters>> {
        let place = self.place(key);
        for _ in 0..READS_MAX {
            let Some(Standing { slot, .. }) = self.find(&place, key) else { return Ok(None) };
            let generation = self.generation(slot);
            let counts = self.counts(slot)?;
            if self.holds(slot, generation) && self.key(slot) == *key {
                return Ok(Some(counts));
            }
        }
        Ok(None)
    }

    /// Removes a flow and reads its last counts.
    pub(crate) fn take(&self, key: &FlowKey) -> io::Result<Option<FlowCounters>> {
        let mut free = self.lock();
        let place = self.place(key);
        let Some(Standing { bucket, way, slot }) = self.find(&place, key) else { return Ok(None) };
        self.buckets.half(tag_at(bucket, way)).store(0, Release);
        if bucket != place.first {
            self.add_spilled(place.first, u32::MAX);
        }
        self.add_port_use(key, u32::MAX);
        let counts = self.counts(slot);
        self.slot_half(slot, offset_of!(Slot, generation)).fetch_add(1, Release);
        free.push_back(slot);
        counts.map(Some)
    }

    /// Every flow with its counts. Flows that come or go meanwhile may be missing.
    pub(crate) fn entries(&self) -> io::Result<Vec<(FlowKey, FlowCounters)>> {
        let mut entries = Vec::new();
        for slot in 0..self.flows_max() {
            let generation = self.generation(slot);
            if generation.is_multiple_of(2) {
                continue;
            }
            let (key, counts) = (self.key(slot), self.counts(slot)?);
            if self.holds(slot, generation) {
                entries.push((key, counts));
            }
        }
        Ok(entries)
    }

    /// What was sent through AF_XDP sockets for a flow is now `total`. The total before, or `None`
    /// if it isn't in the table. Only the worker may call it that also removes the flow.
    pub(crate) fn set_sent(&self, key: &FlowKey, total: Counter) -> Option<Counter> {
        let Standing { slot, .. } = self.find(&self.place(key), key)?;
        let at = slot as usize * size_of::<Counter>();
        let before = get(&self.sent, at);
        set(&self.sent, at, total);
        Some(before)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<u32>> {
        // A panic between two stores leaves at worst a slot that nobody uses again.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, key: &FlowKey) -> Place {
        Place::of(key, &self.hash_key, self.bucket_mask)
    }

    fn find(&self, place: &Place, key: &FlowKey) -> Option<Standing> {
        let standing = |bucket: u32| {
            let way = self.way_of(bucket, place.tag)?;
            let slot = self.buckets.half(slot_at(bucket, way)).load(Relaxed);
            Some(Standing { bucket, way, slot })
        };
        let found = standing(place.first).or_else(|| standing(place.second))?;
        (self.key(found.slot) == *key).then_some(found)
    }

    /// The place of a tag in a bucket; 0 asks for an empty one.
    fn way_of(&self, bucket: u32, tag: u32) -> Option<usize> {
        (0..BUCKET_WAYS).find(|way| self.buckets.half(tag_at(bucket, *way)).load(Acquire) == tag)
    }

    fn add_spilled(&self, bucket: u32, change: u32) {
        let at = bucket as usize * size_of::<Bucket>() + offset_of!(Bucket, spilled);
        self.buckets.half(at).fetch_add(change, Release);
    }

    fn add_port_use(&self, key: &FlowKey, change: u32) {
        let (port, protocol) = PortUse::index(key);
        let at = port as usize * size_of::<PortUse>() + 4 * protocol;
        self.ports.half(at).fetch_add(change, Release);
    }

    /// Writes a slot, and last its generation: without it there is nothing for a successor to
    /// recover.
    fn fill(&self, slot: u32, key: &FlowKey, flags: u32, base: FlowCounters) {
        let start = slot as usize * size_of::<Slot>();
        for (at, word) in key_words(key) {
            self.slots.word(start + at).store(word, Relaxed);
        }
        let base_at = start + offset_of!(Slot, base);
        set(&self.slots, base_at + offset_of!(FlowCounters, ingress), base.ingress);
        set(&self.slots, base_at + offset_of!(FlowCounters, egress), base.egress);
        set(&self.sent, slot as usize * size_of::<Counter>(), Counter::default());
        self.slots.half(start + offset_of!(Slot, flags)).store(flags, Relaxed);
        self.slots.half(start + offset_of!(Slot, generation)).fetch_add(1, Release);
    }

    /// What the kernel and we counted since the slot's flow was inserted.
    fn counts(&self, slot: u32) -> io::Result<FlowCounters> {
        let now = self.kernel_counts(slot)?;
        let base = slot as usize * size_of::<Slot>() + offset_of!(Slot, base);
        let base = FlowCounters {
            ingress: get(&self.slots, base + offset_of!(FlowCounters, ingress)),
            egress: get(&self.slots, base + offset_of!(FlowCounters, egress)),
        };
        let mut counts = now.minus(base);
        let sent = get(&self.sent, slot as usize * size_of::<Counter>());
        counts.egress = counts.egress.plus(sent);
        Ok(counts)
    }

    fn kernel_counts(&self, slot: u32) -> io::Result<FlowCounters> {
        let values = self.counters.get(&slot)?.unwrap_or_default();
        Ok(values.into_iter().fold(FlowCounters::default(), FlowCounters::plus))
    }

    fn key(&self, slot: u32) -> FlowKey {
        let start = slot as usize * size_of::<Slot>();
        let [a, b, c, d, transport] =
            key_words(&FlowKey::default()).map(|(at, _)| self.slots.word(start + at).load(Relaxed));
        FlowKey { local: Address([a, b]), remote: Address([c, d]), transport }
    }

    fn generation(&self, slot: u32) -> u32 {
        self.slot_half(slot, offset_of!(Slot, generation)).load(Acquire)
    }

    /// Has the slot been this flow's all the time?
    fn holds(&self, slot: u32, generation: u32) -> bool {
        std::sync::atomic::fence(Acquire);
        !generation.is_multiple_of(2) && self.generation(slot) == generation
    }

    fn slot_half(&self, slot: u32, at: usize) -> &std::sync::atomic::AtomicU32 {
        self.slots.half(slot as usize * size_of::<Slot>() + at)
    }
}

/// [`SLOT_REDIRECT`] for callers of this module.
pub(crate) const REDIRECT: u32 = SLOT_REDIRECT;

/// Adds to row `row` of an array of counters. Only one thread may write the row.
pub(crate) fn add(rows: &Mapping, row: usize, count: Counter) {
    let at = row * size_of::<Counter>();
    set(rows, at, get(rows, at).plus(count));
}

/// The counter at byte `at`.
pub(crate) fn get(from: &Mapping, at: usize) -> Counter {
    Counter {
        packets: from.word(at + offset_of!(Counter, packets)).load(Relaxed),
        payload_bytes: from.word(at + offset_of!(Counter, payload_bytes)).load(Relaxed),
        wire_bytes: from.word(at + offset_of!(Counter, wire_bytes)).load(Relaxed),
    }
}

/// Writes the counter at byte `at`.
pub(crate) fn set(to: &Mapping, at: usize, count: Counter) {
    to.word(at + offset_of!(Counter, packets)).store(count.packets, Relaxed);
    to.word(at + offset_of!(Counter, payload_bytes)).store(count.payload_bytes, Relaxed);
    to.word(at + offset_of!(Counter, wire_bytes)).store(count.wire_bytes, Relaxed);
}

/// The words of a key and where they are in a slot.
fn key_words(key: &FlowKey) -> [(usize, u64); 5] {
    let start = offset_of!(Slot, key);
    let (local, remote) = (start + offset_of!(FlowKey, local), start + offset_of!(FlowKey, remote));
    [
        (local, key.local.0[0]),
        (local + 8, key.local.0[1]),
        (remote, key.remote.0[0]),
        (remote + 8, key.remote.0[1]),
        (start + offset_of!(FlowKey, transport), key.transport),
    ]
}

fn tag_at(bucket: u32, way: usize) -> usize {
    bucket as usize * size_of::<Bucket>() + offset_of!(Bucket, tags) + 4 * way
}

fn slot_at(bucket: u32, way: usize) -> usize {
    bucket as usize * size_of::<Bucket>() + offset_of!(Bucket, slots) + 4 * way
}
