//! CONNECT-UDP at full rate.

use weir_core::port::EgressEvent;

use crate::rig::{Rig, Tunnel, payload};
use crate::{Outcome, warm_up};

/// How the datagrams of a turn are spread.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    connections: usize,
    tunnels: usize,
    /// Tunnels that something is sent through in one turn.
    busy: usize,
    /// Datagrams per busy tunnel and turn.
    train: usize,
    len: usize,
    /// Whether a client packs small datagrams into one packet.
    packed: bool,
}

impl Shape {
    pub(crate) const TRAINS: Shape =
        Shape { connections: 2, tunnels: 2, busy: 2, train: 32, len: 1200, packed: true };
    pub(crate) const LONE: Shape = Shape { train: 1, ..Self::TRAINS };
    pub(crate) const SMALL: Shape = Shape { train: 64, len: 64, ..Self::TRAINS };
    pub(crate) const SMALL_UNPACKED: Shape = Shape { packed: false, ..Self::SMALL };
    pub(crate) const SMALL_LONE: Shape = Shape { train: 1, len: 64, ..Self::TRAINS };
    pub(crate) const SCATTERED: Shape =
        Shape { connections: 10, tunnels: 1000, busy: 100, train: 1, len: 1200, packed: true };
}

/// Turns until windows have grown and memory is warm.
const WARM_UP: usize = 300;

/// Uplink: a unit has left for its target.
pub(crate) fn up(units: u64, shape: Shape) -> Outcome {
    run(units, shape, Drive { up: true, down: false })
}

/// Downlink: a unit has reached its client.
pub(crate) fn down(units: u64, shape: Shape) -> Outcome {
    run(units, shape, Drive { up: false, down: true })
}

/// Both at once.
pub(crate) fn echo(units: u64, shape: Shape) -> Outcome {
    run(units, shape, Drive { up: true, down: true })
}

struct Drive {
    up: bool,
    down: bool,
}

fn run(units: u64, shape: Shape, drive: Drive) -> Outcome {
    let mut rig = Rig::new();
    let clients: Vec<_> = (0..shape.connections).map(|_| rig.connect()).collect();
    let tunnels: Vec<_> =
        (0..shape.tunnels).map(|n| rig.open_udp(clients[n % clients.len()])).collect();
    let mut turns = Turns { shape, drive, next: 0, arrived: 0 };
    for _ in 0..warm_up(WARM_UP) {
        turns.one(&mut rig, &tunnels);
    }
    rig.reset();
    turns.arrived = 0;
    while rig.datagrams_out + turns.arrived < units {
        turns.one(&mut rig, &tunnels);
        rig.lap();
    }
    let stats = rig.engine.stats();
    let lost = stats.dropped_queue_full + stats.dropped_too_big + stats.dropped_early;
    let done = rig.datagrams_out + turns.arrived;
    Outcome {
        unit: "datagram",
        units: done,
        engine: rig.engine_time(),
        note: format!(
            "[dropped {lost}; {:.1} datagrams per train to targets, {:.2} packets to clients per \
             datagram]",
            rig.datagrams_out as f64 / rig.trains_out.max(1) as f64,
            rig.packets_out as f64 / done.max(1) as f64,
        ),
    }
}

struct Turns {
    shape: Shape,
    drive: Drive,
    next: usize,
    arrived: u64,
}

impl Turns {
    fn one(&mut self, rig: &mut Rig, tunnels: &[Tunnel]) {
        let Shape { busy, train, len, packed, .. } = self.shape;
        for _ in 0..busy {
            let tunnel = tunnels[self.next];
            self.next = (self.next + 1) % tunnels.len();
            if self.drive.down {
                rig.events.push(EgressEvent::UdpReceived {
                    id: tunnel.egress,
                    train: payload(train * len),
                    segment_size: len,
                });
            }
            if self.drive.up {
                send(rig, tunnel, train, len, packed);
            }
        }
        rig.exchange();
        for client in &mut rig.clients {
            for stream in client.streams.values_mut() {
                self.arrived += stream.datagrams.len() as u64;
                stream.datagrams.clear();
            }
        }
    }
}

fn send(rig: &mut Rig, tunnel: Tunnel, datagrams: usize, len: usize, packed: bool) {
    let before = rig.trains.len();
    for _ in 0..datagrams {
        rig.clients[tunnel.client].send_udp(tunnel.stream, payload(len));
        if !packed {
            rig.pump(tunnel.client);
        }
    }
    // The kernel joins packets of equal length into one train.
    let packets: Vec<_> = rig.trains.drain(before..).collect();
    for (meta, packet) in packets {
        match rig.trains[before..].last_mut() {
            Some((last, train))
                if last.segment_size == packet.len() && train.len() % last.segment_size == 0 =>
            {
                train.extend_from_slice(&packet);
            }
            _ => rig.trains.push((meta, packet)),
        }
    }
}
