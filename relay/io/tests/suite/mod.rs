//! The rig that the suite runs on: a backend, a handler that remembers everything, and a hook.

pub(crate) mod clients;
pub(crate) mod cost;
pub(crate) mod frames;
pub(crate) mod lab;
pub(crate) mod life;
pub(crate) mod place;
pub(crate) mod tcp;
pub(crate) mod udp;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use weir_core::port::{
    EgressError, EgressEvent, EgressId, EgressOp, FlowHook, FlowTuple, Handler, Io, PacketMeta,
    Transmit,
};
use weir_io::{Backend, BackendKind, ClientOptions, IoConfig, Waker, bind_workers};

/// How long anything may take that does happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// False, with the reason on standard error, where io_uring is refused. A machine that promises
/// privileges must not skip.
pub(crate) fn has_uring() -> bool {
    match weir_io::probe() {
        Ok(()) => true,
        Err(refusal) => {
            let required = std::env::var_os("WEIR_REQUIRE_PRIVILEGED").is_some();
            assert!(!required, "io_uring is required: {refusal}");
            eprintln!("SKIP: {refusal}");
            false
        }
    }
}

/// An [`EgressEvent`] that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Opened(SocketAddr),
    Udp(Vec<u8>, usize),
    UdpSent(u32, u64),
    UdpDropped(u32, u64, EgressError),
    Tcp(Vec<u8>),
    TcpEof,
    TcpSent(usize),
    Failed(EgressError),
    Closed,
}

/// Remembers everything that it is told.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) packets: Vec<(PacketMeta, Vec<u8>)>,
    pub(crate) events: Vec<(EgressId, Event)>,
}

impl Handler for Recorder {
    fn handle_packets(&mut self, _now: Instant, meta: &PacketMeta, train: &[u8]) {
        assert!(meta.segment_size > 0 && !train.is_empty());
        self.packets.push((*meta, train.to_vec()));
    }

    fn handle_egress(&mut self, _now: Instant, event: EgressEvent<'_>) {
        let (id, event) = match event {
            EgressEvent::Opened { id, local } => (id, Event::Opened(local)),
            EgressEvent::UdpReceived { id, train, segment_size } => {
                (id, Event::Udp(train.to_vec(), segment_size))
            }
            EgressEvent::UdpSent { id, datagrams, bytes } => (id, Event::UdpSent(datagrams, bytes)),
            EgressEvent::UdpDropped { id, datagrams, bytes, error } => {
                (id, Event::UdpDropped(datagrams, bytes, error))
            }
            EgressEvent::TcpReceived { id, data } => (id, Event::Tcp(data.to_vec())),
            EgressEvent::TcpEof { id } => (id, Event::TcpEof),
            EgressEvent::TcpSent { id, bytes } => (id, Event::TcpSent(bytes)),
            EgressEvent::Failed { id, error } => (id, Event::Failed(error)),
            EgressEvent::Closed { id } => (id, Event::Closed),
        };
        let closed = self.events.contains(&(id, Event::Closed));
        assert!(!closed, "{event:?} after Closed of {id:?}");
        self.events.push((id, event));
    }
}

impl Recorder {
    pub(crate) fn of(&self, id: EgressId) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |(of, _)| *of == id).map(|(_, event)| event)
    }

    pub(crate) fn has(&self, id: EgressId, event: &Event) -> bool {
        self.of(id).any(|e| e == event)
    }

    pub(crate) fn local(&self, id: EgressId) -> Option<SocketAddr> {
        self.of(id).find_map(|e| if let Event::Opened(local) = e { Some(*local) } else { None })
    }

    pub(crate) fn error(&self, id: EgressId) -> Option<EgressError> {
        self.of(id).find_map(|e| if let Event::Failed(error) = e { Some(*error) } else { None })
    }

    /// Datagrams that came in on a target-facing socket, taken out of their trains.
    pub(crate) fn datagrams(&self, id: EgressId) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for event in self.of(id) {
            if let Event::Udp(train, segment_size) = event {
                if train.is_empty() {
                    all.push(Vec::new());
                }
                all.extend(train.chunks((*segment_size).max(1)).map(<[u8]>::to_vec));
            }
        }
        all
    }

    /// Datagrams sent and dropped so far, and the bytes of both.
    pub(crate) fn accounted(&self, id: EgressId) -> (u32, u32, u64) {
        self.of(id).fold((0, 0, 0), |(sent, dropped, bytes), event| match event {
            Event::UdpSent(n, b) => (sent + n, dropped, bytes + b),
            Event::UdpDropped(n, b, _) => (sent, dropped + n, bytes + b),
            _ => (sent, dropped, bytes),
        })
    }

    pub(crate) fn tcp_sent(&self, id: EgressId) -> usize {
        self.of(id).map(|e| if let Event::TcpSent(n) = e { *n } else { 0 }).sum()
    }

    /// Bytes that client-facing sockets received.
    pub(crate) fn packet_bytes(&self) -> usize {
        self.packets.iter().map(|(_, train)| train.len()).sum()
    }
}

/// One call of the hook.
pub(crate) type HookCall = (&'static str, EgressId, FlowTuple);

/// What the hook was told, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct HookLog(pub(crate) Rc<RefCell<Vec<HookCall>>>);

impl FlowHook for HookLog {
    fn opened(&mut self, id: EgressId, flow: &FlowTuple) {
        self.0.borrow_mut().push(("opened", id, *flow));
    }

    fn closed(&mut self, id: EgressId, flow: &FlowTuple) {
        self.0.borrow_mut().push(("closed", id, *flow));
    }
}

pub(crate) struct Rig {
    pub(crate) io: Backend,
    pub(crate) seen: Recorder,
    pub(crate) hook: HookLog,
    pub(crate) waker: Waker,
    /// Client-facing addresses, IPv4 and IPv6.
    pub(crate) listen: [SocketAddr; 2],
}

impl Rig {
    pub(crate) fn new(kind: BackendKind) -> Rig {
        Rig::with(kind, &IoConfig::default())
    }

    pub(crate) fn with(kind: BackendKind, config: &IoConfig) -> Rig {
        let hook = HookLog::default();
        Rig::with_hook(kind, config, hook.clone(), Box::new(hook))
    }

    pub(crate) fn with_hook(
        kind: BackendKind,
        config: &IoConfig,
        log: HookLog,
        hook: Box<dyn FlowHook>,
    ) -> Rig {
        let mut workers = bind_workers(&place::listen(kind), 1, &ClientOptions::default()).unwrap();
        let sockets = workers.remove(0);
        let listen = [sockets.v4.as_ref().unwrap().local(), sockets.v6.as_ref().unwrap().local()];
        let waker = Waker::new().unwrap();
        let io = place::open(kind, config, sockets, &waker, hook).unwrap();
        Rig { io, seen: Recorder::default(), hook: log, waker, listen }
    }

    /// A buffer of the backend, filled.
    pub(crate) fn buffer(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut buffer = self.io.take_buffer().expect("a send buffer");
        assert!(buffer.is_empty() && buffer.capacity() >= weir_core::port::MAX_TRAIN_BYTES);
        buffer.extend_from_slice(payload);
        buffer
    }

    pub(crate) fn op(&mut self, op: EgressOp) {
        self.io.egress(op, Vec::new());
    }

    pub(crate) fn udp_send(&mut self, id: EgressId, segment_size: usize, payload: &[u8]) {
        let datagrams =
            if segment_size == 0 { 1 } else { payload.len().div_ceil(segment_size) as u32 };
        let buffer = self.buffer(payload);
        self.io.egress(EgressOp::UdpSend { id, segment_size, datagrams }, buffer);
    }

    pub(crate) fn tcp_send(&mut self, id: EgressId, payload: &[u8]) {
        let buffer = self.buffer(payload);
        self.io.egress(EgressOp::TcpSend { id }, buffer);
    }

    pub(crate) fn reply(&mut self, transmit: Transmit, payload: &[u8]) {
        let buffer = self.buffer(payload);
        self.io.transmit(&transmit, buffer);
    }

    /// One turn that ends after `wait` at the latest.
    pub(crate) fn turn(&mut self, wait: Duration) {
        self.io.turn(Some(Instant::now() + wait), &mut self.seen).unwrap();
    }

    /// Turns until `done`.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, done: impl Fn(&Recorder) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(&self.seen) {
            assert!(
                Instant::now() < end,
                "no {what}; events {:?}, {} packets, {:?}",
                summary(&self.seen.events),
                self.seen.packets.len(),
                self.io.stats()
            );
            self.turn(Duration::from_millis(50));
        }
    }

    #[track_caller]
    pub(crate) fn open_udp(&mut self, id: EgressId, target: SocketAddr) -> SocketAddr {
        self.op(EgressOp::UdpOpen { id, target, source: None });
        self.until("Opened", |seen| seen.local(id).is_some());
        self.seen.local(id).unwrap()
    }

    #[track_caller]
    pub(crate) fn open_tcp(&mut self, id: EgressId, target: SocketAddr) -> SocketAddr {
        self.op(EgressOp::TcpConnect { id, target, source: None });
        self.until("Opened", |seen| seen.local(id).is_some());
        self.seen.local(id).unwrap()
    }

    #[track_caller]
    pub(crate) fn close(&mut self, id: EgressId, reset: bool) {
        self.op(EgressOp::Close { id, reset });
        self.until("Closed", |seen| seen.has(id, &Event::Closed));
    }
}

fn summary(events: &[(EgressId, Event)]) -> Vec<String> {
    let mut lines: Vec<String> = events
        .iter()
        .map(|(id, event)| match event {
            Event::Udp(train, size) => format!("{} Udp({}, {size})", id.index, train.len()),
            Event::Tcp(data) => format!("{} Tcp({})", id.index, data.len()),
            other => format!("{} {other:?}", id.index),
        })
        .collect();
    if lines.len() > 20 {
        lines.drain(..lines.len() - 20);
    }
    lines
}

pub(crate) fn id(index: u32) -> EgressId {
    EgressId { index, epoch: 1 }
}

/// Bytes that differ from place to place.
pub(crate) fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u8).wrapping_mul(31).wrapping_add((i >> 8) as u8) ^ seed).collect()
}
