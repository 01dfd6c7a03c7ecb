//! Client-facing sockets.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weir_core::port::{EcnCodepoint, EgressOp, Io, Transmit};
use weir_io::{
    Backend, BackendKind, ClassicInstruction, ClassicSteerer, ClientOptions, IoConfig, Steerer,
    Waker, bind_workers,
};

use super::{Event, HookLog, Recorder, Rig, id, pattern, place};

fn reply_to(destination: SocketAddr, segment_size: Option<usize>) -> Transmit {
    Transmit { destination, src_ip: None, ecn: None, segment_size }
}

/// The rig's own target-facing socket talks to its client-facing one: both directions, both
/// offloads, both families.
pub(crate) fn trains_travel_whole_both_ways(kind: BackendKind) {
    for family in 0..2 {
        let mut rig = Rig::new(kind);
        let target = rig.listen[family];
        let local = rig.open_udp(id(0), target);
        let payload = pattern(10 * 1200 + 500, 3);
        for _ in 0..3 {
            rig.udp_send(id(0), 1200, &payload);
        }
        rig.until("3 trains", |seen| seen.packet_bytes() == 3 * payload.len());
        assert_eq!(rig.seen.packets.len(), 3, "GRO keeps a train together");
        for (meta, train) in &rig.seen.packets {
            assert_eq!((meta.remote, meta.segment_size), (local, 1200));
            assert_eq!(meta.local_ip, Some(target.ip()));
            assert_eq!(*train, payload);
        }
        rig.until("3 sent", |seen| seen.accounted(id(0)) == (33, 0, 3 * payload.len() as u64));

        for _ in 0..3 {
            rig.reply(reply_to(local, Some(1200)), &payload);
        }
        rig.until("33 datagrams", |seen| seen.datagrams(id(0)).len() == 33);
        let whole = rig.seen.of(id(0)).filter(|e| matches!(e, Event::Udp(..))).count();
        assert_eq!(whole, 3, "GRO keeps a train together");
        assert_eq!(
            rig.seen.datagrams(id(0)).concat(),
            [payload.clone(), payload.clone(), payload].concat()
        );
        let stats = rig.io.stats();
        assert_eq!((stats.client_rx_trains, stats.client_tx_trains), (3, 3));
        assert_eq!((stats.target_rx_trains, stats.target_tx_trains), (3, 3));
        assert_eq!((stats.rx_truncated, stats.gso_disabled), (0, 0));
    }
}

pub(crate) fn both_families_keep_to_themselves(kind: BackendKind) {
    let mut rig = Rig::new(kind);
    for n in 0..2 {
        let client = place::udp_family(kind, n);
        client.set_read_timeout(Some(super::PATIENCE)).unwrap();
        client.send_to(b"hello", rig.listen[n]).unwrap();
        rig.until("the packet", |seen| seen.packets.len() == n + 1);
        let meta = rig.seen.packets[n].0;
        assert_eq!(meta.remote, client.local_addr().unwrap());
        rig.reply(reply_to(meta.remote, None), b"back");
        rig.turn(Duration::ZERO);
        let mut buffer = [0; 16];
        let (len, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from), (&b"back"[..], rig.listen[n]));
    }
}

pub(crate) fn ecn_and_the_address_that_was_used_are_reported(kind: BackendKind) {
    let mut workers =
        bind_workers(&["0.0.0.0:0".parse().unwrap()], 1, &ClientOptions::default()).unwrap();
    let sockets = workers.remove(0);
    let port = sockets.v4.as_ref().unwrap().local().port();
    let waker = Waker::new().unwrap();
    let hook = Box::new(HookLog::default());
    let mut io = place::open(kind, &IoConfig::default(), sockets, &waker, hook).unwrap();
    let client = place::udp(kind);
    socket2::SockRef::from(&client).set_tos_v4(EcnCodepoint::Ect0 as u32).unwrap();
    client.send_to(b"marked", (place::second_ip(kind), port)).unwrap();
    let mut seen = Recorder::default();
    let end = Instant::now() + super::PATIENCE;
    while seen.packets.is_empty() && Instant::now() < end {
        io.turn(Some(Instant::now() + Duration::from_millis(50)), &mut seen).unwrap();
    }
    let (meta, train) = &seen.packets[0];
    assert_eq!(meta.ecn, Some(EcnCodepoint::Ect0));
    assert_eq!(meta.local_ip, Some(place::second_ip(kind)));
    assert_eq!((meta.segment_size, train.as_slice()), (6, &b"marked"[..]));
}

pub(crate) fn a_reply_carries_its_ecn_and_source(kind: BackendKind) {
    let mut rig = Rig::new(kind);
    // A second backend receives, because it reports the ECN bits.
    let (mut far, listen) = place::far_backend(kind);
    let mut seen = Recorder::default();
    for (n, destination) in listen.into_iter().enumerate() {
        let src_ip = Some(rig.listen[n].ip());
        let ecn = Some(EcnCodepoint::Ect1);
        let transmit = Transmit { destination, src_ip, ecn, segment_size: Some(100) };
        rig.reply(transmit, &pattern(250, 1));
        rig.turn(Duration::ZERO);
        let end = Instant::now() + super::PATIENCE;
        while seen.packet_bytes() < 250 * (n + 1) && Instant::now() < end {
            far.turn(Some(Instant::now() + Duration::from_millis(50)), &mut seen).unwrap();
        }
        let meta = seen.packets.last().unwrap().0;
        assert_eq!((meta.ecn, meta.remote, meta.segment_size), (ecn, rig.listen[n], 100));
    }
}

pub(crate) fn more_packets_than_buffers_all_arrive(kind: BackendKind) {
    let config = IoConfig { client_buffers: 2, ..IoConfig::default() };
    let mut rig = Rig::with(kind, &config);
    let client = place::udp(kind);
    for n in 0..200u8 {
        client.send_to(&[n; 40], rig.listen[0]).unwrap();
    }
    rig.until("200 packets", |seen| seen.packets.len() == 200);
    for (n, (_, train)) in rig.seen.packets.iter().enumerate() {
        assert_eq!(*train, [n as u8; 40], "in order");
    }
    if kind == BackendKind::Uring {
        assert!(rig.io.stats().rx_no_buffer > 0, "the kernel did run out: {:?}", rig.io.stats());
    }
    client.send_to(b"and on", rig.listen[0]).unwrap();
    rig.until("one more", |seen| seen.packets.len() == 201);
}

/// Two workers; the first byte of the payload names the one that is to get it.
pub(crate) fn steering_picks_the_worker(kind: BackendKind) {
    let [any, _] = place::listen(kind);
    let workers = bind_workers(&[any], 2, &ClientOptions::default()).unwrap();
    let listen = workers[0].v4.as_ref().unwrap().local();
    // ldb [0]; ret a
    let program = [(0x30, 0), (0x16, 0)].map(|(code, value)| ClassicInstruction {
        code,
        jump_true: 0,
        jump_false: 0,
        value,
    });
    let steerer = ClassicSteerer::new(program.to_vec());
    steerer.attach(workers[1].v4.as_ref().unwrap()).unwrap();
    let mut running: Vec<(Backend, Recorder)> = workers
        .into_iter()
        .map(|sockets| {
            let waker = Waker::new().unwrap();
            let hook = Box::new(HookLog::default());
            let io = place::open(kind, &IoConfig::default(), sockets, &waker, hook).unwrap();
            (io, Recorder::default())
        })
        .collect();
    let client = place::udp(kind);
    for n in 0..60u8 {
        client.send_to(&[u8::from(n % 3 == 0), n], listen).unwrap();
    }
    let end = Instant::now() + super::PATIENCE;
    while running.iter().map(|(_, seen)| seen.packet_bytes()).sum::<usize>() < 120 {
        assert!(Instant::now() < end, "packets got lost");
        for (io, seen) in &mut running {
            io.turn(Some(Instant::now() + Duration::from_millis(10)), seen).unwrap();
        }
    }
    for (n, (_, seen)) in running.iter().enumerate() {
        assert!(seen.packets.iter().all(|(_, train)| usize::from(train[0]) == n));
    }
    assert_eq!(running[1].1.packet_bytes(), 40);
    // Unused here, but the operation must not exist on a client-facing socket only rig.
    let (io, seen) = &mut running[0];
    io.egress(EgressOp::Close { id: id(9), reset: false }, Vec::new());
    io.turn(Some(Instant::now()), seen).unwrap();
    assert!(seen.events.is_empty(), "an unknown id is ignored");
}

/// Every packet is either delivered or counted as dropped by the full socket.
pub(crate) fn packets_that_the_socket_dropped_are_counted(kind: BackendKind) {
    let small = ClientOptions { receive_buffer_bytes: 20_000, ..ClientOptions::default() };
    let mut workers = bind_workers(&place::listen(kind)[..1], 1, &small).unwrap();
    let sockets = workers.remove(0);
    let listen = sockets.v4.as_ref().unwrap().local();
    let waker = Waker::new().unwrap();
    let hook = Box::new(HookLog::default());
    let mut io = place::open(kind, &IoConfig::default(), sockets, &waker, hook).unwrap();
    let client = place::udp(kind);
    let mut seen = Recorder::default();
    for _ in 0..500 {
        client.send_to(&[1; 500], listen).unwrap();
    }
    let mut last = 0;
    while seen.packets.len() > last || last == 0 {
        last = seen.packets.len();
        io.turn(Some(Instant::now() + Duration::from_millis(50)), &mut seen).unwrap();
    }
    // The count comes with the next packet that gets in.
    client.send_to(&[2; 500], listen).unwrap();
    io.turn(Some(Instant::now() + super::PATIENCE), &mut seen).unwrap();
    let dropped = io.stats().rx_overflow;
    assert!(dropped > 0);
    assert_eq!(seen.packets.len() as u64 + dropped, 501);
}

/// Sending alone is no event: the turn after it waits for something to happen.
pub(crate) fn a_reply_does_not_end_the_wait(kind: BackendKind) {
    let mut rig = Rig::new(kind);
    let client = place::udp(kind);
    client.set_read_timeout(Some(super::PATIENCE)).unwrap();
    let to = client.local_addr().unwrap();
    // The first train shows that the offload works.
    rig.reply(reply_to(to, Some(10)), &[1; 25]);
    rig.turn(Duration::from_millis(1));
    rig.turn(Duration::ZERO);
    let turns = rig.io.stats().turns;
    for _ in 0..5 {
        rig.reply(reply_to(to, Some(10)), &[2; 25]);
    }
    let start = Instant::now();
    rig.turn(Duration::from_millis(50));
    assert!(start.elapsed() >= Duration::from_millis(50), "{:?}", start.elapsed());
    assert_eq!(rig.io.stats().turns, turns + 1);
    assert_eq!(rig.io.stats().client_tx_trains, 6);
    for _ in 0..18 {
        client.recv(&mut [0; 100]).unwrap();
    }
}

/// Large trains and small packets may take different ways into the kernel, never another order.
pub(crate) fn large_and_small_sends_keep_their_order(kind: BackendKind) {
    let mut rig = Rig::new(kind);
    let client = place::udp(kind);
    client.set_read_timeout(Some(super::PATIENCE)).unwrap();
    let to = client.local_addr().unwrap();
    rig.open_udp(id(0), to);
    let mut order = 0u8;
    for round in 0..5 {
        for datagrams in [1, 20, 2, 1] {
            let train: Vec<u8> = (0..datagrams).flat_map(|n| [order + n; 1200]).collect();
            order += datagrams;
            if round % 2 == 0 {
                rig.reply(reply_to(to, Some(1200)), &train);
            } else {
                rig.udp_send(id(0), 1200, &train);
            }
        }
        rig.turn(Duration::from_millis(5));
        for n in order - 24..order {
            let mut buffer = [0; 2000];
            let len = client.recv(&mut buffer).unwrap();
            assert_eq!((len, buffer[0]), (1200, n));
        }
    }
    rig.until("all reported", |seen| seen.accounted(id(0)) == (48, 0, 48 * 1200));
}
