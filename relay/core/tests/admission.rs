//! Who is let in: credentials, connection caps, Retry, limits per grant.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weir_core::{Command, Grant, Grants, Limits};
use weir_proto::Field;
use weir_sim::config::{grant, grants, token_sha256};
use weir_sim::scenario::*;
use weir_sim::{ClientId, ClientOptions, GRANT_TOKEN, TcpTarget, World, relay_config};

const NO_ERROR: u64 = 0x100;
const EXCESSIVE_LOAD: u64 = 0x107;
const CONNECT_ERROR: u64 = 0x10f;

fn world_with_limits(seed: u64, limits: Limits) -> World {
    let mut config = relay_config();
    config.limits = limits;
    let mut world = World::new(seed, config);
    add_targets(&mut world, TcpTarget::Echo);
    world
}

fn with_token(token: Option<&str>) -> ClientOptions {
    ClientOptions { token: token.map(str::to_owned), ..ClientOptions::default() }
}

#[test]
fn c62_missing_and_wrong_credentials_look_alike() {
    for token in [None, Some("wrong"), Some("open-sesam")] {
        let (mut world, client) = world_with(1, TcpTarget::Echo, with_token(token));
        for (id, status, challenge) in [
            (world.client(client).open_udp(UDP), 407, &b"proxy-authenticate"[..]),
            (world.client(client).open_tcp(TCP), 407, b"proxy-authenticate"),
            (
                world.client(client).resource("GET", "/.well-known/weir/usage", b""),
                401,
                b"www-authenticate",
            ),
        ] {
            expect_status(&mut world, client, id, status);
            let fields = &world.client(client).stream(id).fields;
            assert!(fields.iter().any(|field| &field.name[..] == challenge), "{fields:?}");
        }
        assert!(world.io.dialled.is_empty() && world.asked.is_empty());
        assert_eq!(world.engine.stats().requests_unauthorized, 3);
    }
}

#[test]
fn c62_two_credentials_are_refused() {
    let (mut world, client) = world(1, TcpTarget::Echo);
    let fields = [
        Field::new(":method", "CONNECT"),
        Field::new(":authority", TCP),
        Field::new("proxy-authorization", "Bearer open-sesame"),
        Field::new("proxy-authorization", "Bearer open-sesame"),
    ];
    let request = world.client(client).request(&fields, false);
    expect_status(&mut world, client, request, 400);
}

#[test]
fn c62_a_credential_counts_for_its_own_request_only() {
    let (mut world, client) = world(2, TcpTarget::Echo);
    open_udp(&mut world, client);
    world.client(client).options.token = None;
    let second = world.client(client).open_udp(UDP);
    expect_status(&mut world, client, second, 407);
}

#[test]
fn c62_basic_with_the_token_as_password() {
    let (mut world, client) = world(2, TcpTarget::Echo);
    let fields = [
        Field::new(":method", "CONNECT"),
        Field::new(":authority", TCP),
        // user:open-sesame
        Field::new("proxy-authorization", "Basic dXNlcjpvcGVuLXNlc2FtZQ=="),
    ];
    let request = world.client(client).request(&fields, false);
    expect_status(&mut world, client, request, 200);
}

#[test]
fn c62_guessing_is_rate_limited_per_source() {
    let limits = Limits { auth_failures_per_minute: 5, ..Limits::default() };
    let mut world = world_with_limits(3, limits);
    let guesser = world.connect(with_token(Some("guess")));
    let neighbour = world.connect(ClientOptions::default());
    let known = world.connect(ClientOptions::default());
    open_udp(&mut world, known);
    for n in 0..8 {
        let id = world.client(guesser).open_udp(UDP);
        expect_status(&mut world, guesser, id, if n < 5 { 407 } else { 429 });
    }
    // Even the right one isn't looked at now.
    world.client(guesser).options.token = Some(GRANT_TOKEN.to_owned());
    let right = world.client(guesser).open_udp(UDP);
    expect_status(&mut world, guesser, right, 429);
    open_udp(&mut world, neighbour);
    open_udp(&mut world, known);
    world.run_for(Duration::from_secs(61));
    open_udp(&mut world, guesser);
}

#[test]
fn c65_connections_per_source() {
    let limits = Limits { connections_per_source: 2, ..Limits::default() };
    let mut world = world_with_limits(4, limits);
    let from = |port| SocketAddr::from(([8, 8, 8, 8], port));
    let clients: Vec<_> =
        (1..=3).map(|n| world.add_client_at(from(n), ClientOptions::default())).collect();
    world.run_for(Duration::from_secs(1));
    let connected: Vec<bool> = clients.iter().map(|id| world.client(*id).connected).collect();
    assert_eq!(connected, [true, true, false]);
    assert!(world.client(clients[2]).closed.is_some(), "it is told");
    assert_eq!(world.engine.stats().connections_refused_source, 1);
    world.connect(ClientOptions::default());
}

#[test]
fn c65_forged_first_packets_do_not_use_up_what_a_source_may_have() {
    let limits = Limits { connections_per_source: 6, ..Limits::default() };
    let mut world = world_with_limits(4, limits);
    let from = |port| SocketAddr::from(([8, 8, 8, 8], port));
    for port in 1..=50 {
        world.add_client_at(from(port), ClientOptions::default());
    }
    world.run_for(Duration::from_millis(1));
    world.clients.clear();
    world.run_for(Duration::from_millis(500));
    assert_eq!(world.engine.stats().connections_handshaking, 3);
    let owner = world.add_client_at(from(4433), ClientOptions::default());
    world.run_until("the owner of the address to connect", |w| w.client(owner).connected);
    open_udp(&mut world, owner);
}

#[test]
fn connections_in_all() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let mut world = world_with_limits(5, limits);
    world.connect(ClientOptions::default());
    world.connect(ClientOptions::default());
    let third = world.add_client(ClientOptions::default());
    world.run_for(Duration::from_secs(1));
    assert!(world.client(third).closed.is_some());
    assert_eq!(world.engine.stats().connections_refused_full, 1);
}

#[test]
fn c65_retry_under_pressure() {
    let limits = Limits { retry_above: 0, ..Limits::default() };
    let mut world = world_with_limits(6, limits);
    let client = world.connect(ClientOptions::default());
    open_udp(&mut world, client);
    let stats = world.engine.stats();
    assert_eq!((stats.connections_retried, stats.connections_established), (1, 1));
}

#[test]
fn c65_a_flood_of_first_packets_costs_no_connections() {
    let limits = Limits { retry_above: 10, ..Limits::default() };
    let mut world = world_with_limits(7, limits);
    // Clients that send one packet and never hear an answer: spoofed sources.
    for n in 0..200u16 {
        let [high, low] = n.to_be_bytes();
        let address = SocketAddr::from(([7, 7, high, low], 4000));
        world.add_client_at(address, ClientOptions::default());
    }
    world.run_for(Duration::from_millis(1));
    world.clients.clear();
    world.run_for(Duration::from_millis(500));
    let stats = *world.engine.stats();
    assert_eq!(stats.connections_handshaking, 10);
    assert_eq!(stats.connections_retried, 190);
    // They don't stay for ever either, and meanwhile a real client gets in.
    let client = world.connect(ClientOptions::default());
    open_udp(&mut world, client);
    world.run_for(Duration::from_secs(15));
    let stats = world.engine.stats();
    assert_eq!((stats.connections_handshaking, stats.connections_open), (0, 1));
    assert_eq!(stats.handshakes_timed_out, 10);
}

#[test]
fn connections_without_a_credential_do_not_stay() {
    let (mut world, client) = world(8, TcpTarget::Echo);
    let silent = world.connect(ClientOptions::default());
    open_udp(&mut world, client);
    world.client(client).quic.ping();
    world.client(silent).quic.ping();
    world.run_for(Duration::from_secs(119));
    assert!(world.client(silent).closed.is_none());
    expect_close(&mut world, silent, NO_ERROR);
    assert!(world.client(client).closed.is_none());
    assert_eq!(world.engine.stats().logins_timed_out, 1);
}

/// Bytes that the client may send before it hears from the relay again.
fn bytes_ahead(world: &mut World, client: ClientId) -> usize {
    // A frame of an unknown type that never ends.
    let mut frame = vec![0x21, 0xc0, 0, 0, 0, 0x7f, 0, 0, 0, 0];
    frame.resize(512 << 10, 0);
    let streams: Vec<_> = (0..8).map(|_| world.client(client).raw_stream(false)).collect();
    for id in &streams {
        world.client(client).send_raw(*id, &frame);
    }
    let now = world.now;
    world.client(client).pump(now);
    streams.iter().map(|id| world.client(client).stream(*id).written).sum()
}

#[test]
fn little_is_kept_for_who_has_shown_no_credential() {
    let (mut world, client) = world(12, TcpTarget::Echo);
    assert!(bytes_ahead(&mut world, client) <= 64 << 10);
    let known = world.connect(ClientOptions::default());
    open_tcp(&mut world, known);
    world.run_for(Duration::from_millis(100));
    assert_eq!(bytes_ahead(&mut world, known), 4 << 20);
}

#[test]
fn field_sections_in_the_making_are_bounded_without_a_credential() {
    let (mut world, client) = world(13, TcpTarget::Echo);
    // HEADERS of 16,000 bytes, all but the last.
    let mut frame = vec![0x01, 0x7e, 0x80];
    frame.resize(3 + 15_999, 0);
    send_on_streams(&mut world, client, 8, &frame);
    send_on_streams(&mut world, client, 8, &frame);
    send_on_streams(&mut world, client, 8, &frame);
    expect_close(&mut world, client, EXCESSIVE_LOAD);
    let known = world.connect(ClientOptions::default());
    open_udp(&mut world, known);
    for _ in 0..4 {
        send_on_streams(&mut world, known, 8, &frame);
    }
    assert!(world.client(known).closed.is_none());
}

/// Begins so many requests, and gives them up when they have arrived: there is room for more then.
fn send_on_streams(world: &mut World, client: ClientId, count: usize, bytes: &[u8]) {
    let begin = |world: &mut World| {
        let id = world.client(client).raw_stream(false);
        world.client(client).send_raw(id, bytes);
        id
    };
    let ids: Vec<_> = (0..count).map(|_| begin(world)).collect();
    world.run_for(Duration::from_millis(500));
    ids.into_iter().for_each(|id| world.client(client).reset(id, 0x10c));
    world.run_for(Duration::from_millis(100));
}

#[test]
fn a_client_that_uses_its_requests_gets_more_up_to_the_limit() {
    let (mut world, client) = world(14, TcpTarget::Echo);
    let mut open = 0;
    while open < 256 {
        open_udp(&mut world, client);
        open += 1;
    }
    assert!(world.client(client).quic.streams().open(quinn_proto::Dir::Bi).is_none());
    assert_eq!(world.engine.stats().tunnels_udp_open, 256);
}

#[test]
fn a_stranger_gets_no_more_requests() {
    let (mut world, client) = world(15, TcpTarget::Echo);
    for _ in 0..16 {
        let id = world.client(client).raw_stream(false);
        world.client(client).send_raw(id, &[0x01]);
    }
    world.run_for(Duration::from_secs(1));
    assert!(world.client(client).quic.streams().open(quinn_proto::Dir::Bi).is_none());
}

#[test]
fn tunnels_per_grant() {
    let mut config = relay_config();
    config.grants = grants(Grant { max_tunnels: Some(2), ..grant(1) });
    let mut world = World::new(8, config);
    add_targets(&mut world, TcpTarget::Echo);
    let client = world.connect(ClientOptions::default());
    let first = open_udp(&mut world, client);
    open_tcp(&mut world, client);
    let third = world.client(client).open_udp(UDP);
    expect_status(&mut world, client, third, 429);
    world.client(client).finish(first);
    world.run_for(Duration::from_millis(100));
    open_udp(&mut world, client);
}

#[test]
fn a_full_ledger_refuses_tunnels() {
    let (mut world, client) = world(9, TcpTarget::Echo);
    world.ledger.capacity = Some(1);
    open_udp(&mut world, client);
    for id in [world.client(client).open_udp(UDP), world.client(client).open_tcp(TCP)] {
        expect_status(&mut world, client, id, 503);
    }
    world.run_for(Duration::from_millis(10));
    assert_eq!(world.io.open_sockets(), 1);
}

#[test]
fn sessions_and_tunnels_have_names_of_their_own() {
    let (mut world, client) = world(10, TcpTarget::Echo);
    open_udp(&mut world, client);
    open_tcp(&mut world, client);
    let other = world.connect(ClientOptions::default());
    open_udp(&mut world, other);
    let entries: Vec<_> = world.ledger.rows.iter().map(|row| row.entry).collect();
    assert_eq!(entries[0].session, entries[1].session);
    assert_ne!(entries[0].session, entries[2].session);
    for entry in entries {
        assert_eq!(entry.tunnel >> 64, 0x5eed, "the process epoch");
        assert_eq!((entry.tunnel >> 48) & 0xffff, 3, "the worker");
        assert_eq!(entry.channel, [1; 32]);
    }
}

#[test]
fn a_revoked_grant_ends_its_tunnels_and_a_kept_one_goes_on() {
    let mut config = relay_config();
    let old = Arc::new(grant(1));
    let kept = Arc::new(grant(2));
    config.grants = Arc::new(Grants::new([
        (token_sha256(GRANT_TOKEN), old),
        (token_sha256("other"), kept.clone()),
    ]));
    let mut world = World::new(11, config);
    add_targets(&mut world, TcpTarget::Echo);
    let revoked = world.connect(ClientOptions::default());
    let stays = world.connect(with_token(Some("other")));
    let (a, b) = (open_udp(&mut world, revoked), open_udp(&mut world, stays));
    let reload = Grants::new([(token_sha256("other"), kept)]);
    world.command(Command::Grants(Arc::new(reload)));
    expect_reset(&mut world, revoked, a, CONNECT_ERROR);
    world.client(stays).send_udp(b, b"still");
    world.run_until("the echo", |w| w.client(stays).stream(b).datagrams.len() == 1);
    let again = world.client(revoked).open_udp(UDP);
    expect_status(&mut world, revoked, again, 407);
}

#[test]
fn a_client_whose_only_grant_is_revoked_has_to_log_in_again() {
    let (mut world, client) = world(14, TcpTarget::Echo);
    open_udp(&mut world, client);
    world.run_for(Duration::from_secs(100));
    world.command(Command::Grants(Arc::default()));
    for _ in 0..4 {
        world.run_for(Duration::from_secs(29));
        world.client(client).quic.ping();
    }
    assert!(world.client(client).closed.is_none());
    expect_close(&mut world, client, NO_ERROR);
    assert_eq!(world.engine.stats().logins_timed_out, 1);
}
