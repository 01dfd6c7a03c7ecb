//! The table of exit flows: arrays that user space alone fills and the packet path only reads.
//!
//! A kernel hash map costs a hash of 40 bytes and a walk for every packet, those of foreign
//! traffic too. Here a flow's hash names a [`Bucket`] of one cache line; seven 32-bit tags in it
//! tell at once that a packet belongs to no flow, and the place in the array of [`Slot`]s if it
//! may. The slot holds the key, which decides.
//!
//! Before that its local port is asked how many flows it has: foreign traffic mostly ends there,
//! and costs one load.
//!
//! A flow stands in its first bucket, or, if all places were taken, in its second; only then the
//! first one says `spilled`, so that nearly all lookups end after one line. There are as many
//! buckets as flows: with all slots in use, one flow of 100,000 spills (Poisson with mean 1 beyond
//! 7), and that its second bucket is full too is as rare again.
//!
//! Clients choose targets, so the hash has a random key, and they can't aim at a bucket. It is the
//! NH of UMAC (RFC 4418, section 5.2.2): for two different keys the chance to meet is 2^-32.

use crate::{Address, FlowCounters, FlowKey};

/// Flows whose hash names one bucket, and still are found in it.
pub const BUCKET_WAYS: usize = 7;

/// Key of the hash: random for each start.
pub type HashKey = [u32; 10];

/// One cache line of the index.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Of the flow in each place; 0 is an empty one.
    pub tags: [u32; BUCKET_WAYS],
    /// Flows that found no place here and stand in their second bucket.
    pub spilled: u32,
    /// The slots they have.
    pub slots: [u32; BUCKET_WAYS],
    /// Always zero.
    pub pad: u32,
}

/// How many flows a local port has.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortUse {
    /// TCP, UDP: see [`PortUse::index`].
    pub flows: [u32; 2],
}

/// Rows of the array of local ports.
pub const PORTS: u32 = 1 << 16;

impl PortUse {
    /// Row of a flow's local port, and which of the two numbers is its protocol's.
    #[inline(always)]
    #[must_use]
    pub const fn index(key: &FlowKey) -> (u32, usize) {
        // IANA's number of UDP is odd, that of TCP even.
        ((key.transport >> 16) as u16 as u32, (key.transport >> 32 & 1) as usize)
    }
}

/// An exit flow in the table.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    pub key: FlowKey,
    /// [`SLOT_REDIRECT`], or nothing.
    pub flags: u32,
    /// Raised by one when a flow enters the slot and when it leaves; so it is odd while there is
    /// one, and a reader sees that the flow has changed under it.
    pub generation: u32,
    /// Always zero: the rest of the line that the packet path reads.
    pub pad: [u64; 2],
    /// What the slot's counters said when the flow entered. They only grow, so its own counts
    /// are the difference.
    pub base: FlowCounters,
    /// Always zero.
    pub rest: [u64; 2],
}

/// Flag of a slot: arriving packets go to the AF_XDP socket of their interface and queue.
pub const SLOT_REDIRECT: u32 = 1;

/// Where a flow may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub first: u32,
    /// Only to be looked at if the first one has spilled.
    pub second: u32,
    /// Never 0.
    pub tag: u32,
}

impl Place {
    /// Of `key`, in a table of `mask + 1` buckets, a power of two.
    #[inline(always)]
    #[must_use]
    pub const fn of(key: &FlowKey, hash_key: &HashKey, mask: u32) -> Self {
        let FlowKey { local: Address(local), remote: Address(remote), transport } = key;
        let sum = pair(local[0], hash_key[0], hash_key[1])
            .wrapping_add(pair(local[1], hash_key[2], hash_key[3]))
            .wrapping_add(pair(remote[0], hash_key[4], hash_key[5]))
            .wrapping_add(pair(remote[1], hash_key[6], hash_key[7]))
            .wrapping_add(pair(*transport, hash_key[8], hash_key[9]));
        // The sum's low bits depend on few bits of the key; the upper half of a product on all.
        let mixed = (sum ^ sum >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let tag = (mixed >> 32) as u32 | 1;
        let first = (mixed >> 20) as u32 & mask;
        Self { first, second: (first ^ (mixed as u32 >> 4 | 1)) & mask, tag }
    }
}

/// What a bucket says about a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// It may be in this slot; its key decides. If it isn't there it is nowhere: user space
    /// refuses a flow whose tag is in its bucket already.
    Slot(u32),
    /// Not here, but the second bucket is to be asked too.
    Elsewhere,
    /// In no bucket.
    Nowhere,
}

impl Bucket {
    /// Looks for a tag.
    #[inline(always)]
    #[must_use]
    pub const fn look(&self, tag: u32) -> Looked {
        let mut way = 0;
        while way < BUCKET_WAYS {
            if self.tags[way] == tag {
                return Looked::Slot(self.slots[way]);
            }
            way += 1;
        }
        if self.spilled == 0 { Looked::Nowhere } else { Looked::Elsewhere }
    }
}

impl Slot {
    /// Is it this flow's?
    #[inline(always)]
    #[must_use]
    pub const fn is_of(&self, key: &FlowKey) -> bool {
        let (own, other) = (&self.key, key);
        let transport = own.transport ^ other.transport;
        let remote = (own.remote.0[0] ^ other.remote.0[0]) | (own.remote.0[1] ^ other.remote.0[1]);
        let local = (own.local.0[0] ^ other.local.0[0]) | (own.local.0[1] ^ other.local.0[1]);
        transport | remote | local == 0
    }
}

/// Buckets of a table of `flows_max` flows.
#[must_use]
pub const fn buckets(flows_max: u32) -> u32 {
    let wanted = if flows_max < 2 { 2 } else { flows_max };
    wanted.next_power_of_two()
}

#[inline(always)]
const fn pair(word: u64, low_key: u32, high_key: u32) -> u64 {
    let low = (word as u32).wrapping_add(low_key);
    let high = ((word >> 32) as u32).wrapping_add(high_key);
    (low as u64).wrapping_mul(high as u64)
}
