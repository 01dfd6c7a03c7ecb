//! The layouts that two separately built programs agree on.

use std::mem::{offset_of, size_of};
use std::net::SocketAddr;

use weir_abi::{
    Config, Counter, Direction, FlowCounters, FlowKey, Listen, Protocol, Steer, Steering,
    VERDICT_ROWS, Verdict, cid::CidKey,
};

#[test]
fn layout_has_no_hidden_padding() {
    assert_eq!(size_of::<Listen>(), 16 + 16 + 8);
    assert_eq!(size_of::<Config>(), 4 + 4 + 4 * size_of::<Listen>());
    assert_eq!(size_of::<CidKey>(), 5 * 4);
    assert_eq!(size_of::<Steer>(), size_of::<CidKey>() + 3 * 4);
    assert_eq!(size_of::<FlowKey>(), 16 + 16 + 2 + 2 + 1 + 3);
    assert_eq!(offset_of!(FlowKey, local_port), 32);
    assert_eq!(offset_of!(FlowKey, protocol), 36);
    assert_eq!(size_of::<Counter>(), 3 * 8);
    assert_eq!(size_of::<FlowCounters>(), 2 * size_of::<Counter>());
}

#[test]
fn every_verdict_has_a_row_of_its_own() {
    let mut rows: Vec<u32> = [Direction::Ingress, Direction::Egress]
        .into_iter()
        .flat_map(|direction| Verdict::all().map(move |verdict| verdict.row(direction)))
        .collect();
    let count = rows.len();
    rows.sort_unstable();
    rows.dedup();
    assert_eq!(rows.len(), count, "two reasons share a row");
    assert!(rows.iter().all(|row| *row < VERDICT_ROWS));
}

#[test]
fn steering_rows_are_consecutive() {
    for (row, steering) in Steering::ALL.into_iter().enumerate() {
        assert_eq!(steering as usize, row);
    }
}

#[test]
fn a_flow_key_is_the_same_for_both_spellings_of_ipv4() {
    let parse = |s: &str| s.parse::<SocketAddr>().expect("literal");
    let plain = FlowKey::new(Protocol::Udp, parse("192.0.2.1:1000"), parse("198.51.100.2:53"));
    let mapped =
        FlowKey::new(Protocol::Udp, parse("[::ffff:192.0.2.1]:1000"), parse("198.51.100.2:53"));
    assert_eq!(plain, mapped);
    assert_eq!(plain.local(), parse("192.0.2.1:1000"));
    assert_eq!(plain.remote(), parse("198.51.100.2:53"));
    let six = FlowKey::new(Protocol::Tcp, parse("[2001:db8::1]:1"), parse("[2001:db8::2]:443"));
    assert_eq!(six.remote(), parse("[2001:db8::2]:443"));
}
