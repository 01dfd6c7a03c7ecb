//! The generator against the relay's engine on its real I/O, in a thread of the test.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use quinn_proto::RandomConnectionIdGenerator;
use ring::digest::{SHA256, digest};
use rustls::pki_types::PrivatePkcs8KeyDer;
use support::{Target, run};
use weir_core::ledger::TunnelCounters;
use weir_core::port::{EgressId, FlowHook, FlowTuple, Io, Ledger, LedgerEntry, SlotId};
use weir_core::{
    CreditLine, EndpointKeys, Engine, EngineConfig, Grant, Grants, Limits, Policy, QuicConfig,
    Templates, turn,
};
use weir_io::{Backend, BackendChoice, ClientOptions, IoConfig, Waker, bind_workers, select};
use weir_load::spec::{Pace, Payload, Udp, Way, Work};

const TOKEN: &str = "open-sesame";

/// A relay that ends with the test.
struct Relay {
    address: SocketAddr,
    files: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    fn start() -> Relay {
        let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("ca.pem"), certificate.cert.pem()).unwrap();
        std::fs::write(files.path().join("auth"), format!("Bearer {TOKEN}\n")).unwrap();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let sockets = bind_workers(&[listen], 1, &ClientOptions::default()).unwrap().remove(0);
        let address = sockets.v4.as_ref().unwrap().local();
        let config = config(&certificate);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let kind = select(BackendChoice::Auto).unwrap().kind;
            let waker = Waker::new().unwrap();
            let hook = Box::new(NoFlows);
            let mut io = Backend::open(kind, &IoConfig::default(), sockets, &waker, hook).unwrap();
            let mut engine = Engine::new(config, [7; 32], Instant::now()).unwrap();
            while !stopped.load(Ordering::Relaxed) {
                let soon = Instant::now() + Duration::from_millis(20);
                let deadline = engine.poll_timeout().map_or(soon, |at| at.min(soon));
                let now = io.turn(Some(deadline), &mut engine).unwrap();
                engine.handle_timeout(now);
                turn::flush(&mut engine, &mut io, now);
                engine.publish(&mut Unread);
            }
        });
        Relay { address, files, stop, thread: Some(thread) }
    }

    fn way(&self, connections: u32) -> Way {
        Way::Masque {
            relay: self.address,
            server_name: "localhost".to_owned(),
            ca: Some(self.files.path().join("ca.pem")),
            authorization: Some(self.files.path().join("auth")),
            connections,
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking(), "the relay panicked");
    }
}

fn config(certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> EngineConfig {
    let key = PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key.into())
        .unwrap();
    let grant = Grant {
        id: 1,
        name: "load".to_owned(),
        channel: None,
        lane: 0,
        max_tunnels: None,
        credit: Arc::new(CreditLine::unlimited()),
        allowance: None,
    };
    let hash = digest(&SHA256, TOKEN.as_bytes()).as_ref().try_into().unwrap();
    let loopback = "127.0.0.0/8".parse().unwrap();
    EngineConfig {
        name: "localhost".to_owned(),
        epoch: 1,
        worker: 0,
        tls: Arc::new(tls),
        keys: EndpointKeys { reset: [1; 64], token: [2; 64] },
        cid: Arc::new(|| Box::new(RandomConnectionIdGenerator::new(8))),
        quic: QuicConfig::default(),
        limits: Limits::default(),
        templates: Templates::default(),
        policy: Arc::new(Policy { allow: vec![loopback], ..Policy::default() }),
        grants: Arc::new(Grants::new([(hash, Arc::new(grant))])),
    }
}

struct NoFlows;

impl FlowHook for NoFlows {
    fn opened(&mut self, _: EgressId, _: &FlowTuple) {}
    fn closed(&mut self, _: EgressId, _: &FlowTuple) {}
}

/// A ledger that nobody reads.
struct Unread;

impl Ledger for Unread {
    fn open(&mut self, _: &LedgerEntry) -> Option<SlotId> {
        Some(SlotId(0))
    }
    fn publish(&mut self, _: SlotId, _: &TunnelCounters) {}
    fn close(&mut self, _: SlotId, _: &TunnelCounters) {}
}

fn echo(target: SocketAddr, tunnels: u32, payload: Payload, pace: Pace, batch: bool) -> Udp {
    Udp { target, targets: 1, tunnels, payload, pace, batch }
}

#[test]
fn udp_comes_back_in_trains_and_singly() {
    let (relay, target) = (Relay::start(), Target::start());
    for (payload, batch) in [
        (Payload::Bytes(1200), true),
        (Payload::Bytes(1200), false),
        (Payload::Bytes(64), true),
        (Payload::Imix, true),
    ] {
        let work = Work::Udp(echo(target.udp, 4, payload, Pace::Window(32), batch));
        let report = run(relay.way(2), work).unwrap();
        assert!(report.units > 0, "{report:?}");
        assert_eq!((report.lost, report.corrupt), (0, 0), "{report:?}");
    }
    target.process.end();
}

#[test]
fn tcp_flows_both_ways_and_requests_are_answered() {
    let (relay, target) = (Relay::start(), Target::start());
    let tcp = target.tcp;
    for work in [
        Work::TcpDownload { target: tcp, streams: 2 },
        Work::TcpUpload { target: tcp, streams: 2 },
        Work::TcpSmall { target: tcp, concurrency: 4, request: 1024, response: 3000 },
    ] {
        let report = run(relay.way(2), work).unwrap();
        assert!(report.units > 0, "{report:?}");
        assert_eq!((report.lost, report.corrupt), (0, 0), "{report:?}");
    }
    target.process.end();
}

#[test]
fn handshakes_are_full_or_resumed_as_asked() {
    let relay = Relay::start();
    for (resumed, none) in [(false, true), (true, false)] {
        let work = Work::Handshakes { resumed, concurrency: 2 };
        let report = run(relay.way(1), work).unwrap();
        assert!(report.units > 0 && report.lost == 0, "{report:?}");
        let note = report.notes.iter().find(|note| note.contains("resumed")).unwrap();
        assert_eq!(note.starts_with("0 of"), none, "{note}");
    }
}

#[test]
fn tunnels_come_go_and_stay() {
    let (relay, target) = (Relay::start(), Target::start());
    let opens = Work::Opens { target: target.udp, concurrency: 4 };
    let report = run(relay.way(1), opens).unwrap();
    assert!(report.units > 0 && report.lost == 0, "{report:?}");
    let idle = Work::Idle { target: target.udp, connections: 3, tunnels_per_connection: 5 };
    let report = run(relay.way(1), idle).unwrap();
    assert_eq!((report.units, report.lost), (15, 0), "{report:?}");
    target.process.end();
}

#[test]
fn polite_tunnels_are_reported_beside_a_flood() {
    let (relay, target) = (Relay::start(), Target::start());
    for one_connection in [true, false] {
        let flood = echo(target.udp, 1, Payload::Bytes(1200), Pace::Window(100), true);
        let polite = echo(target.udp, 3, Payload::Bytes(200), Pace::PerSecond(300.0), true);
        let work = Work::Fairness { flood, polite, one_connection };
        let report = run(relay.way(1), work).unwrap();
        let polite = report.polite.as_ref().unwrap();
        assert!(report.units > 0 && polite.units > 0, "{report:?}");
        assert_eq!((report.corrupt, polite.corrupt), (0, 0), "{report:?}");
    }
    target.process.end();
}

#[test]
fn a_refusal_is_told_as_the_relay_puts_it() {
    let relay = Relay::start();
    let private = SocketAddr::from(([10, 0, 0, 1], 9));
    let work = Work::Udp(echo(private, 1, Payload::Bytes(100), Pace::Window(1), true));
    let error = run(relay.way(1), work).unwrap_err();
    assert!(error.contains("403") && error.contains("destination_ip_prohibited"), "{error}");
    let Way::Masque { relay: address, server_name, authorization, .. } = relay.way(1) else {
        unreachable!("it is a relay")
    };
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let ca = relay.files.path().join("other.pem");
    std::fs::write(&ca, other.cert.pem()).unwrap();
    let stranger =
        Way::Masque { relay: address, server_name, ca: Some(ca), authorization, connections: 1 };
    let work = Work::Udp(echo(private, 1, Payload::Bytes(100), Pace::Window(1), true));
    let error = run(stranger, work).unwrap_err();
    assert!(error.contains("connection lost"), "{error}");
}
