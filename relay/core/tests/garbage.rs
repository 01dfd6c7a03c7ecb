//! Nothing that a network can carry makes the engine panic or stop serving others.

use std::net::SocketAddr;
use std::time::Duration;

use weir_core::port::{EgressEvent, EgressId, Handler, PacketMeta};
use weir_sim::io::Inbound;
use weir_sim::rng::Rng;
use weir_sim::scenario::*;
use weir_sim::{ClientOptions, TcpTarget, World, relay_config};

#[test]
fn random_packets() {
    let (mut world, client) = world(1, TcpTarget::Echo);
    let mut rng = Rng::new(99);
    for _ in 0..5000 {
        let len = rng.below(1500) as usize;
        let mut train = rng.bytes(len);
        if let Some(first) = train.first_mut()
            && rng.chance(50)
        {
            // A long header of version 1, or a short header.
            *first |= if rng.chance(50) { 0xc0 } else { 0x40 };
        }
        if train.len() > 5 && train[0] & 0x80 != 0 && rng.chance(80) {
            train[1..5].copy_from_slice(&[0, 0, 0, 1]);
        }
        let meta = PacketMeta {
            remote: SocketAddr::from(([5, 5, 5, rng.below(250) as u8], 1)),
            local_ip: None,
            ecn: None,
            segment_size: rng.below(1500) as usize,
        };
        world.engine.handle_packets(world.now, &meta, &train);
        if rng.chance(2) {
            world.run_for(Duration::from_millis(5));
        }
    }
    let tunnel = open_udp(&mut world, client);
    world.client(client).send_udp(tunnel, b"fine");
    world.run_until("the echo", |w| w.client(client).stream(tunnel).datagrams.len() == 1);
}

#[test]
fn damaged_packets_of_real_connections() {
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let mut world = World::new(seed, relay_config());
        add_targets(&mut world, TcpTarget::Echo);
        let client = world.add_client(ClientOptions::default());
        for round in 0..200 {
            world.run_for(Duration::from_millis(2));
            if round == 50 && world.client(client).connected {
                let id = world.client(client).open_udp(UDP);
                world.client(client).send_udp(id, b"x");
            }
            // Copies of what is under way, with some bits turned.
            let mut copies = Vec::new();
            while let Some(inbound) = world.io.to_relay.pop(world.now + Duration::from_millis(5)) {
                if let Inbound::Packet { remote, packet } = &inbound {
                    let mut damaged = packet.clone();
                    for _ in 0..1 + rng.below(4) {
                        let at = rng.below(damaged.len() as u64) as usize;
                        damaged[at] ^= 1 << rng.below(8);
                    }
                    copies.push(Inbound::Packet { remote: *remote, packet: damaged });
                }
                copies.push(inbound);
            }
            for copy in copies {
                world.io.to_relay.push(world.now, copy);
            }
        }
    }
}

#[test]
fn random_bytes_on_every_kind_of_stream() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let (mut world, client) = world(seed, TcpTarget::Echo);
        let other = world.connect(ClientOptions::default());
        for _ in 0..10 {
            if world.client(client).closed.is_some() {
                break;
            }
            let len = rng.below(300) as usize;
            let mut bytes = rng.bytes(len);
            if rng.chance(60) && bytes.len() > 2 {
                // A HEADERS frame of about that length.
                bytes[0] = 1;
                bytes[1] = rng.below(64) as u8;
            }
            let id = match rng.below(4) {
                0 => world.client(client).raw_stream(true),
                1 => world.client(client).open_udp(UDP),
                2 => world.client(client).open_tcp(TCP),
                _ => {
                    world.client(client).raw_uni(&bytes);
                    continue;
                }
            };
            world.client(client).send_raw(id, &bytes);
            if rng.chance(50) {
                world.client(client).finish(id);
            }
            let len = rng.below(40) as usize;
            let frame = rng.bytes(len).into();
            world.client(client).raw_datagram(frame);
            world.run_for(Duration::from_millis(rng.below(30)));
        }
        world.run_for(Duration::from_millis(200));
        open_udp(&mut world, other);
    }
}

#[test]
fn events_of_unknown_sockets_are_ignored() {
    let (mut world, client) = world(1, TcpTarget::Echo);
    open_udp(&mut world, client);
    for id in [EgressId { index: 0, epoch: 9 }, EgressId { index: 77, epoch: 0 }] {
        let now = world.now;
        for event in [
            EgressEvent::Opened { id, local: address("1.1.1.1:1") },
            EgressEvent::UdpReceived { id, train: b"x", segment_size: 1 },
            EgressEvent::TcpReceived { id, data: b"x" },
            EgressEvent::TcpEof { id },
            EgressEvent::TcpSent { id, bytes: 1 },
            EgressEvent::UdpSent { id, datagrams: 1, bytes: 1 },
            EgressEvent::Closed { id },
        ] {
            world.engine.handle_egress(now, event);
        }
    }
    assert_eq!(world.engine.stats().egress_late_events, 14);
}
