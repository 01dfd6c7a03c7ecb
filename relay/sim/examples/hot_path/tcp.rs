//! CONNECT at full rate: two tunnels on two connections.

use weir_core::port::EgressEvent;

use crate::rig::{Rig, Tunnel, payload};
use crate::{Outcome, warm_up};

const WARM_UP: usize = 500;

/// Bytes of one read of a target's socket, and of one write of a client.
const READ: usize = 64 << 10;

/// Bytes that a client has under way per turn.
const PER_TURN: usize = 128 << 10;

/// Uplink, in units of 1,000 bytes.
pub(crate) fn up(units: u64) -> Outcome {
    let (mut rig, tunnels) = rig();
    let mut written = vec![0; tunnels.len()];
    let mut turn = |rig: &mut Rig| {
        for (tunnel, sent) in tunnels.iter().zip(&mut written) {
            let client = &mut rig.clients[tunnel.client];
            while *sent < client.stream(tunnel.stream).written + PER_TURN {
                client.send(tunnel.stream, payload(16 << 10));
                *sent += 16 << 10;
            }
        }
        rig.exchange();
    };
    for _ in 0..warm_up(WARM_UP) {
        turn(&mut rig);
    }
    rig.reset();
    while rig.bytes_out < units * 1000 {
        turn(&mut rig);
        rig.lap();
    }
    let bytes = rig.bytes_out;
    outcome(rig, bytes)
}

/// Downlink, in units of 1,000 bytes.
pub(crate) fn down(units: u64) -> Outcome {
    let (mut rig, tunnels) = rig();
    let mut arrived = 0;
    let mut turn = |rig: &mut Rig| {
        for (n, tunnel) in tunnels.iter().enumerate() {
            let mut left = PER_TURN.min(rig.credit[n]);
            rig.credit[n] -= left;
            while left > 0 {
                let data = payload(left.min(READ).min(65_535));
                left -= data.len();
                rig.events.push(EgressEvent::TcpReceived { id: tunnel.egress, data });
            }
        }
        rig.exchange();
        for client in &mut rig.clients {
            for stream in client.streams.values_mut() {
                arrived += stream.data.len() as u64;
                stream.data.clear();
            }
        }
        std::mem::take(&mut arrived)
    };
    for _ in 0..warm_up(WARM_UP) {
        turn(&mut rig);
    }
    rig.reset();
    let mut bytes = 0;
    while bytes < units * 1000 {
        bytes += turn(&mut rig);
        rig.lap();
    }
    outcome(rig, bytes)
}

fn rig() -> (Rig, Vec<Tunnel>) {
    let mut rig = Rig::new();
    let clients = [rig.connect(), rig.connect()];
    let tunnels = clients.iter().map(|client| rig.open_tcp(*client)).collect();
    (rig, tunnels)
}

fn outcome(mut rig: Rig, bytes: u64) -> Outcome {
    let engine = rig.engine_time();
    Outcome {
        unit: "1000 bytes",
        units: bytes / 1000,
        engine,
        note: format!(
            "= {:.3} s per GB [{:.0} bytes per write to a target, {:.2} packets to clients per 1000 \
             bytes]",
            engine.as_secs_f64() * 1e9 / bytes as f64,
            rig.bytes_out as f64 / rig.trains_out.max(1) as f64,
            rig.packets_out as f64 * 1000.0 / bytes as f64,
        ),
    }
}
