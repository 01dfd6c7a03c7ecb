//! What most tests begin with, and what they often wait for.

use std::net::SocketAddr;
use std::time::Duration;

use quinn_proto::StreamId;
use weir_core::ledger::{DropReason, TunnelCounters};

use crate::{ClientId, ClientOptions, TcpTarget, UdpTarget, World, relay_config};

pub const UDP: &str = "1.2.3.4:53";
pub const TCP: &str = "1.2.3.4:80";

pub fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A world with a UDP echo and a TCP target, and a client in it.
pub fn world(seed: u64, tcp: TcpTarget) -> (World, ClientId) {
    world_with(seed, tcp, ClientOptions::default())
}

pub fn world_with(seed: u64, tcp: TcpTarget, options: ClientOptions) -> (World, ClientId) {
    let mut world = World::new(seed, relay_config());
    add_targets(&mut world, tcp);
    let client = world.connect(options);
    (world, client)
}

pub fn add_targets(world: &mut World, tcp: TcpTarget) {
    let echo = UdpTarget::Echo { delay: Duration::from_millis(3) };
    world.io.udp_targets.insert(address(UDP), echo);
    world.io.tcp_targets.insert(address(TCP), tcp);
}

pub fn open_udp(world: &mut World, client: ClientId) -> StreamId {
    let tunnel = world.client(client).open_udp(UDP);
    expect_status(world, client, tunnel, 200);
    tunnel
}

pub fn open_tcp(world: &mut World, client: ClientId) -> StreamId {
    let tunnel = world.client(client).open_tcp(TCP);
    expect_status(world, client, tunnel, 200);
    tunnel
}

pub fn expect_status(world: &mut World, client: ClientId, stream: StreamId, status: u16) {
    world.run_until("an answer", |w| {
        w.client(client).status(stream) != 0 || w.client(client).is_over(stream)
    });
    let client = world.client(client);
    let (got, told) = (client.status(stream), client.proxy_status(stream));
    assert_eq!(got, status, "{told} {:?} {:?}", client.streams[&stream].reset, client.closed);
}

pub fn expect_reset(world: &mut World, client: ClientId, stream: StreamId, code: u64) {
    world.run_until("a reset", |w| w.client(client).is_over(stream));
    let client = world.client(client);
    assert_eq!(client.streams[&stream].reset, Some(code), "{:?}", client.closed);
}

pub fn expect_close(world: &mut World, client: ClientId, code: u64) {
    world.run_until("the end of the connection", |w| w.client(client).closed.is_some());
    let client = world.client(client);
    assert_eq!(client.close_code(), Some(code), "{:?}", client.closed);
}

/// Counters of the last tunnel.
pub fn counters(world: &World) -> TunnelCounters {
    world.ledger.rows.last().expect("a tunnel").counters
}

pub fn dropped_up(world: &World, reason: DropReason) -> u64 {
    counters(world).up.dropped[reason as usize].datagrams
}

pub fn dropped_down(world: &World, reason: DropReason) -> u64 {
    counters(world).down.dropped[reason as usize].datagrams
}

/// Everything is closed and accounted for.
pub fn expect_all_settled(world: &mut World) {
    world.run_until("all sockets closed", |w| w.io.open_sockets() == 0);
    world.run_for(Duration::from_millis(10));
    assert_eq!(world.ledger.open_rows(), 0);
    let stats = world.engine.stats();
    assert_eq!((stats.tunnels_tcp_open, stats.tunnels_udp_open), (0, 0));
}
