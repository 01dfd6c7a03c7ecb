//! Sums over tunnels, per transport.

use serde::Serialize;
use weir_core::ledger::{Amount, DirectionCounters, DropReason, TunnelCounters};
use weir_core::port::{FlowTuple, Transport};
use weir_usage::{ExitFlow, FlowAmount};

/// Ledgers A and B of all tunnels, apart by transport.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub tcp: KindTotals,
    pub udp: KindTotals,
}

/// Ledgers A and B of all tunnels of one transport.
#[derive(Clone, Debug, Default)]
pub(crate) struct KindTotals {
    pub tunnels: u64,
    /// Among them those that are open.
    pub open: u64,
    /// Among them those whose flow the kernel counted.
    pub counted: u64,
    pub a: TunnelCounters,
    pub b: ExitFlow,
}

impl Totals {
    pub(crate) fn kind_mut(&mut self, transport: Transport) -> &mut KindTotals {
        match transport {
            Transport::Tcp => &mut self.tcp,
            Transport::Udp => &mut self.udp,
        }
    }

    /// Adds a tunnel.
    pub(crate) fn add(&mut self, flow: &FlowTuple, a: &TunnelCounters, b: Option<ExitFlow>) {
        let kind = self.kind_mut(flow.transport);
        kind.tunnels += 1;
        add_direction(&mut kind.a.up, &a.up);
        add_direction(&mut kind.a.down, &a.down);
        if let Some(b) = b {
            kind.counted += 1;
            add_flow(&mut kind.b.up, &b.up);
            add_flow(&mut kind.b.down, &b.down);
        }
    }
}

fn add_direction(sum: &mut DirectionCounters, more: &DirectionCounters) {
    add_amount(&mut sum.received, &more.received);
    add_amount(&mut sum.forwarded, &more.forwarded);
    for (sum, more) in sum.dropped.iter_mut().zip(&more.dropped) {
        add_amount(sum, more);
    }
}

fn add_amount(sum: &mut Amount, more: &Amount) {
    sum.bytes += more.bytes;
    sum.datagrams += more.datagrams;
}

fn add_flow(sum: &mut FlowAmount, more: &FlowAmount) {
    sum.packets += more.packets;
    sum.payload_bytes += more.payload_bytes;
    sum.wire_bytes += more.wire_bytes;
}

/// As JSON: the form that `/status` shows.
impl Serialize for Totals {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::json!({ "tcp": kind_json(&self.tcp), "udp": kind_json(&self.udp) })
            .serialize(serializer)
    }
}

fn kind_json(kind: &KindTotals) -> serde_json::Value {
    serde_json::json!({
        "tunnels": kind.tunnels,
        "open": kind.open,
        "a": { "up": direction_json(&kind.a.up), "down": direction_json(&kind.a.down) },
        "b": {
            "tunnels": kind.counted,
            "up": flow_json(&kind.b.up),
            "down": flow_json(&kind.b.down),
        },
    })
}

fn direction_json(direction: &DirectionCounters) -> serde_json::Value {
    let amount = |of: &Amount| serde_json::json!({ "bytes": of.bytes, "datagrams": of.datagrams });
    let dropped: serde_json::Map<_, _> = DropReason::ALL
        .into_iter()
        .map(|reason| (reason.label().to_owned(), amount(&direction.dropped[reason as usize])))
        .collect();
    serde_json::json!({
        "received": amount(&direction.received),
        "forwarded": amount(&direction.forwarded),
        "dropped": dropped,
    })
}

fn flow_json(flow: &FlowAmount) -> serde_json::Value {
    serde_json::json!({
        "packets": flow.packets,
        "payload_bytes": flow.payload_bytes,
        "wire_bytes": flow.wire_bytes,
    })
}
