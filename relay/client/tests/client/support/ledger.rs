//! What the test relay counts and bills.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use serde_json::{Value, json};
use weir_usage::bond::BondDomain;
use weir_usage::{
    Address, ChannelId, Digest, Domain, Price, Signature, SignedSample, SignedVoucher, SigningKey,
    Voucher,
};

pub(crate) const LANE: u32 = 3;
pub(crate) const PRICE: u128 = 1 << 30;

/// Payload that was forwarded, and the best voucher for it. Outlives the relay, as a journal does.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) up: AtomicU64,
    pub(crate) down: AtomicU64,
    /// Bytes added to the ask that were never forwarded.
    pub(crate) overbilled: AtomicU64,
    /// Units per GiB above the agreed price.
    pub(crate) dearer: AtomicU64,
    /// Asks are answered with 503 while this is set.
    pub(crate) silent: AtomicU64,
    /// Vouchers are answered with 503 while this is set.
    pub(crate) away: AtomicU64,
    pub(crate) best: Mutex<Option<SignedVoucher>>,
    /// Samples that were posted, while this relay signs any.
    pub(crate) samples: Mutex<Option<Vec<SignedSample>>>,
}

pub(crate) fn channel() -> ChannelId {
    ChannelId([2; 32])
}

pub(crate) fn domain() -> Domain {
    Domain { chain_id: 31337, escrow: Address([1; 20]) }
}

pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32]).unwrap()
}

pub(crate) fn operator() -> SigningKey {
    SigningKey::from_bytes(&[8; 32]).unwrap()
}

/// Where the test agreement is good.
pub(crate) const BOND: BondDomain = BondDomain { chain_id: 31337, bond: Address([3; 20]) };

impl Ledger {
    /// Signs a sample as the exit, if it signs any.
    pub(crate) fn co_sign(&self, body: &[u8]) -> (u16, Value) {
        let mut samples = self.samples.lock().unwrap();
        let Some(samples) = samples.as_mut() else {
            return (404, json!({ "error": "no service level is agreed" }));
        };
        let signed: SignedSample = serde_json::from_slice(body).unwrap();
        assert_eq!(signed.recover(&BOND), Ok(key().address()));
        samples.push(signed);
        let exit_signature = signed.sample.sign(&BOND, &operator()).signature;
        (200, json!({ "exit_signature": exit_signature }))
    }

    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.up.load(SeqCst), self.down.load(SeqCst))
    }

    pub(crate) fn paid(&self) -> u128 {
        self.best.lock().unwrap().map_or(0, |signed| signed.voucher.amount)
    }

    /// Bytes that moved and were paid in an earlier life.
    pub(crate) fn pay_before(&self, up: u64, down: u64) -> SignedVoucher {
        self.up.store(up, SeqCst);
        self.down.store(down, SeqCst);
        let amount = Price::new(PRICE).unwrap().amount_of(up, down).unwrap();
        let (channel, usage_head) = (channel(), Digest([9; 32]));
        let voucher = Voucher { channel, lane: LANE, amount, seq: 1, usage_head };
        let signed = voucher.sign(&domain(), &key());
        *self.best.lock().unwrap() = Some(signed);
        signed
    }

    pub(crate) fn ask(&self) -> Value {
        let price = PRICE + u128::from(self.dearer.load(SeqCst));
        let (up, down) = (self.up.load(SeqCst), self.down.load(SeqCst));
        let down = down + self.overbilled.load(SeqCst);
        let best = *self.best.lock().unwrap();
        let head = Digest([9; 32]).to_string();
        json!({
            "chain_id": domain().chain_id.to_string(),
            "escrow": domain().escrow.to_string(),
            "channel": channel().to_string(),
            "lane": LANE,
            "price_per_gib": price.to_string(),
            "seq": best.map_or(1, |signed| signed.voucher.seq + 1).to_string(),
            "up_bytes": up.to_string(),
            "down_bytes": down.to_string(),
            "amount": Price::new(price).unwrap().amount_of(up, down).unwrap().to_string(),
            "usage_head": head,
            "last": best.map(|signed| json!({
                "amount": signed.voucher.amount.to_string(),
                "seq": signed.voucher.seq.to_string(),
                "usage_head": signed.voucher.usage_head.to_string(),
                "signature": signed.signature.to_string(),
            })),
        })
    }

    /// Takes a voucher if it is sound and worth more than the last.
    pub(crate) fn take(&self, body: &[u8]) -> (u16, Value) {
        if self.away.load(SeqCst) != 0 {
            return (503, json!({ "error": "sidecar away" }));
        }
        let body: Value = serde_json::from_slice(body).unwrap();
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        let voucher = Voucher {
            channel: text("channel").parse().unwrap(),
            lane: body["lane"].as_u64().unwrap() as u32,
            amount: text("amount").parse().unwrap(),
            seq: text("seq").parse().unwrap(),
            usage_head: text("usage_head").parse().unwrap(),
        };
        let signed =
            SignedVoucher { voucher, signature: text("signature").parse::<Signature>().unwrap() };
        if let Err(error) = signed.verify(&domain(), key().address()) {
            return (422, json!({ "error": error.to_string() }));
        }
        let mut best = self.best.lock().unwrap();
        let (amount, seq) = best.map_or((0, 0), |best| (best.voucher.amount, best.voucher.seq));
        if voucher.amount <= amount || voucher.seq <= seq {
            return (422, json!({ "error": "not better than the last" }));
        }
        *best = Some(signed);
        (
            200,
            json!({ "accepted_amount": voucher.amount.to_string(), "seq": voucher.seq.to_string() }),
        )
    }
}
