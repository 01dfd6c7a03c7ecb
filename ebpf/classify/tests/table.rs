//! The table of named frames on the host, in both directions.

mod frames;

use std::collections::HashSet;
use std::net::SocketAddr;

use frames::{config, table};
use weir_abi::{Config, Direction, FlowKey, OursKind, PassReason, Protocol, Verdict};
use weir_classify::classify;

#[test]
fn every_frame_gets_its_verdict() {
    let frames = table();
    assert!(frames.len() >= 60, "{} frames", frames.len());
    let names: HashSet<_> = frames.iter().map(|frame| frame.name).collect();
    assert_eq!(names.len(), frames.len(), "a name is used twice");
    for frame in frames {
        let got = classify(&frame.bytes.as_slice(), &config(), Direction::Ingress);
        assert_eq!(got.verdict, frame.verdict, "{}", frame.name);
        assert_eq!(got.payload_len, frame.payload_len, "{}", frame.name);
        let is_flow = frame.verdict == Verdict::Pass(PassReason::Flow);
        assert_eq!(got.flow.is_some(), is_flow, "{}", frame.name);
    }
}

#[test]
fn the_table_reaches_every_reason_of_ingress() {
    let seen: Vec<_> = table().into_iter().map(|frame| frame.verdict).collect();
    let not_ingress = [
        Verdict::Pass(PassReason::NotConfigured),
        Verdict::Pass(PassReason::Unattributed),
        Verdict::Ours(OursKind::Sent),
    ];
    for verdict in Verdict::all().filter(|verdict| !not_ingress.contains(verdict)) {
        assert!(seen.contains(&verdict), "no frame for {verdict:?}");
    }
}

#[test]
fn nothing_is_decided_before_the_configuration_is_there() {
    for frame in table() {
        let got = classify(&frame.bytes.as_slice(), &Config::EMPTY, Direction::Ingress);
        assert_eq!(got.verdict, Verdict::Pass(PassReason::NotConfigured), "{}", frame.name);
    }
}

#[test]
fn egress_never_drops() {
    for frame in table() {
        let got = classify(&frame.bytes.as_slice(), &config(), Direction::Egress);
        assert!(!matches!(got.verdict, Verdict::Drop(_)), "{}: {got:?}", frame.name);
    }
}

#[test]
fn both_directions_of_a_flow_have_one_key() {
    let frame = table().into_iter().find(|frame| frame.name == "UDP").expect("in the table");
    let relay: SocketAddr = "192.0.2.1:40000".parse().expect("literal");
    let peer: SocketAddr = "203.0.113.9:53".parse().expect("literal");
    let arriving = classify(&frame.bytes.as_slice(), &config(), Direction::Ingress);
    assert_eq!(arriving.flow, Some(FlowKey::new(Protocol::Udp, relay, peer)));
    let leaving = classify(&frame.bytes.as_slice(), &config(), Direction::Egress);
    assert_eq!(leaving.flow, Some(FlowKey::new(Protocol::Udp, peer, relay)));
}

#[test]
fn a_train_on_egress_counts_by_the_length_of_the_frame() {
    let frame = table().into_iter().find(|frame| frame.name == "UDP").expect("in the table");
    let mut train = frame.bytes;
    train.resize(14 + 20 + 8 + 64_000, 0);
    let leaving = classify(&train.as_slice(), &config(), Direction::Egress);
    assert_eq!(leaving.payload_len, 64_000);
}

#[test]
fn what_leaves_our_port_is_ours() {
    let frames = table();
    let peer_port = frames.iter().find(|f| f.name == "from a peer's port 4433").expect("in table");
    let mut bytes = peer_port.bytes.clone();
    bytes[26..30].copy_from_slice(&frames::build::RELAY4);
    bytes[30..34].copy_from_slice(&frames::build::PEER4);
    let leaving = classify(&bytes.as_slice(), &config(), Direction::Egress);
    assert_eq!(leaving.verdict, Verdict::Ours(OursKind::Sent));
    assert_eq!(leaving.payload_len, 30);
}
