//! Counting: one meter per tunnel, folded into per-kind and per-target totals when it closes.
//!
//! The hot path touches only the tunnel's own atomics; everything else is done at open, close and
//! when somebody looks.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Buf, Bytes};

use crate::usage::{DirectionUsage, KindUsage, TargetUsage, TunnelKind, TunnelUsage};

/// Targets kept apart in the totals; later ones share a row. Bounds what a port scan can fill.
const TARGETS_MAX: usize = 1024;
const OTHERS: &str = "(others)";

/// All meters of the process.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next_id: u64,
    open: BTreeMap<u64, Arc<Counts>>,
    tcp: KindUsage,
    udp: KindUsage,
    targets: HashMap<(TunnelKind, String), TargetUsage>,
}

#[derive(Debug)]
struct Counts {
    kind: TunnelKind,
    target: String,
    up_bytes: AtomicU64,
    up_datagrams: AtomicU64,
    down_bytes: AtomicU64,
    down_datagrams: AtomicU64,
}

/// The meter of one open tunnel; dropping the last reference closes it.
#[derive(Debug)]
pub(crate) struct TunnelMeter {
    id: u64,
    counts: Arc<Counts>,
    meters: Arc<Meters>,
}

/// What a snapshot holds; the rest of the answer to `GET /usage` is not about counting.
#[derive(Debug)]
pub(crate) struct MeterSnapshot {
    pub(crate) tcp: KindUsage,
    pub(crate) udp: KindUsage,
    pub(crate) total: KindUsage,
    pub(crate) targets: Vec<TargetUsage>,
    pub(crate) open: Vec<TunnelUsage>,
}

impl Meters {
    /// Starts counting for a tunnel that the relay is asked for.
    pub(crate) fn open(self: &Arc<Self>, kind: TunnelKind, target: String) -> Arc<TunnelMeter> {
        let mut inner = self.lock();
        inner.next_id += 1;
        let id = inner.next_id;
        // Makes the row, so that a snapshot has where to add an open tunnel's bytes.
        inner.target_mut(kind, &target);
        let counts = Arc::new(Counts {
            kind,
            target,
            up_bytes: AtomicU64::new(0),
            up_datagrams: AtomicU64::new(0),
            down_bytes: AtomicU64::new(0),
            down_datagrams: AtomicU64::new(0),
        });
        inner.open.insert(id, Arc::clone(&counts));
        Arc::new(TunnelMeter { id, counts, meters: Arc::clone(self) })
    }

    /// Payload bytes of all tunnels since the start: (up, down). Never falls.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let inner = self.lock();
        let closed = sum(&inner.tcp, &inner.udp);
        inner.open.values().fold((closed.up.bytes, closed.down.bytes), |(up, down), counts| {
            (up + counts.up_bytes.load(Relaxed), down + counts.down_bytes.load(Relaxed))
        })
    }

    pub(crate) fn snapshot(&self) -> MeterSnapshot {
        let inner = self.lock();
        let (mut tcp, mut udp) = (inner.tcp, inner.udp);
        let mut targets = inner.targets.clone();
        let mut open = Vec::with_capacity(inner.open.len());
        for (&id, counts) in &inner.open {
            let (up, down) = (counts.up(), counts.down());
            let kind = match counts.kind {
                TunnelKind::Tcp => &mut tcp,
                TunnelKind::Udp => &mut udp,
            };
            add(&mut kind.up, up);
            add(&mut kind.down, down);
            let key = inner.target_key(counts.kind, &counts.target);
            if let Some(target) = targets.get_mut(&key) {
                add(&mut target.up, up);
                add(&mut target.down, down);
            }
            let target = counts.target.clone();
            open.push(TunnelUsage { id, kind: counts.kind, target, up, down });
        }
        let mut targets: Vec<_> = targets.into_values().collect();
        targets.sort_by_key(|t| std::cmp::Reverse(t.up.bytes + t.down.bytes));
        MeterSnapshot { tcp, udp, total: sum(&tcp, &udp), targets, open }
    }

    fn close(&self, id: u64, counts: &Counts) {
        let mut inner = self.lock();
        inner.open.remove(&id);
        let (up, down) = (counts.up(), counts.down());
        let kind = inner.kind_mut(counts.kind);
        add(&mut kind.up, up);
        add(&mut kind.down, down);
        let target = inner.target_mut(counts.kind, &counts.target);
        add(&mut target.up, up);
        add(&mut target.down, down);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Inner {
    fn kind_mut(&mut self, kind: TunnelKind) -> &mut KindUsage {
        match kind {
            TunnelKind::Tcp => &mut self.tcp,
            TunnelKind::Udp => &mut self.udp,
        }
    }

    fn target_key(&self, kind: TunnelKind, target: &str) -> (TunnelKind, String) {
        let key = (kind, target.to_owned());
        if self.targets.contains_key(&key) { key } else { (kind, OTHERS.to_owned()) }
    }

    fn target_mut(&mut self, kind: TunnelKind, target: &str) -> &mut TargetUsage {
        let full = self.targets.len() >= TARGETS_MAX;
        let key = if full { self.target_key(kind, target) } else { (kind, target.to_owned()) };
        let target = key.1.clone();
        let none = DirectionUsage::default();
        self.targets.entry(key).or_insert(TargetUsage {
            kind,
            target,
            tunnels: 0,
            up: none,
            down: none,
        })
    }
}

impl TunnelMeter {
    /// The relay opened the tunnel.
    pub(crate) fn accepted(&self) {
        let mut inner = self.meters.lock();
        inner.kind_mut(self.counts.kind).tunnels += 1;
        inner.target_mut(self.counts.kind, &self.counts.target).tunnels += 1;
    }

    /// The relay refused the tunnel, or could not be asked.
    pub(crate) fn refused(&self) {
        self.meters.lock().kind_mut(self.counts.kind).refused += 1;
    }

    /// Bytes of a stream that QUIC accepted.
    pub(crate) fn up_stream(&self, bytes: usize) {
        self.counts.up_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Bytes of a stream that arrived.
    pub(crate) fn down_stream(&self, bytes: usize) {
        self.counts.down_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// One UDP datagram that QUIC accepted.
    pub(crate) fn up_datagram(&self, bytes: usize) {
        self.counts.up_bytes.fetch_add(bytes as u64, Relaxed);
        self.counts.up_datagrams.fetch_add(1, Relaxed);
    }

    /// One UDP datagram that arrived.
    pub(crate) fn down_datagram(&self, bytes: usize) {
        self.counts.down_bytes.fetch_add(bytes as u64, Relaxed);
        self.counts.down_datagrams.fetch_add(1, Relaxed);
    }
}

impl Drop for TunnelMeter {
    fn drop(&mut self) {
        self.meters.close(self.id, &self.counts);
    }
}

impl Counts {
    fn up(&self) -> DirectionUsage {
        DirectionUsage {
            bytes: self.up_bytes.load(Relaxed),
            datagrams: self.up_datagrams.load(Relaxed),
        }
    }

    fn down(&self) -> DirectionUsage {
        DirectionUsage {
            bytes: self.down_bytes.load(Relaxed),
            datagrams: self.down_datagrams.load(Relaxed),
        }
    }
}

/// Request payload that counts itself as QUIC takes it, so that a stream that breaks in the middle
/// of a chunk is counted to the byte.
#[derive(Debug)]
pub(crate) struct MeteredBytes {
    bytes: Bytes,
    meter: Option<Arc<TunnelMeter>>,
}

impl MeteredBytes {
    pub(crate) fn new(bytes: Bytes, meter: &Arc<TunnelMeter>) -> MeteredBytes {
        MeteredBytes { bytes, meter: Some(Arc::clone(meter)) }
    }

    /// Not tunnelled payload: capsules, and bodies of requests to the relay itself.
    pub(crate) fn uncounted(bytes: Bytes) -> MeteredBytes {
        MeteredBytes { bytes, meter: None }
    }
}

impl Buf for MeteredBytes {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        if let Some(meter) = &self.meter {
            meter.up_stream(count);
        }
        self.bytes.advance(count);
    }
}

fn add(total: &mut DirectionUsage, more: DirectionUsage) {
    total.bytes += more.bytes;
    total.datagrams += more.datagrams;
}

fn sum(tcp: &KindUsage, udp: &KindUsage) -> KindUsage {
    let mut total = *tcp;
    add(&mut total.up, udp.up);
    add(&mut total.down, udp.down);
    total.tunnels += udp.tunnels;
    total.refused += udp.refused;
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_the_same_before_and_after_a_tunnel_closes() {
        let meters = Arc::new(Meters::default());
        let tcp = meters.open(TunnelKind::Tcp, "a:1".into());
        let udp = meters.open(TunnelKind::Udp, "a:1".into());
        tcp.down_stream(1000);
        let mut chunk = MeteredBytes::new(Bytes::from_static(&[0; 100]), &tcp);
        chunk.advance(60);
        udp.up_datagram(0);
        udp.down_datagram(7);
        let before = meters.snapshot();
        assert_eq!((before.tcp.up.bytes, before.tcp.down.bytes), (60, 1000));
        assert_eq!((before.udp.up.datagrams, before.udp.down.bytes), (1, 7));
        assert_eq!(before.open.len(), 2);
        drop((chunk, tcp, udp));
        let after = meters.snapshot();
        assert!(after.open.is_empty());
        assert_eq!(after.total, before.total);
        assert_eq!(after.targets, before.targets);
        assert_eq!(meters.bytes(), (60, 1007));
    }

    #[test]
    fn the_table_of_targets_is_bounded_and_loses_no_byte() {
        let meters = Arc::new(Meters::default());
        let tunnels = TARGETS_MAX as u64 + 10;
        for port in 0..tunnels {
            meters.open(TunnelKind::Udp, format!("h:{port}")).up_datagram(3);
        }
        let snapshot = meters.snapshot();
        assert!(snapshot.targets.len() <= TARGETS_MAX + 2);
        assert_eq!(snapshot.targets.iter().map(|t| t.up.bytes).sum::<u64>(), 3 * tunnels);
        assert_eq!(snapshot.targets[0].target, OTHERS);
    }
}
