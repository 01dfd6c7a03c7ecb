//! The loaded programs on the classifier's table of frames, by `BPF_PROG_TEST_RUN`: the kernel and
//! the host must agree on every verdict and every count.

mod common;
#[path = "../../../ebpf/classify/tests/frames/mod.rs"]
mod frames;

use std::net::SocketAddr;
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};

use weir_classify::{Classified, classify};
use weir_xdp::cid::{Cid, CidKey};
use weir_xdp::{
    Counter, Direction, Flow, FlowCounters, OBJECT, Programs, Protocol, Steer, Verdict,
    VerdictCount, XskEntry,
};

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;
/// The loopback interface, from whose queue 0 the kernel takes frames of a test run to be.
const LOOPBACK: u32 = 1;
const TC_NEXT: u32 = u32::MAX;
const TC_SHOT: u32 = 2;

#[test]
fn ingress_agrees_with_the_host() {
    let Some(mut programs) = programs() else { return };
    let frames = frames::table();
    assert!(frames.len() >= 60, "{} frames", frames.len());
    for frame in frames {
        let host = classify(&frame.bytes.as_slice(), &frames::config(), Direction::Ingress);
        assert_eq!(host.verdict, frame.verdict, "{}", frame.name);
        assert_eq!(host.payload_len, frame.payload_len, "{}", frame.name);
        let before = Snapshot::take(&programs);
        let action = programs.run_ingress(&frame.bytes, 1).expect(frame.name).action;
        let dropped = matches!(host.verdict, Verdict::Drop(_));
        assert_eq!(action, if dropped { XDP_DROP } else { XDP_PASS }, "{}", frame.name);
        let count = Counter {
            packets: 1,
            payload_bytes: host.payload_len.into(),
            wire_bytes: frame.bytes.len() as u64,
        };
        before.expect(&programs, Direction::Ingress, &host, count, frame.name);
    }
}

#[test]
fn ingress_at_tc_agrees_with_the_host() {
    let Some(mut programs) = programs() else { return };
    let mut too_short = 0;
    for frame in frames::table() {
        let host = classify(&frame.bytes.as_slice(), &frames::config(), Direction::Ingress);
        let before = Snapshot::take(&programs);
        let Ok(ran) = programs.run_ingress_tc(&frame.bytes, 1) else {
            assert!(frame.bytes.len() < 14 + 40, "{} is refused", frame.name);
            too_short += 1;
            continue;
        };
        let dropped = matches!(host.verdict, Verdict::Drop(_));
        assert_eq!(ran.action, if dropped { TC_SHOT } else { TC_NEXT }, "{}", frame.name);
        let count = Counter {
            packets: 1,
            payload_bytes: host.payload_len.into(),
            wire_bytes: frame.bytes.len() as u64,
        };
        before.expect(&programs, Direction::Ingress, &host, count, frame.name);
    }
    assert!(too_short <= 6, "{too_short} frames were refused");
}

#[test]
fn egress_agrees_with_the_host() {
    let Some(mut programs) = programs() else { return };
    let mut too_short = 0;
    for frame in frames::table() {
        let host = classify(&frame.bytes.as_slice(), &frames::config(), Direction::Egress);
        let before = Snapshot::take(&programs);
        let Ok(ran) = programs.run_egress(&frame.bytes, 1) else {
            // The kernel makes no socket buffer of a frame without a whole IP header.
            assert!(frame.bytes.len() < 14 + 40, "{} is refused", frame.name);
            too_short += 1;
            continue;
        };
        assert_eq!(ran.action, TC_NEXT, "{}", frame.name);
        // Outside of a device's queue the kernel has no wire length.
        let count = Counter { packets: 1, payload_bytes: host.payload_len.into(), wire_bytes: 0 };
        before.expect(&programs, Direction::Egress, &host, count, frame.name);
    }
    assert!(too_short <= 6, "{too_short} frames were refused");
}

#[test]
fn everything_passes_before_the_configuration() {
    if !common::privileged() {
        return;
    }
    let mut programs = Programs::load(OBJECT, 16).expect("load");
    for frame in frames::table() {
        let ran = programs.run_ingress(&frame.bytes, 1).expect(frame.name);
        assert_eq!(ran.action, XDP_PASS, "{}", frame.name);
    }
}

/// Every frame of the table, with all exit flows redirected and all workers' packets of one socket:
/// plain UDP of the known flow and what is ours goes there, and is counted as without it.
#[test]
fn plain_packets_of_ours_go_to_the_socket_of_their_queue() {
    let Some(mut programs) = programs() else { return };
    let steering = programs.steering().expect("steering");
    let key = CidKey::from_bytes([3; 16]);
    let steer = Steer { key, generation: 0, base: 0, workers: 1 };
    steering.configure(&steer, None).expect("configure");
    programs.flows().redirect(&known_flow()).expect("redirect");
    programs.redirect(&[LOOPBACK], Some(1_400)).expect("redirect");
    let sockets = programs.xsks(&[LOOPBACK]);
    let known =
        frames::table().into_iter().find(|frame| frame.name == "UDP").expect("in the table");
    let action =
        |programs: &mut Programs| programs.run_ingress(&known.bytes, 1).expect("run").action;
    assert_eq!(action(&mut programs), XDP_PASS, "there is no socket yet");

    let socket = xsk();
    sockets.set(LOOPBACK, 0, 0, socket.as_fd()).expect("set");
    let listed = XskEntry { if_index: LOOPBACK, queue: 0, worker: 0 };
    assert_eq!(sockets.list().expect("list"), [listed]);
    let (mut redirected, mut odd) = (0, 0);
    for frame in frames::table() {
        let host = classify(&frame.bytes.as_slice(), &frames::config(), Direction::Ingress);
        let before = Snapshot::take(&programs);
        let action = programs.run_ingress(&frame.bytes, 1).expect(frame.name).action;
        let is_known = host.flow.is_some_and(|flow| flow == key_of(&known_flow()));
        let takes = matches!(host.verdict, Verdict::Ours(_)) || is_known;
        let expected = match host.verdict {
            Verdict::Drop(_) => XDP_DROP,
            _ if takes && host.plain_payload != 0 => XDP_REDIRECT,
            _ => XDP_PASS,
        };
        assert_eq!(action, expected, "{}", frame.name);
        redirected += u32::from(action == XDP_REDIRECT);
        odd += u32::from(takes && action == XDP_PASS);
        let count = Counter {
            packets: 1,
            payload_bytes: host.payload_len.into(),
            wire_bytes: frame.bytes.len() as u64,
        };
        before.expect(&programs, Direction::Ingress, &host, count, frame.name);
    }
    assert!(redirected >= 15 && odd >= 5, "{redirected} redirected, {odd} too odd for it");

    programs.redirect(&[LOOPBACK], Some(known.bytes.len() as u32 - 1)).expect("redirect");
    assert_eq!(action(&mut programs), XDP_PASS, "a byte too long");
    programs.redirect(&[LOOPBACK], Some(known.bytes.len() as u32)).expect("redirect");
    assert_eq!(action(&mut programs), XDP_REDIRECT);
    programs.redirect(&[], Some(1_400)).expect("redirect");
    assert_eq!(action(&mut programs), XDP_PASS, "an interface that the program doesn't know");
    programs.redirect(&[LOOPBACK], None).expect("redirect");
    assert_eq!(action(&mut programs), XDP_PASS, "turned off");
    programs.redirect(&[LOOPBACK], Some(1_400)).expect("redirect");
    drop(socket);
    assert_eq!(action(&mut programs), XDP_PASS, "the socket is closed");
    sockets.clear(LOOPBACK, 0).expect("clear");
    assert_eq!(sockets.list().expect("list"), []);
    for (if_index, queue) in [(LOOPBACK, 64), (LOOPBACK + 1, 0)] {
        let error = sockets.set(if_index, queue, 0, xsk().as_fd()).expect_err("no such row");
        assert!(error.to_string().contains("no AF_XDP socket can be set"), "{error}");
    }
}

/// A client's packet goes to the socket of its queue only if the queue is its worker's.
#[test]
fn a_client_of_another_worker_goes_to_the_kernel() {
    const WORKERS: u32 = 3;
    let Some(mut programs) = programs() else { return };
    let key = CidKey::from_bytes([5; 16]);
    let current = Steer { key, generation: 4, base: 256, workers: WORKERS };
    let steering = programs.steering().expect("steering");
    programs.redirect(&[LOOPBACK], Some(1_400)).expect("redirect");
    let sockets = programs.xsks(&[LOOPBACK]);
    let socket = xsk();
    let frame = |cid: [u8; 8]| {
        let payload = [&[0x41][..], &cid, &[0; 40]].concat();
        let mut frames =
            frames::build::V4::PLAIN.frame(17, &frames::build::udp(50_000, 4433, &payload));
        // Padding is no payload, here too.
        frames.extend([0xff; 7]);
        (frames, key.worker(&payload, WORKERS))
    };
    sockets.set(LOOPBACK, 0, 256, socket.as_fd()).expect("set");
    let (first, _) = frame(key.encode(Cid { generation: 4, worker: 0, nonce: 1 }));
    let ran = programs.run_ingress(&first, 1).expect("run");
    assert_eq!(ran.action, XDP_PASS, "nothing is steered yet");
    steering.configure(&current, None).expect("configure");
    for owner in 0..WORKERS {
        sockets.set(LOOPBACK, 0, 256 + owner, socket.as_fd()).expect("set");
        let mut taken = 0;
        for number in 0..60u8 {
            let cid = match number % 2 {
                0 => key.encode(Cid { generation: 4, worker: number % 3, nonce: number.into() }),
                _ => [number; 8],
            };
            let (bytes, worker) = frame(cid);
            let action = programs.run_ingress(&bytes, 1).expect("run").action;
            let expected = if worker == owner { XDP_REDIRECT } else { XDP_PASS };
            assert_eq!(action, expected, "worker {worker}, owner {owner}");
            taken += u32::from(action == XDP_REDIRECT);
        }
        assert!((5..50).contains(&taken), "{taken} of 60");
    }
}

#[test]
fn verdict_costs_are_measured() {
    if !common::privileged() {
        return;
    }
    let costs = weir_xdp::measure_verdicts().expect("measure");
    assert!(costs.iter().all(|cost| cost.nanoseconds < 10_000), "{costs:?}");
    assert!(costs.iter().any(|cost| cost.nanoseconds > 0), "{costs:?}");
    assert!(costs.iter().all(|cost| cost.nanoseconds >= cost.nanoseconds_min), "{costs:?}");
    assert!(costs.iter().any(|cost| cost.nanoseconds > cost.nanoseconds_net), "{costs:?}");
}

#[test]
fn an_object_of_another_abi_is_refused() {
    let ours = weir_xdp::ABI_VERSION;
    let mut object = OBJECT.to_vec();
    let at = section_offset(&object, "weir_abi");
    object[at..at + 4].copy_from_slice(&(ours + 1).to_le_bytes());
    let error = Programs::load(&object, 1).expect_err("another version");
    let expected = format!("speaks ABI version {}, this relay speaks {ours}", ours + 1);
    assert!(error.to_string().contains(&expected), "{error}");
    let error = Programs::load(b"\x7fELF nonsense", 1).expect_err("not an object");
    assert!(error.to_string().contains("not a little-endian 64-bit BPF ELF file"), "{error}");
    for len in [0, 63, 64, object.len() / 2, object.len() - 1] {
        Programs::load(&OBJECT[..len], 1).expect_err("a truncated object");
    }
}

/// Loaded, listening where the table says, with the flow of the frame "UDP" in the table.
fn programs() -> Option<Programs> {
    if !common::privileged() {
        return None;
    }
    let programs = Programs::load(OBJECT, 16).expect("load");
    let listen = frames::LISTEN.map(|address| address.parse::<SocketAddr>().expect("literal"));
    programs.configure(&listen).expect("configure");
    programs.flows().insert(&known_flow()).expect("insert");
    Some(programs)
}

fn known_flow() -> Flow {
    let local = "192.0.2.1:40000".parse().expect("literal");
    let remote = "203.0.113.9:53".parse().expect("literal");
    Flow { protocol: Protocol::Udp, local, remote }
}

fn key_of(flow: &Flow) -> weir_abi::FlowKey {
    weir_abi::FlowKey::new(flow.protocol, flow.local, flow.remote)
}

/// An AF_XDP socket, bound to nothing: enough for the map.
fn xsk() -> OwnedFd {
    // SAFETY: socket(2) takes no pointers, and the descriptor is new and ours alone.
    unsafe {
        let fd = libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0, "AF_XDP: {}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    }
}

struct Snapshot {
    verdicts: Vec<VerdictCount>,
    flow: FlowCounters,
    unattributed: FlowCounters,
}

impl Snapshot {
    fn take(programs: &Programs) -> Self {
        Self {
            verdicts: programs.counters().verdicts().expect("verdicts"),
            flow: programs.flows().read(&known_flow()).expect("read").expect("in the table"),
            unattributed: programs.counters().unattributed().expect("unattributed"),
        }
    }

    /// Exactly one packet was counted since: in the row of `host`, and once in the flow or as
    /// unattributed if it has a flow key.
    fn expect(
        &self,
        programs: &Programs,
        direction: Direction,
        host: &Classified,
        count: Counter,
        name: &str,
    ) {
        let now = Self::take(programs);
        let key = key_of(&known_flow());
        let verdict = host.looked_up(host.flow == Some(key));
        for (before, after) in self.verdicts.iter().zip(&now.verdicts) {
            let hit = (after.direction, after.verdict) == (direction, verdict);
            let expected = if hit { before.count.plus(count) } else { before.count };
            assert_eq!(after.count, expected, "{name}: {:?}", after.verdict);
        }
        let side = match direction {
            Direction::Ingress => FlowCounters { ingress: count, ..FlowCounters::default() },
            Direction::Egress => FlowCounters { egress: count, ..FlowCounters::default() },
        };
        let nothing = FlowCounters::default();
        let in_flow = if host.flow == Some(key) { side } else { nothing };
        let elsewhere = if host.flow.is_some_and(|flow| flow != key) { side } else { nothing };
        assert_eq!(now.flow, self.flow.plus(in_flow), "{name}: flow");
        assert_eq!(now.unattributed, self.unattributed.plus(elsewhere), "{name}: unattributed");
    }
}

/// File offset of a section.
fn section_offset(object: &[u8], name: &str) -> usize {
    let number = |at: usize, len: usize| {
        object[at..at + len].iter().rev().fold(0usize, |n, b| n << 8 | usize::from(*b))
    };
    let header = |index: usize| number(0x28, 8) + index * 64;
    let names = number(header(number(0x3e, 2)) + 0x18, 8);
    let index = (0..number(0x3c, 2))
        .find(|index| object[names + number(header(*index), 4)..].starts_with(name.as_bytes()))
        .expect("section");
    number(header(index) + 0x18, 8)
}
