//! One tunnel floods, nine are polite: what the flood costs them.
//!
//! With the turns taken out of the engine (no deficits, whoever is first stays first), the two
//! tests of one connection fail: downlink nothing of the polite tunnels arrives, uplink 240
//! datagrams of the flood leave before theirs. Other connections have their own share of the path.

use std::time::{Duration, Instant};

use quinn_proto::StreamId;
use weir_core::ledger::DropReason;
use weir_sim::scenario::address;
use weir_sim::{Bottleneck, ClientId, ClientOptions, Link, UdpTarget, World, relay_config};

/// Of the polite tunnels.
const POLITE: usize = 9;

const FLOOD: &str = "1.2.3.4:9999";

/// Between two looks of the test.
const TICK: Duration = Duration::from_millis(1);

/// A client's way to the relay and back, and what the narrowest link may add.
const ONE_WAY: Duration = Duration::from_millis(5);
const LINK_QUEUE: Duration = Duration::from_millis(4);

fn polite(n: usize) -> String {
    format!("1.2.3.4:{}", 1000 + n)
}

/// A world with targets that only listen, and perhaps a narrow link towards the clients.
fn world(seed: u64, narrow: bool) -> World {
    let mut world = World::new(seed, relay_config());
    world.io.link = Link {
        delay: ONE_WAY,
        bottleneck: narrow.then_some(Bottleneck { bytes_per_second: 6_250_000, queue: LINK_QUEUE }),
        ..Link::default()
    };
    let targets = (0..POLITE).map(polite).chain([FLOOD.to_owned()]);
    for target in targets {
        world.io.udp_targets.insert(address(&target), UdpTarget::Sink);
    }
    world
}

fn open(world: &mut World, client: ClientId, target: &str) -> StreamId {
    let stream = world.client(client).open_udp(target);
    world.run_until("an answer", |w| w.client(client).status(stream) != 0);
    assert_eq!(world.client(client).status(stream), 200);
    stream
}

/// What polite targets send: the time, so that the delay can be read at the other end.
fn stamp(world: &World) -> [u8; 200] {
    let mut payload = [0; 200];
    let nanos = (world.now - world.start).as_nanos() as u64;
    payload[..8].copy_from_slice(&nanos.to_le_bytes());
    payload
}

/// Delays of what arrived since the last call.
fn delays(world: &mut World, client: ClientId, stream: StreamId, into: &mut Vec<Duration>) {
    let now: Instant = world.now;
    let start = world.start;
    for datagram in world.client(client).stream(stream).datagrams.drain(..) {
        let nanos = u64::from_le_bytes(datagram[..8].try_into().unwrap());
        into.push((now - start).saturating_sub(Duration::from_nanos(nanos)));
    }
}

/// Downlink: the target of one tunnel sends four times what a narrow path carries, nine send
/// little.
fn flood(seed: u64, shared: bool) -> (usize, Vec<Duration>, u64) {
    // Connections that share a narrow link compete on it by congestion control, not in the relay.
    let mut world = world(seed, shared);
    let owner = world.connect(ClientOptions::default());
    let flooded = open(&mut world, owner, FLOOD);
    let tunnels: Vec<_> = (0..POLITE)
        .map(|n| {
            let client = if shared { owner } else { world.connect(ClientOptions::default()) };
            (client, open(&mut world, client, &polite(n)))
        })
        .collect();
    let (mut sent, mut got) = (0, Vec::new());
    for tick in 0..2000 {
        for _ in 0..20 {
            world.io.target_sends(address(FLOOD), &[0; 1200]);
        }
        // Until the connections know their path, nobody is judged.
        let judged = tick >= 500;
        for n in 0..POLITE {
            let payload = stamp(&world);
            world.io.target_sends(address(&polite(n)), &payload);
            sent += usize::from(judged);
        }
        world.run_for(TICK);
        world.client(owner).stream(flooded).datagrams.clear();
        for &(client, stream) in &tunnels {
            match judged {
                true => delays(&mut world, client, stream, &mut got),
                false => world.client(client).stream(stream).datagrams.clear(),
            }
        }
    }
    world.run_for(Duration::from_millis(50));
    for &(client, stream) in &tunnels {
        delays(&mut world, client, stream, &mut got);
    }
    let dropped = |row: usize| {
        world.ledger.rows[row].counters.down.dropped[DropReason::QueueFull as usize].datagrams
    };
    assert!((1..=POLITE).all(|row| dropped(row) == 0), "the relay drops of polite tunnels");
    let flood_dropped = dropped(0);
    (sent, got, flood_dropped)
}

fn check(sent: usize, mut got: Vec<Duration>) {
    got.sort_unstable();
    let p99 = got[got.len() * 99 / 100];
    // The judged ticks begin with what was under way before, so a few more may arrive than were
    // sent. What the link itself drops is the congestion controller's affair.
    assert!(got.len() * 1000 >= sent * 980, "{} of {sent} arrived", got.len());
    let relay = p99.saturating_sub(ONE_WAY + LINK_QUEUE + TICK);
    assert!(relay <= Duration::from_millis(5), "p99 {p99:?}, median {:?}", got[got.len() / 2]);
}

#[test]
fn polite_tunnels_of_the_same_connection() {
    let (sent, got, dropped) = flood(31, true);
    assert!(dropped > 1000, "no flood: {dropped}");
    check(sent, got);
}

#[test]
fn polite_tunnels_of_other_connections() {
    let (sent, got, _) = flood(32, false);
    check(sent, got);
}

/// Uplink, with a backend that takes few buffers at a time: a flood of datagrams that can't form
/// trains takes no more than its turns, and only the flood is dropped.
#[test]
fn polite_tunnels_towards_targets() {
    let mut world = World::new(33, relay_config());
    let client = world.connect(ClientOptions::default());
    let flooded = open(&mut world, client, FLOOD);
    let tunnels: Vec<_> = (0..POLITE).map(|n| open(&mut world, client, &polite(n))).collect();
    // What a turn may send, so that the flood queues.
    world.io.buffers = 24;
    let (mut polite_sent, mut flood_first) = (0, 0);
    for _ in 0..200 {
        world.io.udp_order.clear();
        for n in 0..60 {
            // Growing lengths never share a train.
            world.client(client).send_udp(flooded, &vec![0; 100 + n]);
        }
        for &tunnel in &tunnels {
            world.client(client).send_udp(tunnel, &[1; 100]);
            polite_sent += 1;
        }
        world.run_for(Duration::from_millis(1));
        // What left of the flood before the last of the polite datagrams that left.
        let order = &world.io.udp_order;
        let last_polite = order.iter().rposition(|target| *target != address(FLOOD));
        let before = &order[..last_polite.unwrap_or(0)];
        let flood = before.iter().filter(|target| **target == address(FLOOD)).count();
        flood_first = flood_first.max(flood);
    }
    // A turn is 16 operations at the least size, and there may be a second one.
    assert!(flood_first <= 32, "{flood_first} of the flood before the polite");
    world.run_for(Duration::from_millis(100));
    let arrived: usize = (0..POLITE)
        .filter_map(|n| world.io.udp_received.get(&address(&polite(n))))
        .map(Vec::len)
        .sum();
    assert!(arrived * 1000 >= polite_sent * 995, "{arrived} of {polite_sent}");
}

/// A client without HTTP Datagrams gets capsules, which are written to its stream while it has its
/// turn. That once gave the connection another place in line with every train, which the engine
/// asserts against in debug builds; and it has to get its share without.
#[test]
fn capsules_take_their_turns() {
    let mut world = world(34, false);
    let targets = [FLOOD.to_owned(), polite(0)];
    let clients = [true, false].map(|h3_datagram| {
        world.connect(ClientOptions { h3_datagram, ..ClientOptions::default() })
    });
    let streams = [0, 1].map(|n| open(&mut world, clients[n], &targets[n]));
    // Fewer than both would fill.
    world.io.buffers = 1;
    let mut got = [0, 0];
    for tick in 0..400 {
        for target in &targets {
            for _ in 0..40 {
                world.io.target_sends(address(target), &[0; 1200]);
            }
        }
        world.run_for(TICK);
        for n in 0..2 {
            let arrived = world.client(clients[n]).stream(streams[n]).datagrams.drain(..).count();
            got[n] += if tick < 200 { 0 } else { arrived };
        }
    }
    let [frames, capsules] = got;
    assert!(frames > 1000 && capsules > 1000, "{frames} in frames, {capsules} in capsules");
}
