//! CONNECT-UDP tunnels (RFC 9298).

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use weir_core::ledger::DropReason;
use weir_core::{Limits, port::Transport};
use weir_proto::{Field, varint};
use weir_sim::scenario::*;
use weir_sim::{ClientOptions, Name, TcpTarget, UdpTarget, World, relay_config};

const DATAGRAM_ERROR: u64 = 0x33;
const MESSAGE_ERROR: u64 = 0x10e;
const CONNECT_ERROR: u64 = 0x10f;

#[test]
fn c33_answers_without_waiting_for_the_target() {
    let mut world = World::new(1, relay_config());
    world.io.udp_targets.insert(address(UDP), UdpTarget::Sink);
    let client = world.connect(ClientOptions::default());
    let tunnel = open_udp(&mut world, client);
    let status = world.client(client).proxy_status(tunnel);
    assert_eq!(status, "relay.test;next-hop=\"1.2.3.4\"");
    assert!(world.io.udp_received.is_empty());
}

#[test]
fn c35_payload_is_unchanged_both_ways_and_may_be_empty() {
    let (mut world, client) = world(2, TcpTarget::Echo);
    let tunnel = open_udp(&mut world, client);
    let payloads: Vec<Vec<u8>> =
        vec![b"one".to_vec(), Vec::new(), vec![7; 1200], b"four".to_vec(), Vec::new()];
    for payload in &payloads {
        assert!(world.client(client).send_udp(tunnel, payload));
    }
    world.run_until("the echoes", |w| w.client(client).stream(tunnel).datagrams.len() == 5);
    assert_eq!(world.io.udp_received[&address(UDP)], payloads);
    let stream = world.client(client).stream(tunnel);
    assert_eq!(stream.datagrams, payloads);
    assert_eq!((stream.by_quic, stream.by_capsule), (5, 0));
    let counters = counters(&world);
    assert_eq!((counters.up.forwarded.datagrams, counters.up.forwarded.bytes), (5, 1207));
    assert_eq!((counters.down.forwarded.datagrams, counters.down.forwarded.bytes), (5, 1207));
}

#[test]
fn c19_c22_capsules_byte_by_byte_with_unknown_ones_between() {
    let (mut world, client) = world(3, TcpTarget::Echo);
    let tunnel = open_udp(&mut world, client);
    let mut capsules = BytesMut::new();
    for payload in [&b"first"[..], b"", b"third"] {
        // An unknown capsule, its type in eight bytes.
        capsules.put_slice(&[0xc0, 0, 0, 0, 0, 0, 0x12, 0x34, 3, 1, 2, 3]);
        // DATAGRAM with a length in four bytes and a Context ID in two.
        capsules.put_slice(&[0x00, 0x80, 0, 0, payload.len() as u8 + 2, 0x40, 0x00]);
        capsules.put_slice(payload);
    }
    for byte in capsules {
        world.client(client).send(tunnel, &[byte]);
        world.run_for(Duration::from_millis(1));
    }
    world.run_until("the echoes", |w| w.client(client).stream(tunnel).datagrams.len() == 3);
    let stream = world.client(client).stream(tunnel);
    assert_eq!(stream.datagrams, [&b"first"[..], b"", b"third"]);
    assert_eq!(world.engine.stats().capsules_skipped, 3);
}

#[test]
fn c20_truncated_capsule_is_malformed() {
    let (mut world, client) = world(4, TcpTarget::Echo);
    let tunnel = open_udp(&mut world, client);
    world.client(client).send(tunnel, &[0x00, 9, 0, 1, 2]);
    world.client(client).finish(tunnel);
    expect_reset(&mut world, client, tunnel, MESSAGE_ERROR);
    expect_all_settled(&mut world);
}

#[test]
fn c23_absurd_capsule_is_discarded_as_it_comes() {
    let (mut world, client) = world(5, TcpTarget::Echo);
    let tunnel = open_udp(&mut world, client);
    let mut head = Vec::new();
    varint::write(0, &mut head);
    varint::write(1 << 40, &mut head);
    world.client(client).send(tunnel, &head);
    let window = relay_config().quic.stream_receive_window as usize;
    let chunk = vec![0; 64 << 10];
    for _ in 0..64 {
        world.client(client).send(tunnel, &chunk);
    }
    world.run_until("flow control advances", |w| {
        w.client(client).stream(tunnel).written > 3 * window
    });
    assert!(world.client(client).closed.is_none());
    assert_eq!(dropped_up(&world, DropReason::TooBig), 1);
}

#[test]
fn c24_c36_no_payload_and_unknown_context_are_dropped_and_counted() {
    let (mut world, client) = world(6, TcpTarget::Echo);
    let tunnel = open_udp(&mut world, client);
    let quarter = u64::from(tunnel) / 4;
    for context in [&[][..], &[0x40], &[2, 1, 2, 3], &[7, 1]] {
        let mut frame = BytesMut::new();
        varint::write(quarter, &mut frame);
        frame.extend_from_slice(context);
        world.client(client).raw_datagram(frame.freeze());
    }
    world.client(client).send_udp(tunnel, b"good");
    world.run_until("the echo", |w| w.client(client).stream(tunnel).datagrams.len() == 1);
    assert_eq!(dropped_up(&world, DropReason::UnknownContext), 4);
    assert_eq!(counters(&world).up.received.datagrams, 5);
}

#[test]
fn c25_both_ways_in_are_counted_alike() {
    let (mut world, client) = world(7, TcpTarget::Echo);
    let by_quic = open_udp(&mut world, client);
    for len in [0, 1, 500, 1100] {
        world.client(client).send_udp(by_quic, &vec![1; len]);
    }
    world.run_until("the echoes", |w| w.client(client).stream(by_quic).datagrams.len() == 4);
    let first = counters(&world);
    let by_capsule = open_udp(&mut world, client);
    for len in [0, 1, 500, 1100] {
        world.client(client).send_udp_capsule(by_capsule, &vec![1; len]);
    }
    world.run_until("the echoes", |w| w.client(client).stream(by_capsule).datagrams.len() == 4);
    assert_eq!(counters(&world), first);
}

#[test]
fn c26_both_default_templates() {
    let (mut world, client) = world(8, TcpTarget::Echo);
    for path in [
        "/.well-known/masque/udp/1.2.3.4/53/",
        "/.well-known/masque/udp?target_host=1.2.3.4&target_port=53",
    ] {
        let fields = [
            Field::new(":method", "CONNECT"),
            Field::new(":protocol", "connect-udp"),
            Field::new(":scheme", "https"),
            Field::new(":authority", "relay.test"),
            Field::new(":path", path),
            Field::new("proxy-authorization", "Bearer open-sesame"),
        ];
        let request = world.client(client).request(&fields, true);
        expect_status(&mut world, client, request, 200);
    }
}

#[test]
fn c27_c28_targets_that_are_none() {
    let (mut world, client) = world(8, TcpTarget::Echo);
    for (path, status) in [
        ("/.well-known/masque/udp/2001%3A4860%3A%3A1/443/", 200),
        ("/.well-known/masque/udp/1.2.3.4/0/", 400),
        ("/.well-known/masque/udp/1.2.3.4/65536/", 400),
        ("/.well-known/masque/udp/1.2.3.4/080x/", 400),
        ("/.well-known/masque/udp//53/", 400),
        ("/nowhere", 404),
    ] {
        let fields = [
            Field::new(":method", "CONNECT"),
            Field::new(":protocol", "connect-udp"),
            Field::new(":scheme", "https"),
            Field::new(":authority", "relay.test"),
            Field::new(":path", path),
            Field::new("proxy-authorization", "Bearer open-sesame"),
        ];
        let request = world.client(client).request(&fields, true);
        expect_status(&mut world, client, request, status);
    }
}

#[test]
fn c37_overlong_payload_is_aborted() {
    let (mut world, client) = world(9, TcpTarget::Echo);
    let tunnel = open_udp(&mut world, client);
    world.client(client).send_udp_capsule(tunnel, &vec![0; 65_528]);
    expect_reset(&mut world, client, tunnel, DATAGRAM_ERROR);
    expect_all_settled(&mut world);
}

#[test]
fn c38_larger_than_the_path_takes_is_dropped() {
    let (mut world, client) = world(10, TcpTarget::Echo);
    world.io.udp_targets.insert(address(UDP), UdpTarget::Mtu(1300));
    let tunnel = open_udp(&mut world, client);
    // Both at once: what fits isn't taken down by what doesn't.
    let mut capsules = BytesMut::new();
    for payload in [&[1; 1400][..], &[2; 900]] {
        weir_proto::capsule::write_udp_header(payload.len(), &mut capsules);
        capsules.put_slice(payload);
    }
    world.client(client).send(tunnel, &capsules);
    world.run_until("the echo", |w| w.client(client).stream(tunnel).datagrams.len() == 1);
    assert_eq!(dropped_up(&world, DropReason::TooBig), 1);
    assert_eq!(world.client(client).stream(tunnel).datagrams[0], [2; 900]);
}

#[test]
fn c39_larger_than_a_quic_datagram_is_dropped_not_encapsulated() {
    let (mut world, client) = world(11, TcpTarget::Echo);
    let tunnel = open_udp(&mut world, client);
    world.io.target_sends(address(UDP), &[1; 1500]);
    world.io.target_sends(address(UDP), &[2; 1200]);
    world.run_until("the other", |w| w.client(client).stream(tunnel).datagrams.len() == 1);
    let stream = world.client(client).stream(tunnel);
    assert_eq!((stream.by_capsule, &stream.datagrams[0][..]), (0, &[2; 1200][..]));
    assert_eq!(dropped_down(&world, DropReason::TooBig), 1);
}

#[test]
fn c40_port_unreachable_ends_the_tunnel() {
    let (mut world, client) = world(12, TcpTarget::Echo);
    world.io.udp_targets.insert(address(UDP), UdpTarget::Closed);
    let tunnel = open_udp(&mut world, client);
    world.client(client).send_udp(tunnel, b"anybody?");
    world.run_for(Duration::from_secs(1));
    assert!(!world.client(client).is_over(tunnel), "one error is tolerated");
    for _ in 0..8 {
        world.client(client).send_udp(tunnel, b"anybody?");
        world.run_for(Duration::from_millis(100));
    }
    expect_reset(&mut world, client, tunnel, CONNECT_ERROR);
    expect_all_settled(&mut world);
}

#[test]
fn c41_idle_tunnels_are_closed_but_not_early() {
    let (mut world, client) = world(13, TcpTarget::Echo);
    let tunnel = open_udp(&mut world, client);
    world.run_for(Duration::from_secs(100));
    world.client(client).send_udp(tunnel, b"still here");
    world.run_for(Duration::from_secs(119));
    assert!(!world.client(client).is_over(tunnel));
    world.run_for(Duration::from_secs(3));
    assert!(world.client(client).stream(tunnel).finished, "{:?}", world.client(client).closed);
    assert_eq!(world.engine.stats().tunnels_idle, 1);
    expect_all_settled(&mut world);
}

#[test]
fn c42_early_datagrams_are_kept_in_order() {
    let (mut world, client) = world(14, TcpTarget::Echo);
    world.names.insert("echo.test".into(), Name::Addresses(vec![address(UDP).ip()]));
    let tunnel = world.client(client).open_udp("echo.test:53");
    for n in 0..20u8 {
        world.client(client).send_udp(tunnel, &[n; 100]);
    }
    world.run_until("the echoes", |w| w.client(client).stream(tunnel).datagrams.len() == 20);
    let order: Vec<u8> = world.io.udp_received[&address(UDP)].iter().map(|d| d[0]).collect();
    assert_eq!(order, (0..20).collect::<Vec<u8>>());
}

#[test]
fn c42_datagrams_that_overtake_the_request_are_kept() {
    let (mut world, client) = world(15, TcpTarget::Echo);
    let (tunnel, head) = {
        let client = world.client(client);
        let id = client.open_udp(UDP);
        (id, client.stream(id).take_outgoing())
    };
    for n in 0..5u8 {
        world.client(client).send_udp(tunnel, &[n; 10]);
    }
    world.run_for(Duration::from_millis(100));
    // Half of the head, more datagrams, and the rest.
    world.client(client).send_raw(tunnel, &head[..head.len() / 2]);
    world.run_for(Duration::from_millis(100));
    world.client(client).send_udp(tunnel, &[5; 10]);
    world.run_for(Duration::from_millis(100));
    world.client(client).send_raw(tunnel, &head[head.len() / 2..]);
    world.run_until("the echoes", |w| w.client(client).stream(tunnel).datagrams.len() == 6);
    let order: Vec<u8> = world.io.udp_received[&address(UDP)].iter().map(|d| d[0]).collect();
    assert_eq!(order, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn c42_datagrams_ahead_of_a_refused_request_leave_room_for_others() {
    let (mut world, client) = world(15, TcpTarget::Echo);
    let ahead = |world: &mut World, target: &str| {
        let (id, head) = {
            let client = world.client(client);
            let id = client.open_udp(target);
            (id, client.stream(id).take_outgoing())
        };
        for n in 0..40u8 {
            world.client(client).send_udp(id, &[n; 10]);
        }
        world.run_for(Duration::from_millis(100));
        world.client(client).send_raw(id, &head);
        id
    };
    let token = world.client(client).options.token.take();
    for _ in 0..3 {
        let refused = ahead(&mut world, UDP);
        expect_status(&mut world, client, refused, 407);
    }
    world.client(client).options.token = token;
    let tunnel = ahead(&mut world, UDP);
    world.run_until("the echoes", |w| w.client(client).stream(tunnel).datagrams.len() == 40);
}

#[test]
fn c42_early_datagrams_are_bounded() {
    let (mut world, client) = world(16, TcpTarget::Echo);
    world.names.insert("slow.test".into(), Name::Silent);
    let tunnel = world.client(client).open_udp("slow.test:53");
    world.run_for(Duration::from_millis(50));
    for _ in 0..200 {
        world.client(client).send_udp(tunnel, &[1; 1000]);
    }
    world.run_for(Duration::from_millis(500));
    let kept = relay_config().limits.early_bytes as u64 / 1000;
    assert_eq!(world.engine.stats().dropped_early, 200 - kept);
    expect_status(&mut world, client, tunnel, 504);
}

#[test]
fn capsules_sent_before_the_answer_are_kept() {
    let (mut world, client) = world(17, TcpTarget::Echo);
    world.names.insert("echo.test".into(), Name::Addresses(vec![address(UDP).ip()]));
    let tunnel = world.client(client).open_udp("echo.test:53");
    for n in 0..100u8 {
        world.client(client).send_udp_capsule(tunnel, &[n; 1000]);
    }
    world.run_until("the echoes", |w| w.client(client).stream(tunnel).datagrams.len() == 100);
    let order: Vec<u8> = world.io.udp_received[&address(UDP)].iter().map(|d| d[0]).collect();
    assert_eq!(order, (0..100).collect::<Vec<u8>>());
}

#[test]
fn equal_datagrams_travel_in_trains() {
    let (mut world, client) = world(18, TcpTarget::Echo);
    let tunnel = open_udp(&mut world, client);
    for _ in 0..400 {
        world.client(client).send_udp(tunnel, &[9; 1100]);
    }
    world.run_until("the echoes", |w| w.client(client).stream(tunnel).datagrams.len() == 400);
    let stats = *world.engine.stats();
    assert_eq!(world.io.datagrams_to_targets, 400);
    assert!(stats.packets_sent > 2 * stats.trains_sent, "{stats:?}");
}

#[test]
fn a_flood_of_one_tunnel_leaves_room_for_another() {
    let (mut world, client) = world(19, TcpTarget::Echo);
    world.io.udp_targets.insert(address("5.6.7.8:9"), UdpTarget::Sink);
    let small = open_udp(&mut world, client);
    let flood = world.client(client).open_udp("5.6.7.8:9");
    expect_status(&mut world, client, flood, 200);
    // 4 MB at once: more than the tunnel's queue.
    for _ in 0..4000 {
        world.io.target_sends(address("5.6.7.8:9"), &[1; 1000]);
    }
    world.io.target_sends(address(UDP), b"small");
    world.run_until("the small one", |w| !w.client(client).stream(small).datagrams.is_empty());
    let before = world.client(client).stream(flood).datagrams.len();
    assert!(before < 100, "{before} datagrams of the flood went first");
    world.run_for(Duration::from_secs(5));
    let row = world.ledger.rows.iter().find(|row| row.entry.flow.remote == address("5.6.7.8:9"));
    let down = row.unwrap().counters.down;
    let dropped = down.dropped[DropReason::QueueFull as usize].datagrams;
    assert!(dropped > 0);
    assert_eq!(down.forwarded.datagrams + dropped, 4000);
    // The oldest were dropped: what arrived is the end of the flood.
    assert_eq!(world.client(client).stream(flood).datagrams.len() as u64, down.forwarded.datagrams);
}

#[test]
fn a_socket_that_cannot_be_opened() {
    let (mut world, client) = world(20, TcpTarget::Echo);
    world.io.udp_targets.insert(address("5.6.7.8:9"), UdpTarget::NoRoute);
    let tunnel = world.client(client).open_udp("5.6.7.8:9");
    expect_status(&mut world, client, tunnel, 502);
    assert!(world.client(client).proxy_status(tunnel).contains("destination_ip_unroutable"));
    expect_all_settled(&mut world);
}

#[test]
fn c32_no_socket_left() {
    let mut config = relay_config();
    config.limits = Limits { egress_sockets: 2, ..Limits::default() };
    let mut world = World::new(21, config);
    add_targets(&mut world, TcpTarget::Echo);
    let client = world.connect(ClientOptions::default());
    let first = open_udp(&mut world, client);
    open_udp(&mut world, client);
    let third = world.client(client).open_udp(UDP);
    expect_status(&mut world, client, third, 503);
    assert!(world.client(client).proxy_status(third).contains("connection_limit_reached"));
    // A closed one makes room.
    world.client(client).finish(first);
    world.run_for(Duration::from_millis(100));
    open_udp(&mut world, client);
    assert_eq!(world.io.dialled.len(), 3);
    assert!(world.io.dialled.iter().all(|dialled| *dialled == (Transport::Udp, address(UDP))));
}
