//! Steering over two generations, against the rule that the engine uses.

use weir_abi::{
    Steer, Steering,
    cid::{Cid, CidKey},
};
use weir_classify::steer;

const NONE: Steer = Steer { key: CidKey::ZERO, generation: 0, base: 0, workers: 0 };

fn slot(key: u8, generation: u32, base: u32, workers: u32) -> Steer {
    Steer { key: CidKey::from_bytes([key; 16]), generation, base, workers }
}

fn short(slot: &Steer, worker: u8, nonce: u32) -> Vec<u8> {
    let cid = Cid { generation: slot.generation as u8, worker, nonce };
    [&[0x41][..], &slot.key.encode(cid), b"payload"].concat()
}

#[test]
fn both_generations_find_their_workers() {
    let (current, draining) = (slot(1, 8, 4, 3), slot(2, 7, 0, 4));
    for nonce in 0..1000 {
        let new = short(&current, 2, nonce);
        assert_eq!(steer(&new.as_slice(), &current, &draining), (Steering::Current, 6));
        let old = short(&draining, 3, nonce);
        assert_eq!(steer(&old.as_slice(), &current, &draining), (Steering::Draining, 3));
        let (how, index) = steer(&old.as_slice(), &current, &NONE);
        assert_eq!(how, Steering::Hashed);
        assert!((4..7).contains(&index));
    }
}

#[test]
fn another_generation_under_the_same_key_is_hashed() {
    let current = slot(1, 8, 0, 4);
    let stale = short(&Steer { generation: 7, ..current }, 1, 9);
    assert_eq!(steer(&stale.as_slice(), &current, &NONE).0, Steering::Hashed);
}

#[test]
fn one_generation_follows_the_engines_rule() {
    let current = slot(3, 1, 0, 4);
    for nonce in 0..2000u32 {
        let mut initial = vec![0xc0, 0, 0, 0, 1, if nonce % 3 == 0 { 9 } else { 8 }];
        initial.extend(u64::from(nonce).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        let handshake = [&[0xe0, 0, 0, 0, 1, 8][..], &short(&current, 3, nonce)[1..]].concat();
        for datagram in [initial, handshake, short(&current, 1, nonce)] {
            for len in [datagram.len(), datagram.len() - 1, 13, 9, 8, 1, 0] {
                let datagram = &datagram[..len.min(datagram.len())];
                let (_, index) = steer(&datagram, &current, &NONE);
                assert_eq!(index, current.key.worker(datagram, 4));
            }
        }
    }
}

#[test]
fn without_configuration_the_kernel_decides() {
    let datagram = short(&slot(1, 1, 0, 1), 0, 1);
    assert_eq!(steer(&datagram.as_slice(), &NONE, &NONE).0, Steering::Fallback);
}
