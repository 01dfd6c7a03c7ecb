//! Ledger B against what real sockets sent and received, over a veth pair.

mod common;
mod lab;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use lab::{Lab, RELAY_IF, RELAY4, RELAY6, TARGET4, TARGET6, at};
use socket2::{Domain, Protocol as Transport, Socket, Type};
use weir_xdp::{
    Counter, Direction, Flow, FlowCounters, Mode, Options, Packets, Protocol, WantedMode, recover,
};

const ETHERNET: u64 = 14;
const IPV4: u64 = 20;
const IPV6: u64 = 40;
const UDP: u64 = 8;
const SEGMENT: usize = 1200;
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn udp_is_exact_over_ipv4() {
    udp_is_exact("udp4", RELAY4, TARGET4, IPV4, Mode::Native);
}

#[test]
fn udp_is_exact_over_ipv6() {
    udp_is_exact("udp6", RELAY6, TARGET6, IPV6, Mode::Native);
}

/// Also packets and wire bytes, although the program sees what GRO has joined.
#[test]
fn udp_is_exact_at_the_tc_hook() {
    udp_is_exact("udpt4", RELAY4, TARGET4, IPV4, Mode::Tc);
    udp_is_exact("udpt6", RELAY6, TARGET6, IPV6, Mode::Tc);
}

#[test]
fn udp_payload_is_exact_in_generic_mode() {
    udp_is_exact("udpg", RELAY4, TARGET4, IPV4, Mode::Generic);
}

/// Lone datagrams of many sizes and a train each way; the target sends back what it gets.
fn udp_is_exact(test: &str, relay: &str, target: &str, ip_header: u64, mode: Mode) {
    let Some((lab, packets)) = start(test, mode) else { return };
    let echo = lab.target(|| UdpSocket::bind(at(target, 7000)).expect("target"));
    let exit = lab.relay(|| UdpSocket::bind(at(relay, 0)).expect("exit"));
    for socket in [&echo, &exit] {
        socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    }
    exit.connect(at(target, 7000)).expect("connect");
    let flow = flow(Protocol::Udp, exit.local_addr().expect("bound"), at(target, 7000));
    packets.flows().insert(&flow).expect("insert");

    let mut expected = Counter::default();
    let mut count = |datagrams: u64, payload: u64| {
        expected.packets += datagrams;
        expected.payload_bytes += payload;
        expected.wire_bytes += payload + datagrams * (ETHERNET + ip_header + UDP);
    };
    let mut buffer = [0; 65_536];
    for len in [0, 1, 17, 18, 19, 500, 1199, 1472 - (ip_header - IPV4) as usize] {
        exit.send(&vec![7; len]).expect("send");
        let (received, from) = echo.recv_from(&mut buffer).expect("at the target");
        assert_eq!(received, len);
        echo.send_to(&buffer[..len], from).expect("echo");
        assert_eq!(exit.recv(&mut buffer).expect("back"), len);
        count(1, len as u64);
    }
    let train = 40 * SEGMENT + 300;
    for socket in [&exit, &echo] {
        set_segment_size(socket);
    }
    exit.send(&vec![7; train]).expect("send a train");
    let from = receive(&echo, train, &mut buffer);
    echo.send_to(&vec![7; train], from).expect("echo a train");
    receive(&exit, train, &mut buffer);
    count(41, train as u64);

    let counters = packets.flows().read(&flow).expect("read").expect("in the table");
    assert_eq!(counters.egress, expected, "egress");
    assert_eq!(counters.ingress.payload_bytes, expected.payload_bytes, "ingress payload");
    if mode != Mode::Generic {
        assert_eq!(counters.ingress, expected, "ingress");
    }
    let last = packets.flows().remove_with_final_read(&flow).expect("remove");
    assert_eq!(last, Some(counters));
    assert_eq!(packets.flows().read(&flow).expect("read"), None);
    let strays = packets.counters().unattributed().expect("unattributed");
    assert_eq!(strays, FlowCounters::default(), "every packet was the flow's");
    packets.stop().expect("stop");
}

#[test]
fn what_is_not_in_the_table_is_unattributed() {
    let Some((lab, packets)) = start("stray", Mode::Native) else { return };
    let echo = lab.target(|| UdpSocket::bind(at(TARGET4, 7000)).expect("target"));
    let exit = lab.relay(|| UdpSocket::bind(at(RELAY4, 0)).expect("exit"));
    exit.send_to(b"twelve bytes", at(TARGET4, 7000)).expect("send");
    echo.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let (_, from) = echo.recv_from(&mut [0; 64]).expect("at the target");
    echo.send_to(b"five!", from).expect("answer");
    exit.set_read_timeout(Some(PATIENCE)).expect("timeout");
    exit.recv(&mut [0; 64]).expect("back");
    let strays = packets.counters().unattributed().expect("unattributed");
    assert_eq!((strays.egress.packets, strays.egress.payload_bytes), (1, 12));
    assert_eq!((strays.ingress.packets, strays.ingress.payload_bytes), (1, 5));
    assert_eq!(packets.flows().iterate().expect("iterate"), []);
    packets.stop().expect("stop");
}

#[test]
fn tcp_counts_at_least_the_payload() {
    for (test, relay, target, mode) in [
        ("tcp4", RELAY4, TARGET4, Mode::Native),
        ("tcp6", RELAY6, TARGET6, Mode::Native),
        ("tcpt4", RELAY4, TARGET4, Mode::Tc),
        ("tcpt6", RELAY6, TARGET6, Mode::Tc),
    ] {
        let Some((lab, packets)) = start(test, mode) else { return };
        let listener = lab.target(|| TcpListener::bind(at(target, 7001)).expect("target"));
        // Bound first, so that the flow is in the table before the SYN leaves.
        let address = at(relay, 0);
        let exit = lab.relay(|| {
            Socket::new(Domain::for_address(address), Type::STREAM, Some(Transport::TCP))
                .expect("socket")
        });
        exit.bind(&address.into()).expect("bind");
        let local = exit.local_addr().expect("bound").as_socket().expect("inet");
        let flow = flow(Protocol::Tcp, local, at(target, 7001));
        packets.flows().insert(&flow).expect("insert");
        exit.connect(&at(target, 7001).into()).expect("connect");
        let (mut far, _) = listener.accept().expect("accept");
        let mut near: std::net::TcpStream = exit.into();

        let (up, down) = (3_000_000, 2_000_000);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                far.read_exact(&mut vec![0; up]).expect("up");
                far.write_all(&vec![2; down]).expect("down");
            });
            near.write_all(&vec![1; up]).expect("up");
            near.read_exact(&mut vec![0; down]).expect("down");
        });
        let counters = packets.flows().read(&flow).expect("read").expect("in the table");
        for (side, payload) in [(counters.egress, up as u64), (counters.ingress, down as u64)] {
            assert!(side.payload_bytes >= payload, "{test}: {side:?} is less than {payload}");
            assert!(side.payload_bytes < payload * 11 / 10, "{test}: {side:?} for {payload}");
            // At most a full TCP header with options per packet, at least one without.
            let overhead = side.wire_bytes - side.payload_bytes;
            let per_packet = overhead as f64 / side.packets as f64;
            assert!((54.0..=134.0).contains(&per_packet), "{test}: {side:?}");
        }
        let strays = packets.counters().unattributed().expect("unattributed");
        assert_eq!(strays, FlowCounters::default(), "{test}: handshake included");
        packets.stop().expect("stop");
    }
}

#[test]
fn the_table_lists_and_limits_its_flows() {
    let Some((_lab, packets)) = start("table", Mode::Native) else { return };
    let table = packets.flows();
    let flows_max = table.flows_max();
    let all: Vec<_> = (1..=flows_max)
        .map(|n| flow(Protocol::Udp, at(RELAY4, n as u16), at(TARGET4, 53)))
        .collect();
    for flow in &all {
        table.insert(flow).expect("insert");
    }
    let error = table.insert(&all[0]).expect_err("twice");
    assert!(error.to_string().contains("already in the table"), "{error}");
    let extra = flow(Protocol::Tcp, at(RELAY6, 1), at(TARGET6, 53));
    let error = table.insert(&extra).expect_err("full");
    assert!(error.to_string().contains("table is full"), "{error}");
    let mut listed: Vec<_> =
        table.iterate().expect("iterate").into_iter().map(|(flow, _)| flow).collect();
    listed.sort_by_key(|flow| flow.local.port());
    assert_eq!(listed, all);
    packets.stop().expect("stop");
}

/// What user space sends by AF_XDP joins the kernel's counts of the flow and of the verdict, and
/// outlives a process that ends without a word.
#[test]
fn what_is_sent_by_hand_is_in_both_ledgers() {
    let Some((lab, packets)) = start("sent", Mode::Native) else { return };
    let exit = lab.relay(|| UdpSocket::bind(at(RELAY4, 0)).expect("exit"));
    let flow = flow(Protocol::Udp, exit.local_addr().expect("bound"), at(TARGET4, 9));
    let table = packets.flows();
    table.redirect(&flow).expect("redirect");
    let error = table.insert(&flow).expect_err("redirected flows are in the table");
    assert!(error.to_string().contains("already in the table"), "{error}");
    let counter = |packets, payload_bytes| {
        let wire_bytes = payload_bytes + packets * (ETHERNET + IPV4 + UDP);
        Counter { packets, payload_bytes, wire_bytes }
    };
    let before = sent_rows(&packets);
    let sender = packets.sender(3).expect("sender");
    assert!(sender.flow_total(&flow, counter(1, 100)));
    assert!(sender.flow_total(&flow, counter(5, 700)));
    packets.sender(4).expect("sender").access_total(counter(9, 1));
    sender.access_total(counter(2, 2_400));
    // One that takes the kernel's way, as while the neighbour is unknown.
    exit.send_to(&[1; 50], at(TARGET4, 9)).expect("send");
    let counts = table.read(&flow).expect("read").expect("in the table");
    assert_eq!(counts.egress, counter(6, 750));
    let after = sent_rows(&packets);
    assert_eq!(after.0, before.0.plus(counter(9, 1)).plus(counter(2, 2_400)));
    assert_eq!(after.1, before.1.plus(counter(6, 750)));
    let stranger = Flow { remote: at(TARGET4, 10), ..flow };
    assert!(!sender.flow_total(&stranger, counter(1, 1)), "not in the table");

    let options_instance = lab::instance("sent");
    drop((packets, table, sender));
    let leftover = recover(&options_instance).expect("recover").expect("there is something");
    assert_eq!(leftover.flows().iterate().expect("iterate"), [(flow, counts)]);
    leftover.discard().expect("discard");
}

/// Egress rows of what is ours and of exit flows.
fn sent_rows(packets: &Packets) -> (Counter, Counter) {
    let rows = packets.counters().verdicts().expect("verdicts");
    let row = |reason: &str| {
        let found = rows
            .iter()
            .find(|row| row.direction == Direction::Egress && row.verdict.reason() == reason);
        found.expect("row").count
    };
    (row("sent"), row("flow"))
}

#[test]
fn a_slot_starts_from_zero_for_its_next_flow() {
    let Some((lab, packets)) = start("again", Mode::Native) else { return };
    let table = packets.flows();
    let sender = packets.sender(0).expect("sender");
    // More rounds than the table has slots, so that each is used again.
    for round in 0..2 * table.flows_max() + 10 {
        let exit = lab.relay(|| UdpSocket::bind(at(RELAY4, 0)).expect("exit"));
        let flow = flow(Protocol::Udp, exit.local_addr().expect("bound"), at(TARGET4, 9));
        table.insert(&flow).expect("insert");
        if round % 500 == 0 {
            exit.send_to(&[1; 20], at(TARGET4, 9)).expect("send");
            let total = Counter { packets: 1, payload_bytes: 1, wire_bytes: 1 };
            assert!(sender.flow_total(&flow, total));
        }
        let last = table.remove_with_final_read(&flow).expect("remove").expect("in the table");
        let expected = if round % 500 == 0 { (2, 21) } else { (0, 0) };
        assert_eq!((last.egress.packets, last.egress.payload_bytes), expected, "round {round}");
        assert_eq!(table.read(&flow).expect("read"), None);
    }
    assert_eq!(table.iterate().expect("iterate"), []);
    packets.stop().expect("stop");
}

fn start(test: &str, mode: Mode) -> Option<(Lab, Packets)> {
    if !common::privileged() {
        return None;
    }
    let lab = Lab::new();
    let options = Options {
        instance: lab::instance(test),
        interfaces: if mode == Mode::Tc { vec![] } else { vec![RELAY_IF.to_owned()] },
        tc_interfaces: if mode == Mode::Tc { vec![RELAY_IF.to_owned()] } else { vec![] },
        mode: if mode == Mode::Generic { WantedMode::Generic } else { WantedMode::Native },
        listen: vec![at(RELAY4, 4433), at(RELAY6, 4433)],
        flows_max: 1500,
        ..Options::default()
    };
    let packets = lab.relay(|| Packets::start(&options)).expect("start");
    assert_eq!(packets.attachments()[0].mode, mode);
    Some((lab, packets))
}

fn flow(protocol: Protocol, local: SocketAddr, remote: SocketAddr) -> Flow {
    Flow { protocol, local, remote }
}

/// Receives datagrams until `len` bytes are there.
fn receive(socket: &UdpSocket, len: usize, buffer: &mut [u8]) -> SocketAddr {
    let (mut received, deadline) = (0, Instant::now() + PATIENCE);
    loop {
        let (more, from) = socket.recv_from(buffer).expect("part of a train");
        received += more;
        if received >= len {
            assert_eq!(received, len);
            return from;
        }
        assert!(Instant::now() < deadline, "{received} of {len} bytes");
    }
}

fn set_segment_size(socket: &UdpSocket) {
    let size = SEGMENT as libc::c_int;
    // SAFETY: the option takes an int, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const size).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "UDP_SEGMENT: {}", std::io::Error::last_os_error());
}
