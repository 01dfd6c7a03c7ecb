//! Ledger C: client-facing packets as the kernel counted them, against what the engines say they
//! received and sent.
//!
//! The kernel tells packets of clients by listening address and connection ID, not by session: a
//! client may change its address, and only the engine holds the keys. So C is compared as a whole.
//! All payload that is billed came or went in these packets; engines that claim more of them than
//! crossed the wire claim payload that didn't. The other way round is no wonder: the kernel drops
//! what finds a socket full.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use serde_json::{Value, json};
use weir_abi::{Counter, Direction, PassReason, Verdict};
use weir_usage::FlowAmount;
use weir_xdp::VerdictCount;

use crate::worker::Snapshot;

/// Engines count what they hand over for sending, the kernel what leaves: a turn's output is in
/// between, for each worker.
const UNDER_WAY_BYTES: u64 = 16 << 20;

/// What a full send buffer may cost in the long run, in thousandths of what was sent.
const LOST_PERMILLE: u64 = 1;

/// Looks in a row before it is an alarm: the two sides aren't read at the same instant.
const STRIKES: u32 = 3;

/// Client-facing UDP, both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Access {
    /// From clients.
    pub up: FlowAmount,
    /// To clients.
    pub down: FlowAmount,
    /// Wire bytes that the kernel's program passed on without reading as far as their ports. Some
    /// may have been from clients: who sends fragments must not be able to raise the alarm.
    pub unread_bytes: u64,
}

impl Access {
    /// What the kernel says.
    pub(crate) fn of_kernel(rows: impl IntoIterator<Item = VerdictCount>) -> Self {
        let mut access = Self::default();
        for VerdictCount { direction, verdict, count } in rows {
            match (direction, verdict) {
                (Direction::Ingress, Verdict::Ours(_)) => add(&mut access.up, &count),
                (Direction::Egress, Verdict::Ours(_)) => add(&mut access.down, &count),
                (Direction::Ingress, Verdict::Pass(reason)) if is_unread(reason) => {
                    access.unread_bytes += count.wire_bytes;
                }
                _ => {}
            }
        }
        access
    }

    /// What the engines say. They know nothing of headers: `wire_bytes` is 0.
    pub(crate) fn of_engines<'a>(snapshots: impl IntoIterator<Item = &'a Snapshot>) -> Self {
        let mut access = Self::default();
        for Snapshot { engine, .. } in snapshots {
            access.up.packets += engine.packets_received;
            access.up.payload_bytes += engine.bytes_received;
            access.down.packets += engine.packets_sent;
            access.down.payload_bytes += engine.bytes_sent;
        }
        access
    }
}

fn add(sum: &mut FlowAmount, count: &Counter) {
    sum.packets += count.packets;
    sum.payload_bytes += count.payload_bytes;
    sum.wire_bytes += count.wire_bytes;
}

/// Whether the kernel's stack may still find a datagram for a listening socket in such a packet.
fn is_unread(reason: PassReason) -> bool {
    use PassReason::{
        BadIpHeader, BadTransport, Extensions, Flow, Fragment, Icmp, NotConfigured, NotIp,
        OtherProtocol, Truncated, Unattributed, VlanDepth,
    };
    match reason {
        NotConfigured | VlanDepth | Truncated | Fragment | Extensions => true,
        Flow | NotIp | BadIpHeader | Icmp | OtherProtocol | BadTransport | Unattributed => false,
    }
}

/// Both sides at about the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub a: Access,
    /// Read after `a`: what the engines received can't be more than this.
    pub c: Access,
    pub workers: usize,
}

impl Reading {
    /// The engines' bytes minus the kernel's, from and to clients.
    pub(crate) fn discrepancy(&self) -> [(&'static str, i64); 2] {
        let minus = |a: FlowAmount, c: FlowAmount| a.payload_bytes.wrapping_sub(c.payload_bytes);
        [
            ("up", minus(self.a.up, self.c.up) as i64),
            ("down", minus(self.a.down, self.c.down) as i64),
        ]
    }

    /// How many bytes the engines claim beyond what the tolerance explains, at worst.
    fn overcounted(&self) -> Option<(&'static str, u64)> {
        let under_way = UNDER_WAY_BYTES * self.workers as u64;
        let allowed =
            [self.c.unread_bytes, under_way + self.c.down.payload_bytes / 1000 * LOST_PERMILLE];
        let over = self.discrepancy().into_iter().zip(allowed).filter_map(|(found, allowed)| {
            let (direction, bytes) = found;
            u64::try_from(bytes).ok().filter(|bytes| *bytes > allowed).map(|n| (direction, n))
        });
        over.max_by_key(|(_, bytes)| *bytes)
    }

    /// As `/status` shows it.
    pub(crate) fn json(&self, alarm: bool) -> Value {
        let amount = |of: FlowAmount| json!({ "packets": of.packets, "bytes": of.payload_bytes });
        let [(_, up), (_, down)] = self.discrepancy();
        json!({
            "a": { "up": amount(self.a.up), "down": amount(self.a.down) },
            "c": { "up": amount(self.c.up), "down": amount(self.c.down) },
            "a_minus_c_bytes": { "up": up, "down": down },
            "alarm": alarm,
        })
    }
}

/// Raises the alarm.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    strikes: AtomicU32,
    /// By how much at the last look, and which way.
    over_bytes: AtomicU64,
    over_up: AtomicBool,
}

impl Watch {
    /// Looks at a reading; a line in the log when the alarm begins, and when it ends.
    pub(crate) fn look(&self, reading: &Reading) {
        let before = self.strikes.load(Ordering::Relaxed);
        let Some((direction, bytes)) = reading.overcounted() else {
            self.strikes.store(0, Ordering::Relaxed);
            if before >= STRIKES {
                tracing::info!("ledger C agrees with the engines again");
            }
            return;
        };
        self.over_bytes.store(bytes, Ordering::Relaxed);
        self.over_up.store(direction == "up", Ordering::Relaxed);
        self.strikes.store(before.saturating_add(1), Ordering::Relaxed);
        if before + 1 == STRIKES {
            tracing::error!(
                direction,
                bytes,
                "ALARM: the engines count more client-facing bytes than the kernel saw; either \
                 clients come in by an interface that [xdp] doesn't name, or what is billed isn't \
                 what was carried"
            );
        }
    }

    /// The alarm in words, while it stands.
    pub(crate) fn finding(&self) -> Option<String> {
        let from = if self.over_up.load(Ordering::Relaxed) { "from" } else { "to" };
        let bytes = self.over_bytes.load(Ordering::Relaxed);
        self.alarm().then(|| {
            format!("the relay counts {bytes} bytes {from} clients that the kernel never saw")
        })
    }

    /// Whether the engines were found to claim too much.
    pub(crate) fn alarm(&self) -> bool {
        self.strikes.load(Ordering::Relaxed) >= STRIKES
    }
}

#[cfg(test)]
mod tests {
    use weir_abi::OursKind;

    use super::*;

    fn reading(a: [u64; 2], c: [u64; 2]) -> Reading {
        let access = |[up, down]: [u64; 2]| Access {
            up: FlowAmount { payload_bytes: up, ..FlowAmount::default() },
            down: FlowAmount { payload_bytes: down, ..FlowAmount::default() },
            unread_bytes: 0,
        };
        Reading { a: access(a), c: access(c), workers: 1 }
    }

    #[test]
    fn what_the_kernel_dropped_and_what_is_under_way_is_no_alarm() {
        let watch = Watch::default();
        for _ in 0..10 {
            watch.look(&reading([900, UNDER_WAY_BYTES], [1_000, 0]));
            watch.look(&reading([0, 40_000_000], [0, 24_000_000]));
        }
        assert!(!watch.alarm());
    }

    #[test]
    fn what_came_in_fragments_may_have_been_from_clients() {
        let row = |direction, verdict, payload_bytes| VerdictCount {
            direction,
            verdict,
            count: Counter { packets: 1, payload_bytes, wire_bytes: payload_bytes + 42 },
        };
        let (ours, fragment) = (OursKind::Short, PassReason::Fragment);
        let c = Access::of_kernel([
            row(Direction::Ingress, Verdict::Ours(ours), 1_000),
            row(Direction::Ingress, Verdict::Pass(fragment), 0),
            row(Direction::Ingress, Verdict::Pass(PassReason::Unattributed), 500),
            row(Direction::Egress, Verdict::Ours(ours), 300),
            row(Direction::Egress, Verdict::Pass(fragment), 0),
        ]);
        assert_eq!((c.up.payload_bytes, c.down.payload_bytes, c.unread_bytes), (1_000, 300, 42));
        let reading = |up| Reading { c, ..reading([up, 0], [0, 0]) };
        assert_eq!(reading(1_042).overcounted(), None);
        assert_eq!(reading(1_043).overcounted(), Some(("up", 43)));
    }

    #[test]
    fn engines_that_claim_more_than_crossed_the_wire_are_an_alarm_if_it_lasts() {
        for forged in [reading([1_001, 0], [1_000, 0]), reading([0, 1 << 30], [0, 1 << 20])] {
            let watch = Watch::default();
            for look in 1..=STRIKES {
                watch.look(&forged);
                assert_eq!(watch.alarm(), look == STRIKES);
            }
            watch.look(&reading([1_000, 0], [1_000, 0]));
            assert!(!watch.alarm());
        }
    }
}
