//! The connection ID: round trip, the rule for a datagram, and the classic BPF program run by a
//! small interpreter against the same rule. (The kernel runs it in weir-xdp's tests.)

use weir_abi::cid::{CLASSIC_LEN, Cid, CidKey, ClassicInsn, LEN, classic_program};

const WORKERS: [u32; 5] = [1, 2, 3, 7, 256];

#[test]
fn round_trip() {
    let mut numbers = Numbers(1);
    for _ in 0..10_000 {
        let key = numbers.key();
        let cid = numbers.cid();
        assert_eq!(key.decode(key.encode(cid)), Some(cid));
    }
}

#[test]
fn wire_format_is_fixed() {
    // Computed from the module's definition by another implementation.
    let key = CidKey::from_bytes(*b"0123456789abcdef");
    let bytes = key.encode(Cid { generation: 7, worker: 3, nonce: 0x0102_0304 });
    assert_eq!(bytes, [0x5c, 0x07, 0x6b, 0x02, 0xd6, 0xe4, 0x73, 0x83]);
}

#[test]
fn a_changed_bit_or_another_key_is_not_ours() {
    let mut numbers = Numbers(2);
    let (mut flipped_accepted, mut foreign_accepted) = (0, 0);
    for _ in 0..10_000 {
        let key = numbers.key();
        let mut bytes = key.encode(numbers.cid());
        foreign_accepted += u32::from(numbers.key().decode(bytes).is_some());
        bytes[numbers.next() as usize % LEN] ^= 1 << (numbers.next() % 8);
        flipped_accepted += u32::from(key.decode(bytes).is_some());
    }
    // 10,000 tries at 2^-16 each: 0.15 expected.
    assert!(flipped_accepted <= 3, "{flipped_accepted} flipped IDs accepted");
    assert!(foreign_accepted <= 3, "{foreign_accepted} foreign IDs accepted");
}

#[test]
fn the_worker_of_a_datagram() {
    let key = CidKey::from_bytes([9; 16]);
    let ours = key.encode(Cid { generation: 1, worker: 5, nonce: 77 });
    let short = [&[0x41][..], &ours, b"payload"].concat();
    assert_eq!(key.worker(&short, 8), 5);
    let handshake = [&[0xe0, 0, 0, 0, 1, 8][..], &ours].concat();
    assert_eq!(key.worker(&handshake, 8), 5, "our ID in a long header");
    assert_eq!(key.worker(&short, 4), key.hash(ours) % 4, "a worker that does not exist");
    let long_id = [&[0xc0, 0, 0, 0, 1, 9][..], &ours, b"x"].concat();
    assert_eq!(key.worker(&long_id, 8), key.hash(ours) % 8, "nine bytes are not ours");
    assert_eq!(key.worker(&short[..8], 8), 0);
    assert_eq!(key.worker(&[], 8), 0);
    assert_eq!(key.worker(&short, 0), 0);
}

#[test]
fn hashed_ids_spread_over_the_workers() {
    let mut numbers = Numbers(3);
    let key = numbers.key();
    let mut hits = [0u32; 8];
    for _ in 0..8_000 {
        let initial = numbers.datagram(0xc0, 8);
        hits[key.worker(&initial, 8) as usize] += 1;
    }
    assert!(hits.iter().all(|n| (800..1200).contains(n)), "{hits:?}");
}

#[test]
fn classic_program_follows_the_same_rule() {
    let mut numbers = Numbers(4);
    for _ in 0..2_000 {
        let key = numbers.key();
        let ours = key.encode(numbers.cid());
        for workers in WORKERS {
            let program = classic_program(&key, workers);
            for first in [0x40, 0xc0] {
                for id_len in [0, 8, 20] {
                    let mut datagram = numbers.datagram(first, id_len);
                    assert_eq!(run(&program, &datagram), key.worker(&datagram, workers));
                    let at = if first == 0x40 { 1 } else { 6 };
                    datagram[at..at + LEN].copy_from_slice(&ours);
                    assert_eq!(run(&program, &datagram), key.worker(&datagram, workers));
                    datagram.truncate(numbers.next() as usize % 20);
                    assert_eq!(run(&program, &datagram), key.worker(&datagram, workers));
                }
            }
        }
    }
}

/// Classic BPF as the kernel defines it, for the instructions that the program uses.
fn run(program: &[ClassicInsn; CLASSIC_LEN], packet: &[u8]) -> u32 {
    let (mut a, mut x, mut cells, mut pc) = (0u32, 0u32, [0u32; 16], 0usize);
    loop {
        let ClassicInsn { code, jt, jf, k } = program[pc];
        pc += 1;
        let mut branch = |taken: bool| pc += usize::from(if taken { jt } else { jf });
        match code {
            0x30 => match packet.get(k as usize) {
                Some(byte) => a = u32::from(*byte),
                None => return 0,
            },
            0x20 => match packet.get(k as usize..).and_then(|rest| rest.first_chunk()) {
                Some(word) => a = u32::from_be_bytes(*word),
                None => return 0,
            },
            0x60 => a = cells[k as usize],
            0x61 => x = cells[k as usize],
            0x02 => cells[k as usize] = a,
            0x07 => x = a,
            0x24 => a = a.wrapping_mul(k),
            0x94 => a %= k,
            0x54 => a &= k,
            0x74 => a >>= k,
            0xa4 => a ^= k,
            0xac => a ^= x,
            0x05 => pc += k as usize,
            0x45 => branch(a & k != 0),
            0x15 => branch(a == k),
            0x35 => branch(a >= k),
            0x16 => return a,
            other => panic!("instruction {other:#x} is not classic BPF that we emit"),
        }
    }
}

/// Deterministic test numbers (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 32) as u32
    }

    fn key(&mut self) -> CidKey {
        let mut bytes = [0; 16];
        bytes.chunks_mut(4).for_each(|word| word.copy_from_slice(&self.next().to_be_bytes()));
        CidKey::from_bytes(bytes)
    }

    fn cid(&mut self) -> Cid {
        let [generation, worker, ..] = self.next().to_be_bytes();
        Cid { generation, worker, nonce: self.next() }
    }

    fn datagram(&mut self, first: u8, id_len: u8) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..32).map(|_| self.next() as u8).collect();
        bytes[0] = first;
        if first & 0x80 != 0 {
            bytes[5] = id_len;
        }
        bytes
    }
}
