//! The layouts that two separately built programs agree on.

use std::mem::{offset_of, size_of};
use std::net::SocketAddr;

use weir_abi::{
    Config, Counter, Direction, FlowCounters, FlowKey, Listen, Protocol, Steer, Steering,
    VERDICT_ROWS, Verdict, XskOwner,
    cid::CidKey,
    table::{Bucket, PortUse, Slot},
};

#[test]
fn layout_has_no_hidden_padding() {
    assert_eq!(size_of::<Listen>(), 16 + 16 + 8);
    assert_eq!(size_of::<Config>(), 4 * 4 + 4 * size_of::<Listen>() + 10 * 4 + 8 * 4);
    assert_eq!(size_of::<CidKey>(), 5 * 4);
    assert_eq!(size_of::<Steer>(), size_of::<CidKey>() + 3 * 4);
    assert_eq!(size_of::<XskOwner>(), 2 * 4);
    assert_eq!(size_of::<FlowKey>(), 16 + 16 + 8);
    assert_eq!(offset_of!(FlowKey, transport), 32);
    assert_eq!(size_of::<Counter>(), 3 * 8);
    assert_eq!(size_of::<FlowCounters>(), 2 * size_of::<Counter>());
    assert_eq!(size_of::<PortUse>(), 2 * 4);
    assert_eq!(size_of::<Bucket>(), 64, "one cache line");
    assert_eq!(size_of::<Slot>(), 40 + 4 + 4 + 16 + size_of::<FlowCounters>() + 16);
    assert_eq!(offset_of!(Slot, base), 64, "what the packet path reads is one cache line");
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
    assert_eq!(plain.protocol(), Some(Protocol::Udp));
    let six = FlowKey::new(Protocol::Tcp, parse("[2001:db8::1]:1"), parse("[2001:db8::2]:443"));
    assert_eq!(six.remote(), parse("[2001:db8::2]:443"));
}
