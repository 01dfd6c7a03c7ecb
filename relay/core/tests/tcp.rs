//! CONNECT tunnels (RFC 9114 section 4.4).

use std::time::Duration;

use weir_core::port::Transport;
use weir_sim::io::Socket;
use weir_sim::scenario::*;
use weir_sim::tcp::pattern;
use weir_sim::{ClientOptions, Name, TcpTarget, World, relay_config};

const CONNECT_ERROR: u64 = 0x10f;

#[test]
fn c47_answers_when_the_target_is_connected() {
    let (mut world, client) = world(1, TcpTarget::Echo);
    let tunnel = open_tcp(&mut world, client);
    assert_eq!(world.client(client).proxy_status(tunnel), "relay.test;next-hop=\"1.2.3.4\"");
    world.client(client).send(tunnel, b"hello");
    world.run_until("the echo", |w| w.client(client).stream(tunnel).data == b"hello");
    let counters = counters(&world);
    assert_eq!((counters.up.forwarded.bytes, counters.down.forwarded.bytes), (5, 5));
}

#[test]
fn c47_refused_and_timed_out() {
    for (kind, status, error) in [
        (TcpTarget::Refuses, 502, "connection_refused"),
        (TcpTarget::Vanishes, 504, "connection_timeout"),
    ] {
        let (mut world, client) = world(2, kind);
        let tunnel = world.client(client).open_tcp(TCP);
        expect_status(&mut world, client, tunnel, status);
        assert!(world.client(client).proxy_status(tunnel).contains(error));
        expect_all_settled(&mut world);
        assert!(world.ledger.rows.is_empty());
    }
}

#[test]
fn payload_sent_before_the_answer_is_kept() {
    let (mut world, client) = world(3, TcpTarget::Echo);
    let tunnel = world.client(client).open_tcp(TCP);
    let content: Vec<u8> = (0..300_000).map(pattern).collect();
    world.client(client).send(tunnel, &content);
    world.run_until("the echo", |w| w.client(client).stream(tunnel).data.len() == content.len());
    assert!(world.client(client).stream(tunnel).data == content);
}

#[test]
fn c48_half_close_each_way() {
    // The client first: the target answers what it still has, then finishes.
    let (mut world, client) = world(4, TcpTarget::Echo);
    let tunnel = open_tcp(&mut world, client);
    world.client(client).send(tunnel, b"last words");
    world.client(client).finish(tunnel);
    world.run_until("FIN", |w| w.client(client).stream(tunnel).finished);
    assert_eq!(world.client(client).stream(tunnel).data, b"last words");
    expect_all_settled(&mut world);
    assert!(world.io.resets.is_empty());

    // The target first: the client can still send.
    let (mut world, client) = weir_sim::scenario::world(5, TcpTarget::Source { bytes: 1000 });
    let tunnel = open_tcp(&mut world, client);
    world.run_until("FIN", |w| w.client(client).stream(tunnel).finished);
    world.client(client).send(tunnel, b"thanks");
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.io.tcp_received[&address(TCP)], b"thanks");
    assert_eq!(world.io.open_sockets(), 1);
    world.client(client).finish(tunnel);
    expect_all_settled(&mut world);
    assert!(world.io.resets.is_empty());
}

#[test]
fn c48_reset_by_the_target() {
    let (mut world, client) = world(6, TcpTarget::Resets { after: 10 });
    let tunnel = open_tcp(&mut world, client);
    world.client(client).send(tunnel, &[0; 20]);
    expect_reset(&mut world, client, tunnel, CONNECT_ERROR);
    assert_eq!(world.client(client).stream(tunnel).stopped, Some(CONNECT_ERROR));
    assert_eq!(world.engine.stats().tunnels_reset_by_target, 1);
    expect_all_settled(&mut world);
}

#[test]
fn c48_reset_by_the_client() {
    let (mut world, client) = world(7, TcpTarget::Echo);
    let tunnel = open_tcp(&mut world, client);
    world.client(client).reset(tunnel, 0x10c);
    expect_all_settled(&mut world);
    assert!(world.io.resets.contains(&address(TCP)));
}

#[test]
fn a_lost_client_resets_its_targets() {
    let (mut world, client) = world(8, TcpTarget::Echo);
    open_tcp(&mut world, client);
    open_udp(&mut world, client);
    world.io.link.loss_percent = 100;
    world.run_for(Duration::from_secs(200));
    expect_all_settled(&mut world);
    assert!(world.io.resets.contains(&address(TCP)));
    assert_eq!(world.engine.stats().connections_open, 0);
}

#[test]
fn c50_a_slow_client_bounds_the_memory_of_the_relay() {
    const LEN: usize = 20 << 20;
    let options = ClientOptions { stream_window: 64 << 10, ..ClientOptions::default() };
    let (mut world, client) = world_with(9, TcpTarget::Source { bytes: LEN }, options);
    let tunnel = open_tcp(&mut world, client);
    world.client(client).stream(tunnel).paused = true;
    world.run_for(Duration::from_secs(10));
    let left = world.io.sockets.values().map(|socket| match socket {
        Socket::Tcp(_, connection) => connection.outbound.len(),
        Socket::Udp(..) => 0,
    });
    let read = LEN - left.sum::<usize>();
    let bound = relay_config().limits.tcp_window + (64 << 10) + 1024;
    assert!(read <= bound, "{read} bytes read for a client that takes none");
    world.client(client).stream(tunnel).paused = false;
    world.run_until("all of it", |w| w.client(client).stream(tunnel).finished);
    let data = &world.client(client).stream(tunnel).data;
    assert_eq!(data.len(), LEN);
    assert!(data.iter().enumerate().all(|(at, byte)| *byte == pattern(at)));
}

#[test]
fn c50_a_slow_target_bounds_what_the_client_may_send() {
    let (mut world, client) = world(10, TcpTarget::Stuck { takes: 10_000 });
    let tunnel = open_tcp(&mut world, client);
    let chunk = vec![1; 1 << 20];
    for _ in 0..20 {
        world.client(client).send(tunnel, &chunk);
    }
    world.run_for(Duration::from_secs(10));
    let written = world.client(client).stream(tunnel).written;
    let window = relay_config().quic.stream_receive_window as usize;
    assert!(written <= window + (256 << 10) + 20_000, "{written} bytes accepted");
    assert_eq!(counters(&world).up.forwarded.bytes, 10_000);
    // What is stuck is accounted for when the client gives up.
    world.client(client).reset(tunnel, 0x10c);
    expect_all_settled(&mut world);
}

#[test]
fn large_transfers_both_ways_over_a_bad_network() {
    let (mut world, client) = world(11, TcpTarget::Echo);
    world.io.link.loss_percent = 2;
    world.io.link.jitter = Duration::from_millis(4);
    let tunnel = open_tcp(&mut world, client);
    let content: Vec<u8> = (0..2_000_000).map(pattern).collect();
    for chunk in content.chunks(100_000) {
        world.client(client).send(tunnel, chunk);
    }
    world.client(client).finish(tunnel);
    world.run_until("the echo", |w| w.client(client).stream(tunnel).finished);
    assert!(world.client(client).stream(tunnel).data == content);
    world.io.link.loss_percent = 0;
    expect_all_settled(&mut world);
    let counters = counters(&world);
    assert_eq!(counters.up.forwarded.bytes, 2_000_000);
    assert_eq!(counters.down.forwarded.bytes, 2_000_000);
}

#[test]
fn c51_happy_eyeballs() {
    let (mut world, client) = world(12, TcpTarget::Echo);
    let dead = ["2001:4860::1", "1.1.1.1"].map(|ip| ip.parse().unwrap());
    for ip in dead {
        world.io.tcp_targets.insert((ip, 80).into(), TcpTarget::Vanishes);
    }
    let addresses = vec![dead[0], dead[1], address(TCP).ip()];
    world.names.insert("many.test".into(), Name::Addresses(addresses));
    let from = world.now;
    let tunnel = world.client(client).open_tcp("many.test:80");
    expect_status(&mut world, client, tunnel, 200);
    let waited = world.now - from;
    assert!(waited < Duration::from_millis(600), "{waited:?}");
    assert_eq!(world.client(client).proxy_status(tunnel), "relay.test;next-hop=\"1.2.3.4\"");
    let tried: Vec<_> = world.io.dialled.iter().map(|(_, to)| to.ip()).collect();
    assert_eq!(tried, [dead[0], dead[1], address(TCP).ip()]);
    // The attempts that lost are gone.
    world.run_for(Duration::from_millis(10));
    assert_eq!(world.io.open_sockets(), 1);
}

#[test]
fn a_refused_address_is_followed_by_the_next_at_once() {
    let (mut world, client) = world(13, TcpTarget::Echo);
    let refusing = ["1.1.1.1", "1.1.1.2", "1.1.1.3"].map(|ip| ip.parse().unwrap());
    let addresses = refusing.into_iter().chain([address(TCP).ip()]).collect();
    world.names.insert("many.test".into(), Name::Addresses(addresses));
    let from = world.now;
    let tunnel = world.client(client).open_tcp("many.test:80");
    expect_status(&mut world, client, tunnel, 200);
    assert!(world.now - from < Duration::from_millis(100));
    assert_eq!(world.io.dialled.len(), 4);
    assert!(world.io.dialled.iter().all(|(transport, _)| *transport == Transport::Tcp));
}

#[test]
fn attempts_without_a_socket_for_the_next_still_time_out() {
    let mut config = relay_config();
    config.limits.egress_sockets = 1;
    let mut world = World::new(15, config);
    let dead = ["1.1.1.1", "1.1.1.2"].map(|ip| ip.parse().unwrap());
    for ip in dead {
        world.io.tcp_targets.insert((ip, 80).into(), TcpTarget::Vanishes);
    }
    world.names.insert("dead.test".into(), Name::Addresses(dead.to_vec()));
    let client = world.connect(ClientOptions::default());
    let tunnel = world.client(client).open_tcp("dead.test:80");
    expect_status(&mut world, client, tunnel, 504);
    assert_eq!(world.io.dialled.len(), 1);
    expect_all_settled(&mut world);
}

#[test]
fn an_engine_can_be_made_for_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<weir_core::Engine>();
    is_send::<weir_core::EngineConfig>();
    is_send::<weir_core::Command>();
}

#[test]
fn few_buffers_are_enough() {
    let mut world = World::new(14, relay_config());
    add_targets(&mut world, TcpTarget::Echo);
    world.io.buffers = 1;
    let client = world.connect(ClientOptions::default());
    let tunnel = open_tcp(&mut world, client);
    let content: Vec<u8> = (0..500_000).map(pattern).collect();
    world.client(client).send(tunnel, &content);
    world.client(client).finish(tunnel);
    world.run_until("the echo", |w| w.client(client).stream(tunnel).finished);
    assert!(world.client(client).stream(tunnel).data == content);
}
