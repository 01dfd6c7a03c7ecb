//! Waiting, waking, buffers, the hook, and the end.

use std::cell::RefCell;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use weir_core::port::{EgressId, EgressOp, FlowHook, FlowTuple, Io, Transmit, Transport};
use weir_io::{BackendKind, IoConfig};

use super::{HookLog, Recorder, Rig, id, place};

pub(crate) fn a_waker_ends_the_wait(kind: BackendKind) {
    let mut rig = Rig::new(kind);
    let woken = Arc::new(AtomicBool::new(false));
    let (waker, flag) = (rig.waker.clone(), woken.clone());
    let thread = thread::spawn(move || {
        // Long enough that the turn below is waiting; if not, the wake comes early and counts too.
        thread::park_timeout(Duration::from_millis(30));
        flag.store(true, Ordering::SeqCst);
        let start = Instant::now();
        for _ in 0..1000 {
            waker.wake();
        }
        start
    });
    let end = Instant::now() + super::PATIENCE;
    while !woken.load(Ordering::SeqCst) {
        // No deadline: nothing but the waker ends this.
        rig.io.turn(None, &mut rig.seen).unwrap();
        assert!(Instant::now() < end);
    }
    let woke_at = Instant::now();
    let wake_at = thread.join().unwrap();
    assert!(woke_at.saturating_duration_since(wake_at) < Duration::from_secs(1));
    rig.turn(Duration::from_millis(5));
    let wakes = rig.io.stats().wakes;
    assert!((1..=1000).contains(&wakes), "{wakes}");
}

/// Looking for the next packet ends at once with whatever comes first, however long it might last.
pub(crate) fn polling_delays_neither_packets_nor_wakers_nor_deadlines(kind: BackendKind) {
    let soon = Duration::from_millis(2);
    let late = Duration::from_secs(2);
    let mut rig = Rig::with(kind, &IoConfig { spin: super::PATIENCE, ..IoConfig::default() });
    let (client, listen) = (place::udp(kind), rig.listen[0]);
    let end = Instant::now() + super::PATIENCE;
    let mut packets = 0;
    // It polls only where the turn before was short, which a busy machine may spoil.
    while rig.io.stats().spins < 10 {
        assert!(Instant::now() < end, "{:?}", rig.io.stats());
        client.send_to(b"packet", listen).unwrap();
        packets += 1;
        rig.until("a packet", |seen| seen.packets.len() == packets);

        let deadline = Instant::now() + soon;
        while rig.io.turn(Some(deadline), &mut rig.seen).unwrap() < deadline {}
        assert!(Instant::now() < deadline + late);

        client.send_to(b"packet", listen).unwrap();
        packets += 1;
        rig.until("a packet", |seen| seen.packets.len() == packets);
        let (waker, sender) = (rig.waker.clone(), client.try_clone().unwrap());
        let start = Instant::now();
        let (wakes, is_packet) = (rig.io.stats().wakes, packets % 4 == 0);
        let thread = thread::spawn(move || {
            thread::park_timeout(soon);
            if is_packet {
                sender.send_to(b"packet", listen).unwrap();
            } else {
                waker.wake();
            }
        });
        packets += usize::from(is_packet);
        while rig.seen.packets.len() < packets || !is_packet && rig.io.stats().wakes == wakes {
            rig.io.turn(None, &mut rig.seen).unwrap();
        }
        assert!(start.elapsed() < late);
        thread.join().unwrap();
    }
}

pub(crate) fn a_wake_between_turns_is_not_lost(kind: BackendKind) {
    let mut rig = Rig::new(kind);
    rig.turn(Duration::ZERO);
    for round in 1..=50 {
        rig.waker.wake();
        rig.waker.wake();
        let start = Instant::now();
        rig.io.turn(Some(start + super::PATIENCE), &mut rig.seen).unwrap();
        assert!(start.elapsed() < Duration::from_secs(5));
        assert_eq!(rig.io.stats().wakes, round, "two wakes are one");
    }
    // And none is left over.
    let start = Instant::now();
    rig.turn(Duration::from_millis(20));
    assert!(start.elapsed() >= Duration::from_millis(20));
}

pub(crate) fn a_deadline_is_met_and_not_early(kind: BackendKind) {
    let mut rig = Rig::new(kind);
    rig.turn(Duration::ZERO);
    for millis in [0, 1, 7, 30] {
        let start = Instant::now();
        let deadline = start + Duration::from_millis(millis);
        let woke = rig.io.turn(Some(deadline), &mut rig.seen).unwrap();
        assert!(woke >= deadline, "{millis} ms: {:?} early", deadline - woke);
        assert!(woke - deadline < Duration::from_millis(500), "{millis} ms: {:?}", woke - deadline);
    }
    // A deadline in the past doesn't wait.
    let start = Instant::now();
    rig.io.turn(Some(start - Duration::from_secs(1)), &mut rig.seen).unwrap();
    assert!(start.elapsed() < Duration::from_millis(500));
}

pub(crate) fn send_buffers_run_out_and_come_back(kind: BackendKind) {
    let config = IoConfig { send_buffers: 3, ..IoConfig::default() };
    let mut rig = Rig::with(kind, &config);
    let peer = place::udp(kind);
    rig.open_udp(id(0), peer.local_addr().unwrap());
    for round in 1..=10 {
        let buffers: Vec<_> = std::iter::from_fn(|| rig.io.take_buffer()).collect();
        assert_eq!(buffers.len(), 3, "round {round}");
        assert_eq!(rig.io.stats().tx_no_buffer, round);
        for mut buffer in buffers {
            buffer.extend_from_slice(b"some");
            let op = EgressOp::UdpSend { id: id(0), segment_size: 4, datagrams: 1 };
            rig.io.egress(op, buffer);
        }
        let sent = 3 * round as u32;
        rig.until("all sent", |seen| seen.accounted(id(0)).0 == sent);
    }
    let buffer = rig.io.take_buffer().unwrap();
    rig.io.give_back(buffer);
}

/// Whoever stops for want of a buffer is woken when one is back, though replies alone wake nobody.
pub(crate) fn running_out_of_buffers_ends_the_next_wait(kind: BackendKind) {
    let config = IoConfig { send_buffers: 3, ..IoConfig::default() };
    let mut rig = Rig::with(kind, &config);
    let client = place::udp(kind);
    let destination = client.local_addr().unwrap();
    let transmit = Transmit { destination, src_ip: None, ecn: None, segment_size: None };
    rig.turn(Duration::ZERO);
    let (mut sent, start) = (0, Instant::now());
    while sent < 100 {
        while sent < 100
            && let Some(mut buffer) = rig.io.take_buffer()
        {
            buffer.extend_from_slice(b"small");
            rig.io.transmit(&transmit, buffer);
            sent += 1;
        }
        if sent < 100 {
            rig.io.turn(Some(start + super::PATIENCE), &mut rig.seen).unwrap();
        }
    }
    assert!(start.elapsed() < super::PATIENCE / 2);
    rig.turn(Duration::ZERO);
    assert_eq!(rig.io.stats().client_tx_trains, 100);
}

/// Looks at the peers at the moment of each call.
#[derive(Clone)]
struct Spy {
    log: HookLog,
    udp: Rc<UdpSocket>,
    tcp: Rc<TcpListener>,
    early: Rc<RefCell<Vec<String>>>,
}

impl FlowHook for Spy {
    fn opened(&mut self, id: EgressId, flow: &FlowTuple) {
        if flow.transport == Transport::Udp && self.udp.recv(&mut [0; 8]).is_ok()
            || flow.transport == Transport::Tcp && self.tcp.accept().is_ok()
        {
            self.early.borrow_mut().push(format!("{flow:?}"));
        }
        self.log.opened(id, flow);
    }

    fn closed(&mut self, id: EgressId, flow: &FlowTuple) {
        // The socket is gone: its port can be bound again at once.
        if flow.transport == Transport::Udp && UdpSocket::bind(flow.local).is_err() {
            self.early.borrow_mut().push(format!("{flow:?} still open"));
        }
        self.log.closed(id, flow);
    }
}

pub(crate) fn the_hook_runs_before_the_first_packet_and_after_the_last_call(kind: BackendKind) {
    let udp = place::udp(kind);
    let tcp = place::tcp(kind);
    udp.set_nonblocking(true).unwrap();
    tcp.set_nonblocking(true).unwrap();
    let (udp_target, tcp_target) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    let log = HookLog::default();
    let early = Rc::new(RefCell::new(Vec::new()));
    let tcp = Rc::new(tcp);
    let spy = Spy { log: log.clone(), udp: Rc::new(udp), tcp: tcp.clone(), early: early.clone() };
    let mut rig = Rig::with_hook(kind, &IoConfig::default(), log, Box::new(spy));
    rig.op(EgressOp::UdpOpen { id: id(0), target: udp_target, source: None });
    rig.udp_send(id(0), 1, b"x");
    rig.op(EgressOp::TcpConnect { id: id(1), target: tcp_target, source: None });
    rig.until("both", |seen| {
        seen.local(id(0)).is_some() && seen.local(id(1)).is_some() && seen.accounted(id(0)).0 == 1
    });
    let (_peer, from) = tcp.accept().unwrap();
    assert_eq!(Some(from), rig.seen.local(id(1)), "the tuple is what the target sees");
    rig.close(id(0), false);
    rig.close(id(1), false);
    assert_eq!(*early.borrow(), Vec::<String>::new());
    let calls: Vec<(&str, u32, bool)> = rig
        .hook
        .0
        .borrow()
        .iter()
        .map(|(what, id, flow)| {
            let local = rig.seen.local(*id) == Some(flow.local);
            (*what, id.index, local)
        })
        .collect();
    let expected =
        [("opened", 0, true), ("opened", 1, true), ("closed", 0, true), ("closed", 1, true)];
    assert_eq!(calls, expected);
}

/// Descriptors of this process that are sockets, rings, epoll sets or events.
fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Runs in a process of its own, because the other tests open and close descriptors meanwhile.
pub(crate) fn descriptors_are_all_given_back(kind: BackendKind) {
    const ALONE: &str = "WEIR_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = format!("{}::descriptors_are_all_given_back", kind.to_string().to_lowercase());
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &name, "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let cycle = || {
        let mut rig = Rig::new(kind);
        let listener = place::tcp(kind);
        let target = listener.local_addr().unwrap();
        for n in 0..20 {
            let (udp, source) = (rig.listen[0], None);
            rig.op(EgressOp::UdpOpen { id: id(2 * n), target: udp, source });
            rig.op(EgressOp::TcpConnect { id: id(2 * n + 1), target, source });
        }
        rig.until("all open", |seen| (0..40).all(|n| seen.local(id(n)).is_some()));
        for n in 0..20 {
            rig.close(id(n), n % 3 == 0);
        }
        // The other half is left to the drop.
    };
    cycle();
    let before = descriptors();
    for _ in 0..5 {
        cycle();
    }
    assert_eq!(descriptors(), before);
}

pub(crate) fn dropping_a_busy_backend_closes_every_flow(kind: BackendKind) {
    let mut rig = Rig::new(kind);
    let listener = place::tcp(kind);
    let peer = place::udp(kind);
    rig.open_udp(id(0), peer.local_addr().unwrap());
    rig.open_tcp(id(1), listener.local_addr().unwrap());
    rig.op(EgressOp::TcpCredit { id: id(1), bytes: 1000 });
    for n in 0..200 {
        rig.tcp_send(id(1), &super::pattern(60_000, n));
        rig.turn(Duration::ZERO);
    }
    rig.udp_send(id(0), 4, b"last");
    let (listen, hook) = (rig.listen, rig.hook.clone());
    let start = Instant::now();
    let Rig { io, seen, .. } = rig;
    drop(io);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let Recorder { events, .. } = seen;
    assert!(!events.is_empty());
    let log = hook.0.borrow();
    assert_eq!(log.iter().filter(|(what, ..)| *what == "closed").count(), 2);
    listen.into_iter().for_each(port_is_free);
}

/// How long a child that another test starts may stand between `fork` and `exec` on a busy host.
const CHILD_STARTS: Duration = Duration::from_secs(5);

/// Whether nothing of this process holds a UDP port any more. Tests beside this one start programs
/// to make their labs, and a child has a copy of every descriptor until `exec` closes it: the port
/// is in use for so long although the backend is gone. What leaks stays in use.
fn port_is_free(address: SocketAddr) {
    let end = Instant::now() + CHILD_STARTS;
    while let Err(error) = UdpSocket::bind(address) {
        assert_eq!(error.kind(), ErrorKind::AddrInUse, "{address}: {error}");
        assert!(Instant::now() < end, "{address} is in use after {CHILD_STARTS:?}");
        thread::sleep(Duration::from_millis(1));
    }
}
