//! Start, refusal, fallback, crash, recovery, stop.

mod common;
mod lab;

use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData};
use lab::{Lab, RELAY_IF, RELAY4, RELAY6, TARGET4, TARGET6, at};
use weir_xdp::{
    Config, Egress, Flow, Mode, Options, Packets, Protocol, WantedMode, XdpError, gro, recover,
};

#[test]
fn a_foreign_program_is_named_and_left_alone() {
    if !common::privileged() {
        return;
    }
    let lab = Lab::new();
    let first = options("first", &[RELAY_IF]);
    let second = options("second", &[RELAY_IF]);
    let running = lab.relay(|| Packets::start(&first)).expect("start");
    for mode in [WantedMode::Auto, WantedMode::Native, WantedMode::Generic] {
        let second = Options { mode, ..second.clone() };
        match lab.relay(|| Packets::start(&second)) {
            Err(XdpError::ForeignProgram { interface, id, name }) => {
                assert_eq!((interface.as_str(), name.as_str()), (RELAY_IF, "weir_ingress"));
                assert!(id > 0);
            }
            other => panic!("{mode:?}: {other:?}"),
        }
    }
    assert!(!pins(&second).exists(), "a refused start leaves nothing");
    // The first one still counts.
    for (relay, target) in [(RELAY4, TARGET4), (RELAY6, TARGET6)] {
        let before = total_packets(&running);
        ping(&lab, relay, target);
        assert!(total_packets(&running) >= before + 2);
    }
    running.stop().expect("stop");
    let again = lab.relay(|| Packets::start(&second)).expect("the interface is free");
    again.stop().expect("stop");
}

#[test]
fn the_fallback_to_generic_mode_is_named() {
    if !common::privileged() {
        return;
    }
    let lab = Lab::new();
    // The loopback device has no native XDP.
    let auto = options("generic", &["lo"]);
    let packets = lab.relay(|| Packets::start(&auto)).expect("start");
    let attachment = &packets.attachments()[0];
    assert_eq!((attachment.mode, attachment.egress), (Mode::Generic, Egress::Tcx));
    assert!(attachment.notes.iter().any(|note| note.starts_with("native XDP:")), "{attachment:?}");
    packets.stop().expect("stop");
    let native = Options { mode: WantedMode::Native, ..auto };
    let error = lab.relay(|| Packets::start(&native)).expect_err("native only");
    assert!(error.to_string().contains("to lo: native XDP:"), "{error}");
    assert!(!pins(&native).exists(), "a failed start leaves nothing");
}

#[test]
fn a_veth_gets_native_xdp_and_tcx() {
    if !common::privileged() {
        return;
    }
    let lab = Lab::new();
    let options = options("native", &[RELAY_IF]);
    let packets = lab.relay(|| Packets::start(&options)).expect("start");
    let attachment = &packets.attachments()[0];
    assert_eq!((attachment.mode, attachment.egress), (Mode::Native, Egress::Tcx));
    assert_eq!(attachment.notes, ["GRO was off: on until the relay ends"]);
    assert!(lab.relay(|| gro(RELAY_IF)).expect("ask for GRO"));
    lab.relay(|| packets.stop()).expect("stop");
    assert!(!pins(&options).exists());
    assert!(!lab.relay(|| gro(RELAY_IF)).expect("ask for GRO"), "put back as it was");

    let keep = Options { gro: false, ..options };
    let packets = lab.relay(|| Packets::start(&keep)).expect("start");
    assert!(packets.attachments()[0].notes.is_empty());
    assert!(!lab.relay(|| gro(RELAY_IF)).expect("ask for GRO"));
    lab.relay(|| packets.stop()).expect("stop");
}

/// Linux before 6.6 has no tcx. The filter that takes its place outlives a killed process, goes on
/// with nobody to read its counts, and gives way to the next start.
#[test]
fn a_filter_on_clsact_takes_the_place_of_tcx() {
    const CHILD: &str = "WXDP_CLSACT_CHILD";
    if !common::privileged() {
        return;
    }
    let with_filter = |instance: String| Options {
        instance,
        tcx: false,
        gro: false,
        ..options("clsact", &[RELAY_IF])
    };
    if let Ok(instance) = std::env::var(CHILD) {
        // The process to be killed: this test again, in the namespace of the lab. Unlike its
        // successor it has no XDP, so that it leaves filters in both directions.
        let mut options = with_filter(instance);
        options.tc_interfaces = std::mem::take(&mut options.interfaces);
        let _packets = Packets::start(&options).expect("start");
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let lab = Lab::new();
    let options = with_filter(lab::instance("clsact"));
    let filters_of = |side: &str| {
        let output = lab
            .relay(|| Command::new("tc").args(["filter", "show", "dev", RELAY_IF, side]).output());
        String::from_utf8(output.expect("iproute2").stdout).expect("text")
    };
    let filters = || filters_of("egress");
    let mut child = lab.relay(|| {
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command.args(["--exact", "a_filter_on_clsact_takes_the_place_of_tcx"]);
        command.env(CHILD, &options.instance).spawn().expect("child")
    });
    let deadline = Instant::now() + Duration::from_secs(50);
    while !pins(&options).join("weir_flows").exists()
        || !filters_of("ingress").contains("weir_ingress_tc")
    {
        assert!(Instant::now() < deadline, "the child doesn't attach");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("kill");
    child.wait().expect("wait");
    assert!(filters().contains("weir_egress"), "a filter outlives its process");
    let leftover = recover(&options.instance).expect("recover").expect("there is something");
    leftover.discard().expect("discard");

    let packets = lab.relay(|| Packets::start(&options)).expect("start");
    let attachment = &packets.attachments()[0];
    assert_eq!((attachment.mode, attachment.egress), (Mode::Native, Egress::Clsact));
    assert_eq!(filters().matches("direct-action").count(), 1, "{}", filters());
    assert_eq!(filters_of("ingress"), "", "packets would be counted twice");
    let exit = lab.relay(|| UdpSocket::bind(at(RELAY4, 0)).expect("exit"));
    let local = exit.local_addr().expect("bound");
    let flow = Flow { protocol: Protocol::Udp, local, remote: at(TARGET4, 9) };
    packets.flows().insert(&flow).expect("insert");
    for len in [0, 1, 1_200] {
        exit.send_to(&vec![1; len], at(TARGET4, 9)).expect("send");
    }
    let egress = packets.flows().read(&flow).expect("read").expect("in the table").egress;
    assert_eq!((egress.packets, egress.payload_bytes), (3, 1_201));
    assert_eq!(egress.wire_bytes, 1_201 + 3 * (14 + 20 + 8));
    lab.relay(|| packets.stop()).expect("stop");
    assert!(!filters().contains("weir_egress"), "{}", filters());
}

#[test]
fn counts_survive_a_crash() {
    if !common::privileged() {
        return;
    }
    let lab = Lab::new();
    let options = options("crash", &[RELAY_IF]);
    assert!(recover(&options.instance).expect("nothing yet").is_none());
    let packets = lab.relay(|| Packets::start(&options)).expect("start");
    match recover(&options.instance) {
        Err(XdpError::InstanceBusy(name)) => assert_eq!(name, options.instance),
        other => panic!("a running instance was taken over: {other:?}"),
    }
    let exit = lab.relay(|| UdpSocket::bind(at(RELAY4, 0)).expect("exit"));
    let local = exit.local_addr().expect("bound");
    let flow = Flow { protocol: Protocol::Udp, local, remote: at(TARGET4, 9) };
    packets.flows().insert(&flow).expect("insert");
    exit.send_to(&[1; 321], at(TARGET4, 9)).expect("send");
    let before = packets.flows().read(&flow).expect("read").expect("in the table");
    assert_eq!(before.egress.payload_bytes, 321);
    drop(packets);

    // Detached: what is sent now is not counted.
    exit.send_to(&[1; 99], at(TARGET4, 9)).expect("send");
    match lab.relay(|| Packets::start(&options)) {
        Err(XdpError::Leftover(path)) => assert_eq!(path, pins(&options)),
        other => panic!("the predecessor's counts were overrun: {other:?}"),
    }
    let leftover = recover(&options.instance).expect("recover").expect("there is something");
    assert_eq!(leftover.flows().iterate().expect("iterate"), [(flow, before)]);
    assert!(leftover.counters().verdicts().expect("verdicts").iter().any(|v| v.count.packets > 0));
    leftover.discard().expect("discard");
    assert!(!pins(&options).exists());

    let packets = lab.relay(|| Packets::start(&options)).expect("start again");
    assert_eq!(packets.flows().iterate().expect("iterate"), []);
    packets.stop().expect("stop");
}

#[test]
fn a_pinned_map_of_another_abi_is_refused() {
    if !common::privileged() {
        return;
    }
    let lab = Lab::new();
    let options = options("abi", &[RELAY_IF]);
    drop(lab.relay(|| Packets::start(&options)).expect("start"));
    let data = MapData::from_pin(pins(&options).join("weir_config")).expect("pinned");
    let map = Map::from_map_data(data).expect("array");
    let mut config: Array<_, Config> = map.try_into().expect("array of configurations");
    let ours = config.get(&0, 0).expect("read");
    config.set(0, Config { abi_version: 999, ..ours }, 0).expect("write");
    let error = recover(&options.instance).expect_err("another version");
    assert!(error.to_string().contains("speaks ABI version 999"), "{error}");
    config.set(0, ours, 0).expect("write");
    recover(&options.instance).expect("recover").expect("there").discard().expect("discard");
}

#[test]
fn bad_names_are_refused_before_anything_happens() {
    if !common::privileged() {
        return;
    }
    let error = Packets::start(&options("if", &["wxdp-none"])).expect_err("no such interface");
    assert!(error.to_string().contains("no interface \"wxdp-none\""), "{error}");
    for instance in ["", "../up", "a b"] {
        let options = Options { instance: instance.to_owned(), ..Options::default() };
        let error = Packets::start(&options).expect_err("bad name");
        assert!(error.to_string().contains("can't name an instance"), "{error}");
    }
    let listen = vec![at(RELAY4, 1); 5];
    let error = Packets::start(&Options { listen, ..Options::default() }).expect_err("too many");
    assert!(error.to_string().contains("5 listen addresses"), "{error}");
}

fn options(test: &str, interfaces: &[&str]) -> Options {
    Options {
        instance: lab::instance(test),
        interfaces: interfaces.iter().map(|name| (*name).to_owned()).collect(),
        listen: vec![at(RELAY4, 4433)],
        flows_max: 16,
        ..Options::default()
    }
}

fn pins(options: &Options) -> PathBuf {
    PathBuf::from("/sys/fs/bpf/weir").join(&options.instance)
}

fn total_packets(packets: &Packets) -> u64 {
    let verdicts = packets.counters().verdicts().expect("verdicts");
    verdicts.iter().map(|verdict| verdict.count.packets).sum()
}

/// One UDP datagram to the target and its answer.
fn ping(lab: &Lab, relay: &str, target_ip: &str) {
    let target = lab.target(|| UdpSocket::bind(at(target_ip, 7000)).expect("target"));
    let exit = lab.relay(|| UdpSocket::bind(at(relay, 0)).expect("exit"));
    for socket in [&target, &exit] {
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
    }
    exit.send_to(b"ping", at(target_ip, 7000)).expect("send");
    let (_, from) = target.recv_from(&mut [0; 16]).expect("at the target");
    target.send_to(b"pong", from).expect("answer");
    exit.recv(&mut [0; 16]).expect("back");
}
