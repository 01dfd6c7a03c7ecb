//! HTTP/3 around the tunnels: settings, request streams, HTTP Datagrams that don't belong.

use std::time::Duration;

use bytes::Bytes;
use weir_proto::Field;
use weir_sim::scenario::*;
use weir_sim::{ClientOptions, TcpTarget, World, relay_config};

const DATAGRAM_ERROR: u64 = 0x33;
const STREAM_CREATION_ERROR: u64 = 0x103;
const CLOSED_CRITICAL_STREAM: u64 = 0x104;
const FRAME_UNEXPECTED: u64 = 0x105;
const ID_ERROR: u64 = 0x108;
const SETTINGS_ERROR: u64 = 0x109;
const MESSAGE_ERROR: u64 = 0x10e;

fn without_settings() -> ClientOptions {
    ClientOptions { settings: false, ..ClientOptions::default() }
}

#[test]
fn c01_server_settings() {
    let (mut world, client) = world(1, TcpTarget::Echo);
    let settings = world.client(client).settings.unwrap();
    assert!(settings.enable_connect_protocol && settings.h3_datagram);
    assert!(world.client(client).quic.datagrams().max_size().unwrap() > 1200);
}

#[test]
fn c02_wrong_h3_datagram_setting_closes() {
    let (mut world, client) = world_with(1, TcpTarget::Echo, without_settings());
    world.client(client).raw_uni(&[0x00, 0x04, 2, 0x33, 2]);
    expect_close(&mut world, client, SETTINGS_ERROR);
}

#[test]
fn c03_capsules_where_quic_datagrams_are_not_allowed() {
    for options in [
        ClientOptions { h3_datagram: false, ..ClientOptions::default() },
        ClientOptions { datagram_buffer: 0, ..ClientOptions::default() },
        without_settings(),
    ] {
        let (mut world, client) = world_with(1, TcpTarget::Echo, options);
        let tunnel = open_udp(&mut world, client);
        world.client(client).send_udp_capsule(tunnel, b"capsule");
        world.run_until("the echo", |w| !w.client(client).stream(tunnel).datagrams.is_empty());
        let stream = world.client(client).stream(tunnel);
        assert_eq!((stream.by_quic, stream.by_capsule), (0, 1));
        assert_eq!(stream.datagrams[0], b"capsule");
    }
}

#[test]
fn c07_unknown_protocol() {
    let (mut world, client) = world(1, TcpTarget::Echo);
    let fields = [
        Field::new(":method", "CONNECT"),
        Field::new(":protocol", "websocket"),
        Field::new(":scheme", "https"),
        Field::new(":authority", "relay.test"),
        Field::new(":path", "/"),
    ];
    let request = world.client(client).request(&fields, false);
    expect_status(&mut world, client, request, 501);
}

#[test]
fn c08_malformed_extended_connect() {
    let (mut world, client) = world(1, TcpTarget::Echo);
    let fields = [
        Field::new(":method", "CONNECT"),
        Field::new(":protocol", "connect-udp"),
        Field::new(":scheme", "https"),
        Field::new(":authority", "relay.test"),
    ];
    let request = world.client(client).request(&fields, false);
    expect_reset(&mut world, client, request, MESSAGE_ERROR);
    assert!(world.client(client).closed.is_none());
}

#[test]
fn c13_c14_broken_quarter_stream_id_closes() {
    for frame in [&[][..], &[0x40], &[0xd0, 0, 0, 0, 0, 0, 0, 0]] {
        let (mut world, client) = world(1, TcpTarget::Echo);
        world.client(client).raw_datagram(Bytes::copy_from_slice(frame));
        expect_close(&mut world, client, DATAGRAM_ERROR);
    }
}

#[test]
fn c15_datagram_of_a_stream_to_come_is_no_error() {
    let (mut world, client) = world(1, TcpTarget::Echo);
    for _ in 0..500 {
        world.client(client).raw_datagram(Bytes::from(vec![10, 0, 1, 2, 3]));
    }
    world.run_for(Duration::from_secs(1));
    assert!(world.client(client).closed.is_none());
    assert!(world.engine.stats().dropped_early > 400);
}

#[test]
fn c16_datagram_beyond_the_stream_limit_closes() {
    let (mut world, client) = world(1, TcpTarget::Echo);
    // 16 requests are allowed at first: the first one that isn't has index 16.
    world.client(client).raw_datagram(Bytes::from_static(&[0x0f, 0]));
    world.run_for(Duration::from_millis(100));
    assert!(world.client(client).closed.is_none());
    world.client(client).raw_datagram(Bytes::from_static(&[0x10, 0]));
    expect_close(&mut world, client, ID_ERROR);
}

#[test]
fn c17_datagram_after_the_end_is_dropped() {
    let (mut world, client) = world(1, TcpTarget::Echo);
    let tunnel = open_udp(&mut world, client);
    world.client(client).finish(tunnel);
    world.run_until("the end", |w| w.client(client).is_over(tunnel));
    world.client(client).send_udp(tunnel, b"late");
    world.run_for(Duration::from_millis(100));
    assert!(world.client(client).closed.is_none());
    assert_eq!(world.engine.stats().datagrams_unroutable, 1);
    expect_all_settled(&mut world);
}

#[test]
fn c18_datagram_on_a_tcp_tunnel_aborts_it() {
    let (mut world, client) = world(1, TcpTarget::Echo);
    let tunnel = open_tcp(&mut world, client);
    world.client(client).send_udp(tunnel, b"what?");
    expect_reset(&mut world, client, tunnel, DATAGRAM_ERROR);
    assert!(world.client(client).closed.is_none());
    expect_all_settled(&mut world);
}

#[test]
fn c49_headers_in_a_tunnel_close_the_connection() {
    let (mut world, client) = world(1, TcpTarget::Echo);
    let tunnel = open_tcp(&mut world, client);
    world.client(client).send_raw(tunnel, &[0x01, 2, 0, 0]);
    expect_close(&mut world, client, FRAME_UNEXPECTED);
    expect_all_settled(&mut world);
}

#[test]
fn c49_unknown_frames_in_a_tunnel_are_ignored() {
    let (mut world, client) = world(1, TcpTarget::Echo);
    let tunnel = open_tcp(&mut world, client);
    world.client(client).send_raw(tunnel, &[0x21, 3, 9, 9, 9]);
    world.client(client).send(tunnel, b"hello");
    world.run_until("the echo", |w| w.client(client).stream(tunnel).data == b"hello");
}

#[test]
fn critical_streams_stay_open_and_come_once() {
    let (mut world, client) = world(1, TcpTarget::Echo);
    world.client(client).raw_uni(&[0x00]);
    expect_close(&mut world, client, STREAM_CREATION_ERROR);

    let (mut world, client) = world_with(1, TcpTarget::Echo, without_settings());
    let control = world.client(client).raw_uni(&[0x00, 0x04, 0]);
    world.client(client).quic.send_stream(control).finish().unwrap();
    expect_close(&mut world, client, CLOSED_CRITICAL_STREAM);
}

#[test]
fn unknown_uni_streams_are_stopped() {
    let (mut world, client) = world(1, TcpTarget::Echo);
    for _ in 0..3 {
        world.client(client).raw_uni(&[0x40, 0x99, 1, 2, 3]);
        world.run_for(Duration::from_millis(50));
    }
    assert!(world.client(client).closed.is_none());
    open_udp(&mut world, client);
}

#[test]
fn requests_may_come_byte_by_byte() {
    let mut world = World::new(1, relay_config());
    add_targets(&mut world, TcpTarget::Echo);
    let client = world.connect(ClientOptions::default());
    let whole = {
        let client = world.client(client);
        let id = client.open_tcp(TCP);
        client.stream(id).take_outgoing()
    };
    let id = world.client(client).raw_stream(false);
    for byte in whole {
        world.client(client).send_raw(id, &[byte]);
        world.run_for(Duration::from_millis(7));
    }
    expect_status(&mut world, client, id, 200);
}

#[test]
fn resources_are_answered_by_the_control_plane() {
    let (mut world, client) = world(1, TcpTarget::Echo);
    let request = world.client(client).resource("POST", "/.well-known/weir/voucher?x=1", b"body");
    expect_status(&mut world, client, request, 200);
    world.run_until("the content", |w| w.client(client).is_over(request));
    assert_eq!(world.client(client).stream(request).data, b"body");
    let weir_core::ControlRequest::Http { method, path, grant, .. } = &world.asked[0] else {
        panic!("{:?}", world.asked)
    };
    assert_eq!((&method[..], &path[..], grant.id), ("POST", "/.well-known/weir/voucher?x=1", 1));
}

#[test]
fn resources_have_bounds() {
    let (mut world, client) = world(1, TcpTarget::Echo);
    world.resources = |_| None;
    let elsewhere = world.client(client).resource("GET", "/", b"");
    expect_status(&mut world, client, elsewhere, 404);
    let large = world.client(client).resource("POST", "/.well-known/weir/x", &[0; 20_000]);
    expect_status(&mut world, client, large, 413);
    // Nobody answers: the relay does, in the end.
    let silent = world.client(client).resource("GET", "/.well-known/weir/usage", b"");
    expect_status(&mut world, client, silent, 503);
    world.run_for(Duration::from_secs(1));
    assert!(world.client(client).closed.is_none());
}
