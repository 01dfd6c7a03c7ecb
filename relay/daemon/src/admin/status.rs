//! `/status`: the relay at a glance, as JSON.

use serde_json::{Value, json};
use weir_core::credit::Standing;

use crate::control::resources::hex;
use crate::state::State;
use crate::worker::latency::Latency;

/// Reads the ledgers at this moment, so that a caller who waited for its tunnels to end finds all
/// of their bytes.
pub(crate) fn snapshot(state: &State) -> Value {
    let snapshots = state.peers.snapshots();
    let mut latency = Latency::default();
    let mut tunnels = (0, 0);
    let mut workers = Vec::new();
    for (index, worker) in snapshots.iter().enumerate() {
        latency.merge(&worker.latency);
        tunnels.0 += worker.engine.tunnels_tcp_open;
        tunnels.1 += worker.engine.tunnels_udp_open;
        workers.push(json!({
            "worker": index,
            "connections": worker.engine.connections_open,
            "connections_established": worker.engine.connections_established,
            "tunnels_tcp": worker.engine.tunnels_tcp_open,
            "tunnels_udp": worker.engine.tunnels_udp_open,
            "turns": worker.turns.turns,
            "strays_out": worker.turns.strays_out,
            "strays_in": worker.turns.strays_in,
            "drained": worker.drained,
            "latency_ns": latency_json(&worker.latency),
        }));
    }
    let config = state.config.load();
    let (totals, inherited, lag) = {
        let mut export = state.export.lock().expect("no holder of this lock panics");
        export.collect();
        (export.totals(), export.inherited().clone(), export.lag())
    };
    json!({
        "name": config.relay.name,
        "version": env!("CARGO_PKG_VERSION"),
        "state": if state.drain.has_begun() { "draining" } else { "running" },
        "epoch": format!("{:016x}", state.epoch),
        "uptime_s": state.started.elapsed().as_secs(),
        "listen": state.listen.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "certificate_sha256": state.fingerprint.load().as_str(),
        "backend": state.backend,
        "steering": state.steering,
        "xdp": state.xdp.status(),
        "tunnels": { "tcp": tunnels.0, "udp": tunnels.1 },
        "latency_ns": latency_json(&latency),
        "workers": workers,
        "totals": totals,
        "inherited": inherited,
        "access": state.access().map(|reading| reading.json(state.access.alarm())),
        "grants": grants(state),
        "export": {
            "settlement": config.settle.is_some(),
            "connected": state.resources.is_connected(),
            "tunnels_waiting": lag.0,
            "records_in_flight": lag.1,
        },
    })
}

fn latency_json(latency: &Latency) -> Value {
    json!({
        "datagrams": latency.count(),
        "p50": latency.quantile_ns(0.5),
        "p99": latency.quantile_ns(0.99),
        "p999": latency.quantile_ns(0.999),
        "max": latency.quantile_ns(1.0),
    })
}

fn grants(state: &State) -> Value {
    let grants = state.accounts.configured(&state.config.load().grants);
    grants
        .iter()
        .map(|grant| {
            let billed = grant.channel.is_some();
            json!({
                "name": grant.name,
                "channel": grant.channel.map(|channel| hex(&channel)),
                "lane": grant.lane,
                "used_bytes": grant.credit.used(),
                "soft_limit_bytes": billed.then(|| grant.credit.soft_limit()),
                "limit_bytes": billed.then(|| grant.credit.limit()),
                "standing": grant.credit.standing().label(),
                "sessions": grant.credit.sessions(),
                "exhausted": grant.credit.standing() == Standing::Stopped,
            })
        })
        .collect()
}
