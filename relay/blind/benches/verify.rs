//! What it costs an exit to look at a token: `cargo bench -p weir-blind`.
//!
//! Batches of checks of the tokens of RFC 9578, on one thread; the median of the batches, with the
//! fastest and the slowest, since other things run on a host as well.

use std::hint::black_box;
use std::time::Instant;

use weir_blind::{IssuerKey, Token};

const BATCHES: usize = 51;
const BATCH: usize = 200;

fn main() {
    let text = include_str!("../tests/vectors/rfc9578.json");
    let vectors: serde_json::Value = serde_json::from_str(text).expect("the vectors are JSON");
    let key = IssuerKey::from_spki(&hex(&vectors["pkS"])).expect("the key of the RFC");
    let tokens: Vec<Token> = vectors["vectors"]
        .as_array()
        .expect("a list of vectors")
        .iter()
        .map(|vector| Token::parse(&hex(&vector["token"])).expect("a token of the RFC"))
        .collect();
    let mut forged = tokens.clone();
    forged.iter_mut().for_each(|token| token.authenticator[9] ^= 1);
    measure("verify, a good token", || {
        tokens.iter().for_each(|token| assert!(black_box(&key).verify(token).is_ok()));
        tokens.len()
    });
    measure("verify, a forged token", || {
        forged.iter().for_each(|token| assert!(black_box(&key).verify(token).is_err()));
        forged.len()
    });
    measure("nullifier", || {
        tokens.iter().for_each(|token| {
            black_box(token.nullifier());
        });
        tokens.len()
    });
}

/// `work` returns how many it did.
fn measure(name: &str, mut work: impl FnMut() -> usize) {
    let mut each_ns: Vec<u128> = (0..BATCHES)
        .map(|_| {
            let start = Instant::now();
            let mut done = 0;
            while done < BATCH {
                done += work();
            }
            start.elapsed().as_nanos() / done as u128
        })
        .collect();
    each_ns.sort_unstable();
    let (min, median, max) = (each_ns[0], each_ns[BATCHES / 2], each_ns[BATCHES - 1]);
    println!("{name:24} {median:>8} ns ({min} to {max})");
}

fn hex(value: &serde_json::Value) -> Vec<u8> {
    let text = value.as_str().expect("a string");
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(byte).collect()
}
