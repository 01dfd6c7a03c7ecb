//! The index of the flow table, filled as user space fills it and asked as the packet path asks.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

use weir_abi::table::{BUCKET_WAYS, Bucket, HashKey, Looked, Place, Slot, buckets};
use weir_abi::{FLOWS_MAX, FlowKey, Protocol};

const HASH_KEY: HashKey = [
    0x243F_6A88,
    0x85A3_08D3,
    0x1319_8A2E,
    0x0370_7344,
    0xA409_3822,
    0x299F_31D0,
    0x082E_FA98,
    0xEC4E_6C89,
    0x4528_21E6,
    0x38D0_1377,
];

/// Flows of one relay address: neighbouring ports and targets, as a real relay has them.
fn flow(number: u32) -> FlowKey {
    let local = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 10_000 + (number % 50_000) as u16));
    let target = Ipv4Addr::from_bits(0xC633_6400 + number / 50_000 + number % 250);
    FlowKey::new(Protocol::Udp, local, SocketAddr::from((target, 443)))
}

#[test]
fn a_full_table_finds_all_its_flows_and_no_other() {
    let mask = buckets(FLOWS_MAX) - 1;
    let mut index = vec![Bucket::default(); mask as usize + 1];
    let (mut second, mut longest) = (0, 0);
    for number in 0..FLOWS_MAX {
        let place = Place::of(&flow(number), &HASH_KEY, mask);
        assert!(place.tag != 0 && place.first != place.second && place.second <= mask);
        let empty = |bucket: u32| index[bucket as usize].tags.iter().position(|tag| *tag == 0);
        let (bucket, way) = match empty(place.first) {
            Some(way) => (place.first, way),
            None => {
                second += 1;
                (place.second, empty(place.second).expect("both buckets are full"))
            }
        };
        index[bucket as usize].tags[way] = place.tag;
        index[bucket as usize].slots[way] = number;
        if bucket != place.first {
            index[place.first as usize].spilled += 1;
        }
        longest = longest.max(way + 1);
    }
    assert!(second < 10, "{second} flows of {FLOWS_MAX} spilled");
    assert!(longest >= BUCKET_WAYS - 2, "a hash this even is none: {longest}");
    let look = |key: &FlowKey| {
        let place = Place::of(key, &HASH_KEY, mask);
        match index[place.first as usize].look(place.tag) {
            Looked::Elsewhere => index[place.second as usize].look(place.tag),
            looked => looked,
        }
    };
    for number in 0..FLOWS_MAX {
        assert_eq!(look(&flow(number)), Looked::Slot(number));
    }
    let strangers = FLOWS_MAX..4 * FLOWS_MAX;
    let taken_for_ours = strangers.filter(|n| matches!(look(&flow(*n)), Looked::Slot(_))).count();
    assert!(taken_for_ours <= 1, "tags tell strangers apart: {taken_for_ours}");
}

#[test]
fn another_hash_key_is_another_order() {
    let mask = buckets(FLOWS_MAX) - 1;
    let mut other = HASH_KEY;
    other[8] ^= 1;
    let same = (0..10_000)
        .map(flow)
        .filter(|key| Place::of(key, &HASH_KEY, mask).first == Place::of(key, &other, mask).first)
        .count();
    assert!(same < 10, "{same} of 10,000 flows stay in their bucket");
}

#[test]
fn every_field_of_a_key_counts() {
    let mask = buckets(FLOWS_MAX) - 1;
    let at = |text: &str| text.parse::<SocketAddr>().expect("literal");
    let (relay, target) = (at("192.0.2.1:4000"), at("198.51.100.1:53"));
    let keys = [
        FlowKey::new(Protocol::Udp, relay, target),
        FlowKey::new(Protocol::Tcp, relay, target),
        FlowKey::new(Protocol::Udp, target, relay),
        FlowKey::new(Protocol::Udp, at("192.0.2.2:4000"), target),
        FlowKey::new(Protocol::Udp, at("192.0.2.1:4001"), target),
        FlowKey::new(Protocol::Udp, relay, at("198.51.100.2:53")),
        FlowKey::new(Protocol::Udp, relay, at("198.51.100.1:54")),
        FlowKey::new(Protocol::Udp, at("[2001:db8::1]:4000"), target),
        FlowKey::new(Protocol::Udp, at("[2001:db9::1]:4000"), target),
    ];
    let tags: HashMap<u32, FlowKey> =
        keys.iter().map(|key| (Place::of(key, &HASH_KEY, mask).tag, *key)).collect();
    assert_eq!(tags.len(), keys.len());
    for key in &keys {
        let slot = Slot { key: *key, ..Slot::default() };
        assert_eq!(keys.iter().filter(|other| slot.is_of(other)).count(), 1);
    }
}
