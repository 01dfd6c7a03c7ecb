//! What checking a payer's voucher costs: for counting instructions.
//!
//! ```text
//! valgrind --tool=callgrind --collect-atstart=no --toggle-collect='voucher::verified' \
//!     target/release/examples/voucher verify 100
//! ```

use std::hint::black_box;

use weir_usage::{Address, ChannelId, Digest, Domain, SignedVoucher, SigningKey, Voucher};

fn main() {
    let mut args = std::env::args().skip(1);
    let mode = args.next().unwrap_or_default();
    let count = args.next().and_then(|text| text.parse().ok()).unwrap_or(100_u64);
    if mode != "verify" {
        eprintln!("usage: voucher verify [UNITS]");
        std::process::exit(2);
    }
    let domain = Domain { chain_id: 31_337, escrow: Address([9; 20]) };
    let key = SigningKey::from_bytes(&[7; 32]).expect("a good key");
    for seq in 0..count {
        let usage_head = Digest([3; 32]);
        let amount = u128::from(seq) * 1000;
        let voucher = Voucher { channel: ChannelId([5; 32]), lane: 1, amount, seq, usage_head };
        let signed = voucher.sign(&domain, &key);
        assert!(verified(black_box(&signed), black_box(&domain), key.address()));
    }
    println!("{mode}: a voucher ({count} of them)");
}

/// What a profiler is pointed at.
#[inline(never)]
fn verified(signed: &SignedVoucher, domain: &Domain, signer: Address) -> bool {
    signed.verify(domain, signer).is_ok()
}
