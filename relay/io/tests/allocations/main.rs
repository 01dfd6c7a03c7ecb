//! No allocation per relayed datagram: the real engine on a real backend, real QUIC clients and
//! targets on loopback, and an allocator that counts what the relay's thread asks for, and by whom.
//!
//! quinn-proto is held to it too, with the queue of sent packets that relay/vendor gives it.

mod counting;
mod load;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use weir_core::port::{EgressEvent, EgressId, FlowHook, FlowTuple, Handler, Io, PacketMeta};
use weir_core::{Engine, EngineConfig, Policy, turn};
use weir_io::{
    Backend, BackendKind, ClientOptions, IoConfig, LedgerWriter, Waker, WorkerSockets, bind_workers,
};

use load::Load;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// Datagrams that come back before anything counts: windows and tables have grown by then.
const WARM_UP: u64 = 20_000;

/// Relayed twice each: once up, once down.
const MEASURED: u64 = 10_000;

/// A table that grows once in a while is no allocation per datagram.
const PER_DATAGRAM_MAX: f64 = 0.001;

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const DONE: u8 = 2;

#[test]
fn a_datagram_allocates_nothing_on_uring() {
    if let Err(refusal) = weir_io::probe() {
        let required = std::env::var_os("WEIR_REQUIRE_PRIVILEGED").is_some();
        assert!(!required, "io_uring is required: {refusal}");
        return eprintln!("SKIP: {refusal}");
    }
    allocates_nothing(BackendKind::Uring);
}

#[test]
fn a_datagram_allocates_nothing_on_poll() {
    allocates_nothing(BackendKind::Poll);
}

fn allocates_nothing(kind: BackendKind) {
    let phase = Arc::new(AtomicU8::new(WARMING));
    let (say, hear) = mpsc::channel();
    let worker = thread::spawn({
        let phase = Arc::clone(&phase);
        move || relay(kind, &phase, &say)
    });
    let mut load = Load::open(hear.recv().unwrap());
    load.echo(WARM_UP);
    phase.store(MEASURING, SeqCst);
    load.echo(MEASURED);
    phase.store(DONE, SeqCst);
    let Counted { up, down, turns, allocations, callers } = worker.join().unwrap();
    let per_datagram = |count: u64| count as f64 / (up + down) as f64;
    println!(
        "{kind}: {allocations} allocations for {up} datagrams up and {down} down in {turns} turns: \
         {:.4} per datagram",
        per_datagram(allocations)
    );
    callers.iter().for_each(|(caller, count)| println!("{count:6} {caller}"));
    assert!(up + down >= MEASURED, "{up} up and {down} down is too little work");
    let allocations = per_datagram(allocations);
    assert!(allocations <= PER_DATAGRAM_MAX, "{allocations:.4} per datagram: {callers:#?}");
}

/// What the relay's thread did while it was measured.
#[derive(Default)]
struct Counted {
    up: u64,
    down: u64,
    turns: u64,
    allocations: u64,
    callers: Vec<(String, u64)>,
}

/// One worker's loop, as in the daemon.
fn relay(kind: BackendKind, phase: &AtomicU8, say: &mpsc::Sender<SocketAddr>) -> Counted {
    let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let sockets = bind_workers(&[listen], 1, &ClientOptions::default()).unwrap().remove(0);
    let address = local(&sockets);
    let waker = Waker::new().unwrap();
    let mut io =
        Backend::open(kind, &IoConfig::default(), sockets, &waker, Box::new(NoFlows)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = LedgerWriter::create(&dir.path().join("ledger"), 7, 0, 64).unwrap();
    let engine = Engine::new(config(), [7; 32], Instant::now()).unwrap();
    let mut worker = Worker { engine, counted: Counted::default() };
    say.send(address).unwrap();
    let mut before = None;
    loop {
        match (phase.load(SeqCst), before) {
            (MEASURING, None) => {
                worker.counted = Counted::default();
                before = Some(counting::allocations());
                counting::trace();
            }
            (DONE, Some(before)) => {
                worker.counted.allocations = counting::allocations() - before;
                worker.counted.callers = counting::callers();
                return worker.counted;
            }
            _ => {}
        }
        // Not for longer, since nothing wakes it when the measurement is over.
        let soon = Instant::now() + Duration::from_millis(20);
        let deadline = worker.engine.poll_timeout().map_or(soon, |at| at.min(soon));
        let now = io.turn(Some(deadline), &mut worker).unwrap();
        worker.engine.handle_timeout(now);
        turn::flush(&mut worker.engine, &mut io, now);
        assert!(worker.engine.poll_control().is_none(), "nothing here has a name to resolve");
        worker.engine.publish(&mut ledger);
        worker.counted.turns += 1;
    }
}

struct Worker {
    engine: Engine,
    counted: Counted,
}

impl Handler for Worker {
    fn handle_packets(&mut self, now: Instant, meta: &PacketMeta, train: &[u8]) {
        self.engine.handle_packets(now, meta, train);
    }

    fn handle_egress(&mut self, now: Instant, event: EgressEvent<'_>) {
        match event {
            EgressEvent::UdpSent { datagrams, .. } => self.counted.up += u64::from(datagrams),
            EgressEvent::UdpReceived { train, segment_size, .. } => {
                self.counted.down += train.len().div_ceil(segment_size.max(1)) as u64;
            }
            _ => {}
        }
        self.engine.handle_egress(now, event);
    }
}

/// No kernel counts here.
struct NoFlows;

impl FlowHook for NoFlows {
    fn opened(&mut self, _: EgressId, _: &FlowTuple) {}
    fn closed(&mut self, _: EgressId, _: &FlowTuple) {}
}

/// Targets are on loopback, which is denied unless it is allowed.
fn config() -> EngineConfig {
    let policy = Policy { allow: vec!["127.0.0.0/8".parse().unwrap()], ..Policy::default() };
    EngineConfig { policy: Arc::new(policy), ..weir_sim::relay_config() }
}

fn local(sockets: &WorkerSockets) -> SocketAddr {
    sockets.v4.as_ref().unwrap().local()
}
