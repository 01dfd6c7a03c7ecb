//! Writes random vouchers, channels, Merkle proofs and messages of the bond, with what this crate
//! makes of them, as JSON lines. The forge tests compare all of it with what the contracts compute.
//!
//! `cargo run -p weir-usage --example vectors -- DIRECTORY COUNT`

mod bond;
mod random;
mod verdict;

use std::error::Error;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use weir_usage::merkle::{Leaf, Node, anchor, prove};
use weir_usage::{ChannelId, ChannelTerms, Digest, Domain, Voucher, keccak256};

use random::Random;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, count] = &args[..] else { return Err("usage: vectors DIRECTORY COUNT".into()) };
    let count: u64 = count.parse()?;
    // The same numbers on every run, so that a failure can be repeated.
    let mut random = Random::new(keccak256(b"weir vectors"));
    // The forge tests put an escrow at this address, on a chain with this id.
    let domain = Domain { chain_id: 31_337, escrow: random.address() };
    let about = json!({
        "escrow": domain.escrow.to_string(),
        "chainId": domain.chain_id,
        "separator": domain.separator().to_string(),
    });
    let dir = Path::new(dir);
    fs::create_dir_all(dir)?;
    write(&dir.join("domain.jsonl"), &mut [about].into_iter())?;
    write(&dir.join("vouchers.jsonl"), &mut (0..count).map(|_| voucher(&mut random, &domain)))?;
    write(&dir.join("channels.jsonl"), &mut (0..count).map(|_| channel(&mut random, &domain)))?;
    write(&dir.join("proofs.jsonl"), &mut (0..count).map(|_| proof(&mut random)))?;
    for (name, rows) in bond::rows(&mut random, count) {
        write(&dir.join(name), &mut rows.into_iter())?;
    }
    Ok(())
}

/// One JSON object per line, because forge's cheat codes copy all the text they parse.
fn write(path: &Path, rows: &mut dyn Iterator<Item = Value>) -> Result<(), Box<dyn Error>> {
    let lines: Vec<String> = rows.map(|row| row.to_string() + "\n").collect();
    Ok(fs::write(path, lines.concat())?)
}

fn voucher(random: &mut Random, domain: &Domain) -> Value {
    let key = random.key();
    let voucher = Voucher {
        channel: ChannelId(random.word().0),
        lane: random.u64() as u32,
        amount: random.u128(),
        seq: random.u64(),
        usage_head: random.word(),
    };
    let signed = voucher.sign(domain, &key);
    json!({
        "channelId": voucher.channel.to_string(),
        "lane": voucher.lane.to_string(),
        "cumulativeAmount": voucher.amount.to_string(),
        "seq": voucher.seq.to_string(),
        "usageHead": voucher.usage_head.to_string(),
        "digest": voucher.digest(domain).to_string(),
        "signature": signed.signature.to_string(),
        "signer": key.address().to_string(),
    })
}

fn channel(random: &mut Random, domain: &Domain) -> Value {
    let terms = ChannelTerms {
        payer: random.address(),
        signer: random.address(),
        receiver: random.address(),
        token: random.address(),
        withdraw_delay_s: random.u64(),
        salt: random.word().0,
    };
    json!({
        "payer": terms.payer.to_string(),
        "signer": terms.signer.to_string(),
        "receiver": terms.receiver.to_string(),
        "token": terms.token.to_string(),
        "withdrawDelay": terms.withdraw_delay_s.to_string(),
        "salt": Digest(terms.salt).to_string(),
        "id": terms.id(domain).to_string(),
    })
}

/// A tree of 1 to 40 leaves and the proof for one of them.
fn proof(random: &mut Random) -> Value {
    let count = 1 + random.u64() % 40;
    let leaves: Vec<Leaf> =
        (0..count).map(|_| Leaf { hash: random.word(), sum: random.u128() >> 8 }).collect();
    let index = (random.u64() % count) as usize;
    let anchor = anchor(random.u64(), &leaves).expect("40 sums below 2^120 fit 128 bits");
    let proof = prove(&leaves, index).expect("the index is in the tree");
    let list = |each: fn(&Node) -> String| proof.siblings.iter().map(each).collect::<Vec<_>>();
    json!({
        "epoch": anchor.epoch.to_string(),
        "root": anchor.root.to_string(),
        "total": anchor.total.to_string(),
        "hash": leaves[index].hash.to_string(),
        "sum": leaves[index].sum.to_string(),
        "index": proof.index.to_string(),
        "leaves": proof.leaves.to_string(),
        "siblingHashes": list(|node| node.hash.to_string()),
        "siblingSums": list(|node| node.sum.to_string()),
    })
}
