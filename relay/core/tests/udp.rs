//! CONNECT-UDP tunnels.

use std::net::SocketAddr;
use std::time::Duration;

use weir_sim::{ClientOptions, UdpTarget, World, relay_config};

const TARGET: &str = "1.2.3.4:53";

fn target() -> SocketAddr {
    TARGET.parse().unwrap()
}

fn world_with_echo(seed: u64) -> World {
    let mut world = World::new(seed, relay_config());
    let echo = UdpTarget::Echo { delay: Duration::from_millis(3) };
    world.io.udp_targets.insert(target(), echo);
    world
}

#[test]
fn c33_answers_without_waiting_for_the_target() {
    let mut world = World::new(1, relay_config());
    world.io.udp_targets.insert(target(), UdpTarget::Sink);
    let client = world.connect(ClientOptions::default());
    let tunnel = world.client(client).open_udp(TARGET);
    world.run_until("the answer", |w| w.client(client).status(tunnel) == 200);
    let status = world.client(client).proxy_status(tunnel);
    assert_eq!(status, "relay.test;next-hop=\"1.2.3.4\"");
    assert!(world.io.udp_received.is_empty());
}

#[test]
fn c35_payload_is_unchanged_both_ways_and_may_be_empty() {
    let mut world = world_with_echo(2);
    let client = world.connect(ClientOptions::default());
    let tunnel = world.client(client).open_udp(TARGET);
    world.run_until("the answer", |w| w.client(client).status(tunnel) == 200);
    let payloads: Vec<Vec<u8>> = vec![b"one".to_vec(), Vec::new(), vec![7; 1200], b"four".to_vec()];
    for payload in &payloads {
        assert!(world.client(client).send_udp(tunnel, payload));
    }
    world.run_until("four echoes", |w| w.client(client).stream(tunnel).datagrams.len() == 4);
    assert_eq!(world.io.udp_received[&target()], payloads);
    let stream = world.client(client).stream(tunnel);
    assert_eq!(stream.datagrams, payloads);
    assert_eq!((stream.by_quic, stream.by_capsule), (4, 0));
}
