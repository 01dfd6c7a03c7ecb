//! `aya::Pod` for the map types, so that user space may copy them to and from the kernel.

use crate::{
    Config, Counter, FlowCounters, FlowKey, Steer, XskOwner,
    table::{Bucket, PortUse, Slot},
};

// SAFETY: repr(C), no padding that is not a field (see `tests::layout_has_no_hidden_padding`),
// and every bit pattern is a value. Not safe code, because no compiler checks this promise.
unsafe impl aya::Pod for Config {}
// SAFETY: as above.
unsafe impl aya::Pod for Steer {}
// SAFETY: as above.
unsafe impl aya::Pod for FlowKey {}
// SAFETY: as above.
unsafe impl aya::Pod for Counter {}
// SAFETY: as above.
unsafe impl aya::Pod for FlowCounters {}
// SAFETY: as above.
unsafe impl aya::Pod for Bucket {}
// SAFETY: as above.
unsafe impl aya::Pod for Slot {}
// SAFETY: as above.
unsafe impl aya::Pod for XskOwner {}
// SAFETY: as above.
unsafe impl aya::Pod for PortUse {}
