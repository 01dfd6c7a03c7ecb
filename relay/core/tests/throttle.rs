//! Payers that don't sign: full speed through the window, a trickle through the overdraft, then
//! nothing; and all at once when they do sign.

use std::sync::Arc;
use std::time::Duration;

use weir_core::credit::{Allowed, Standing};
use weir_core::{Command, CreditLine, Grant};
use weir_sim::config::{grant, grants};
use weir_sim::scenario::*;
use weir_sim::{ClientId, ClientOptions, TcpTarget, World, relay_config};

const WINDOW: u64 = 1_000_000;
const OVERDRAFT: u64 = 200_000;
/// Bytes per second.
const FLOOR: u64 = 100_000;

fn allowed(paid: u64) -> Allowed {
    let soft = paid + WINDOW;
    Allowed { soft, hard: soft + OVERDRAFT, floor_rate: FLOOR }
}

fn world_of_payer(seed: u64, tcp: TcpTarget) -> (World, ClientId, Arc<CreditLine>) {
    let credit = Arc::new(CreditLine::new(0));
    credit.allow(allowed(0));
    let mut config = relay_config();
    config.grants = grants(Grant { credit: credit.clone(), ..grant(1) });
    let mut world = World::new(seed, config);
    add_targets(&mut world, tcp);
    let client = world.connect(ClientOptions::default());
    (world, client, credit)
}

/// Runs until the line stands so, and says how long that took.
fn until(world: &mut World, line: &CreditLine, standing: Standing) -> Duration {
    let start = world.now;
    world.run_until("another standing", |_| line.standing() >= standing);
    world.now - start
}

/// The overdraft at the floor rate, give or take the turns at both ends.
fn is_a_trickle(took: Duration) -> bool {
    let ideal = OVERDRAFT as f64 / FLOOR as f64;
    (ideal * 0.98..ideal * 1.1).contains(&took.as_secs_f64())
}

#[test]
fn a_download_that_nobody_signs_for_is_slowed_down_and_then_stopped() {
    const LEN: usize = 8 << 20;
    let (mut world, client, credit) = world_of_payer(1, TcpTarget::Source { bytes: LEN });
    let tunnel = open_tcp(&mut world, client);
    let at_full_speed = until(&mut world, &credit, Standing::Throttled);
    assert!(at_full_speed < Duration::from_secs(1), "{at_full_speed:?}");
    assert_eq!(credit.used(), WINDOW);
    let trickled = until(&mut world, &credit, Standing::Stopped);
    assert!(is_a_trickle(trickled), "{trickled:?}");
    world.run_for(Duration::from_secs(10));
    assert_eq!(credit.used(), WINDOW + OVERDRAFT);
    assert_eq!(credit.turns_into(Standing::Throttled), 1);
    assert_eq!(credit.turns_into(Standing::Stopped), 1);
    assert!(!world.client(client).is_over(tunnel), "paused, not reset");

    credit.allow(allowed(1 << 40));
    world.command(Command::CreditChanged);
    let start = world.now;
    world.run_until("all of it", |w| w.client(client).stream(tunnel).finished);
    assert_eq!(world.client(client).stream(tunnel).data.len(), LEN);
    assert!(world.now - start < Duration::from_secs(5), "{:?}", world.now - start);
}

#[test]
fn an_upload_is_slowed_down_too() {
    let (mut world, client, credit) = world_of_payer(2, TcpTarget::Sink);
    let tunnel = open_tcp(&mut world, client);
    world.client(client).send(tunnel, &vec![7; 4 << 20]);
    until(&mut world, &credit, Standing::Throttled);
    assert_eq!(credit.used(), WINDOW);
    let trickled = until(&mut world, &credit, Standing::Stopped);
    assert!(is_a_trickle(trickled), "{trickled:?}");
    world.run_for(Duration::from_secs(10));
    assert_eq!(credit.used(), WINDOW + OVERDRAFT);
}

#[test]
fn datagrams_beyond_the_trickle_are_dropped() {
    let (mut world, client, credit) = world_of_payer(3, TcpTarget::Echo);
    let tunnel = open_udp(&mut world, client);
    // 2 MB per second with its echoes.
    let mut used = Vec::new();
    for _ in 0..4_000 {
        world.client(client).send_udp(tunnel, &[1; 1000]);
        world.run_for(Duration::from_millis(1));
        used.push(credit.used());
    }
    let soft = used.iter().position(|used| *used >= WINDOW).expect("the window is used");
    assert!((500..600).contains(&soft), "{soft} ms for the window");
    for (ms, used) in used[soft..].iter().enumerate() {
        let most = WINDOW + FLOOR * (ms as u64 + 1) / 1000 + 3_000;
        assert!(*used <= most, "{used} after {ms} ms in the overdraft");
    }
    let end = used.iter().position(|used| *used >= WINDOW + OVERDRAFT).expect("the end") - soft;
    assert!((1_900..2_600).contains(&end), "{end} ms for the overdraft");
    assert!(*used.last().unwrap() < WINDOW + OVERDRAFT + 3_000);
    let refused = world.client(client).open_udp(UDP);
    expect_status(&mut world, client, refused, 429);
}

#[test]
fn who_signs_late_is_let_go_at_once() {
    let (mut world, client, credit) = world_of_payer(4, TcpTarget::Source { bytes: 3 << 20 });
    let tunnel = open_tcp(&mut world, client);
    until(&mut world, &credit, Standing::Throttled);
    world.run_for(Duration::from_millis(500));
    assert_eq!(credit.standing(), Standing::Throttled);
    // While it is slow, a new tunnel may still be opened.
    open_udp(&mut world, client);
    credit.allow(allowed(4 << 20));
    world.command(Command::CreditChanged);
    let start = world.now;
    world.run_until("all of it", |w| w.client(client).stream(tunnel).finished);
    assert!(world.now - start < Duration::from_secs(2), "{:?}", world.now - start);
    assert_eq!(credit.turns_into(Standing::Open), 1);
}

#[test]
fn tunnels_and_sessions_of_one_payer_share_the_trickle() {
    let (mut world, first, credit) = world_of_payer(5, TcpTarget::Source { bytes: 8 << 20 });
    let mut clients = vec![first];
    clients.extend((0..4).map(|_| world.connect(ClientOptions::default())));
    for client in &clients {
        open_tcp(&mut world, *client);
        open_tcp(&mut world, *client);
    }
    assert_eq!(credit.sessions(), 5);
    until(&mut world, &credit, Standing::Throttled);
    let (from, start) = (credit.used(), world.now);
    until(&mut world, &credit, Standing::Stopped);
    let rate = (WINDOW + OVERDRAFT - from) as f64 / (world.now - start).as_secs_f64();
    assert!((0.9..1.1).contains(&(rate / FLOOR as f64)), "{rate} bytes per second");
    world.run_for(Duration::from_secs(5));
    let used = credit.used();
    assert_eq!(used, WINDOW + OVERDRAFT, "ten tunnels pass no limit that one doesn't");
    // Reconnecting gives nothing.
    for _ in 0..100 {
        let client = world.connect(ClientOptions::default());
        let refused = world.client(client).open_tcp(TCP);
        expect_status(&mut world, client, refused, 429);
    }
    world.run_for(Duration::from_secs(1));
    assert_eq!(credit.used(), used);
}

#[test]
fn the_others_feel_nothing() {
    let mut config = relay_config();
    let slow = Arc::new(CreditLine::new(0));
    slow.allow(Allowed { soft: 0, hard: OVERDRAFT, floor_rate: FLOOR });
    config.grants = grants(Grant { credit: slow.clone(), ..grant(1) });
    let mut world = World::new(6, config);
    add_targets(&mut world, TcpTarget::Source { bytes: 1 << 20 });
    let client = world.connect(ClientOptions::default());
    let tunnel = open_tcp(&mut world, client);
    world.run_for(Duration::from_secs(5));
    assert_eq!(slow.standing(), Standing::Stopped);
    // Stopped tunnels wait for news, not for the clock: the engine sleeps.
    let next = world.engine.poll_timeout().expect("the connection's own timer");
    assert!(next > world.now + Duration::from_millis(500), "{:?}", next - world.now);
    assert!(!world.client(client).is_over(tunnel));
}
