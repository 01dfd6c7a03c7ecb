//! Tunnels that have to stop: drain, and credit that is used up.

use std::sync::Arc;
use std::time::Duration;

use weir_core::ledger::DropReason;
use weir_core::{Command, CreditLine, Grant};
use weir_sim::config::{grant, grants};
use weir_sim::scenario::*;
use weir_sim::{ClientId, ClientOptions, TcpTarget, World, relay_config};

const NO_ERROR: u64 = 0x100;
const REQUEST_REJECTED: u64 = 0x10b;

fn drain(world: &mut World, after: Duration) {
    let deadline = world.now + after;
    world.command(Command::Drain { deadline });
}

#[test]
fn c12_goaway_then_tunnels_go_on_until_the_deadline() {
    let (mut world, client) = world(1, TcpTarget::Echo);
    let idle = world.connect(ClientOptions::default());
    let udp = open_udp(&mut world, client);
    let tcp = open_tcp(&mut world, client);
    drain(&mut world, Duration::from_secs(30));
    world.run_until("GOAWAY", |w| w.client(client).goaway.is_some());
    assert_eq!(world.client(client).goaway, Some(8), "the third request is not processed");
    // A connection without requests is not waited for.
    expect_close(&mut world, idle, NO_ERROR);

    let refused = world.client(client).open_udp(UDP);
    expect_reset(&mut world, client, refused, REQUEST_REJECTED);
    world.client(client).send_udp(udp, b"still");
    world.client(client).send(tcp, b"still");
    world.run_until("the echoes", |w| {
        !w.client(client).stream(udp).datagrams.is_empty()
            && w.client(client).stream(tcp).data == b"still"
    });
    let late = world.add_client(ClientOptions::default());
    world.run_for(Duration::from_secs(10));
    assert!(world.client(late).closed.is_some() && !world.client(late).connected);
    assert!(!world.engine.is_drained());

    world.run_for(Duration::from_secs(19));
    assert!(world.client(client).closed.is_none());
    expect_close(&mut world, client, NO_ERROR);
    world.run_until("the drain", |w| w.engine.is_drained());
    expect_all_settled(&mut world);
}

#[test]
fn c12_a_drain_ends_when_the_last_tunnel_does() {
    let (mut world, client) = world(2, TcpTarget::Echo);
    let tcp = open_tcp(&mut world, client);
    drain(&mut world, Duration::from_secs(3600));
    world.client(client).send(tcp, b"last words");
    world.client(client).finish(tcp);
    world.run_until("the drain", |w| w.engine.is_drained());
    assert_eq!(world.client(client).stream(tcp).data, b"last words");
    assert!(world.client(client).stream(tcp).finished);
    assert_eq!(world.client(client).close_code(), Some(NO_ERROR));
}

fn world_with_credit(seed: u64, bytes: u64, tcp: TcpTarget) -> (World, ClientId, Arc<CreditLine>) {
    let credit = Arc::new(CreditLine::new(bytes));
    let mut config = relay_config();
    config.grants = grants(Grant { credit: credit.clone(), ..grant(1) });
    let mut world = World::new(seed, config);
    add_targets(&mut world, tcp);
    let client = world.connect(ClientOptions::default());
    (world, client, credit)
}

#[test]
fn c64_udp_stops_at_the_limit_and_goes_on_when_it_is_raised() {
    let (mut world, client, credit) = world_with_credit(3, 10_000, TcpTarget::Echo);
    let tunnel = open_udp(&mut world, client);
    for _ in 0..50 {
        world.client(client).send_udp(tunnel, &[1; 1000]);
        world.run_for(Duration::from_millis(20));
    }
    // Each datagram is paid for twice: on its way up and as an echo.
    assert_eq!(world.client(client).stream(tunnel).datagrams.len(), 5);
    assert_eq!(credit.used(), 10_000);
    assert_eq!(dropped_up(&world, DropReason::Credit), 45);
    let refused = world.client(client).open_udp(UDP);
    expect_status(&mut world, client, refused, 429);

    credit.set_limit(20_000);
    world.command(Command::CreditChanged);
    world.client(client).send_udp(tunnel, &[1; 1000]);
    world.run_until("the echo", |w| w.client(client).stream(tunnel).datagrams.len() == 6);
}

#[test]
fn c64_tcp_pauses_both_ways_with_bounded_overshoot() {
    const LEN: usize = 8 << 20;
    let (mut world, client, credit) =
        world_with_credit(4, 100_000, TcpTarget::Source { bytes: LEN });
    let tunnel = open_tcp(&mut world, client);
    world.run_for(Duration::from_secs(5));
    let window = relay_config().limits.tcp_window as u64;
    let used = credit.used();
    assert!((100_000..100_000 + window).contains(&used), "{used}");
    // Uplink as well: nothing is read from the client.
    world.client(client).send(tunnel, &[7; 1000]);
    world.run_for(Duration::from_secs(5));
    assert_eq!(credit.used(), used);
    assert!(!world.client(client).is_over(tunnel), "paused, not reset");

    credit.set_limit(u64::MAX);
    world.command(Command::CreditChanged);
    world.run_until("all of it", |w| w.client(client).stream(tunnel).finished);
    assert_eq!(world.client(client).stream(tunnel).data.len(), LEN);
    world.run_for(Duration::from_millis(100));
    assert_eq!(credit.used(), LEN as u64 + 1000);
}

#[test]
fn usage_is_what_the_ledger_says() {
    let (mut world, client, credit) = world_with_credit(5, u64::MAX, TcpTarget::Echo);
    let (udp, tcp) = (open_udp(&mut world, client), open_tcp(&mut world, client));
    world.client(client).send_udp(udp, &[1; 700]);
    world.client(client).send(tcp, &[1; 70_000]);
    world.run_for(Duration::from_secs(1));
    world.client(client).finish(udp);
    world.client(client).finish(tcp);
    expect_all_settled(&mut world);
    let forwarded: u64 = world
        .ledger
        .rows
        .iter()
        .map(|row| row.counters.up.forwarded.bytes + row.counters.down.forwarded.bytes)
        .sum();
    assert_eq!(forwarded, 2 * 70_700);
    assert_eq!(credit.used(), forwarded);
}
