//! What the tests share: a configuration, a payer, records, and a disk that crashes.

pub(crate) mod anvil;
pub(crate) mod disk;
pub(crate) mod proxy;
pub(crate) mod relay;
pub(crate) mod service;

use std::time::{Duration, Instant};

use weir_settle::config::{Config, parse};
use weir_usage::{
    Address, Amount, Ask, ChannelId, ChannelTerms, Digest, Direction, Domain, ExitId, RecordChain,
    SigningKey, Transport, UsageRecord, VoucherOffer,
};

pub(crate) const EXIT: ExitId = ExitId([0xe1; 32]);
pub(crate) const PRICE: u128 = 1 << 30;

pub(crate) fn payer() -> SigningKey {
    SigningKey::from_bytes(&[0x77; 32]).unwrap()
}

pub(crate) fn terms() -> ChannelTerms {
    ChannelTerms {
        payer: Address([1; 20]),
        signer: payer().address(),
        receiver: Address([3; 20]),
        token: Address([4; 20]),
        withdraw_delay_s: 3600,
        salt: [5; 32],
    }
}

pub(crate) fn domain() -> Domain {
    Domain { chain_id: 31337, escrow: Address([0xee; 20]) }
}

pub(crate) fn channel() -> ChannelId {
    terms().id(&domain())
}

/// One unit per byte, so that amounts can be read off.
pub(crate) fn config() -> Config {
    config_with(domain(), &terms(), "", "http://127.0.0.1:9")
}

pub(crate) fn config_with(domain: Domain, terms: &ChannelTerms, extra: &str, rpc: &str) -> Config {
    parse(&config_text(domain, terms, extra, rpc)).unwrap_or_else(|p| panic!("{p:?}"))
}

pub(crate) fn config_text(domain: Domain, terms: &ChannelTerms, extra: &str, rpc: &str) -> String {
    format!(
        "exit_id = \"{EXIT}\"\n{extra}\n\
         [ask]\ninterval_ms = 5\n\
         [[channel]]\nid = \"{}\"\npayer = \"{}\"\nsigner = \"{}\"\nreceiver = \"{}\"\n\
         token = \"{}\"\nwithdraw_delay_s = {}\nsalt = \"{}\"\nlanes = [0, 1]\n\
         price_per_gib = \"{PRICE}\"\n{}",
        terms.id(&domain),
        terms.payer,
        terms.signer,
        terms.receiver,
        terms.token,
        terms.withdraw_delay_s,
        Digest(terms.salt),
        if extra.contains("[chain]") {
            String::new()
        } else {
            format!(
                "[chain]\nrpc = \"{rpc}\"\nchain_id = {}\nescrow = \"{}\"\nkey_file = \"/k\"\n",
                domain.chain_id, domain.escrow
            )
        }
    )
}

/// An unstamped record of a tunnel with these totals.
pub(crate) fn usage(
    channel: ChannelId,
    lane: u32,
    tunnel: u128,
    up: u64,
    down: u64,
) -> UsageRecord {
    let direction = |bytes| Direction {
        received: Amount { bytes, packets: bytes },
        forwarded: Amount { bytes, packets: bytes },
        ..Direction::default()
    };
    UsageRecord {
        exit: EXIT,
        epoch: 0,
        seq: 0,
        prev_hash: Digest::ZERO,
        tunnel,
        session: 1,
        channel,
        lane,
        transport: Transport::Udp,
        is_final: false,
        t0_ms: 1,
        t1_ms: 2,
        up: direction(up),
        down: direction(down),
        flow: None,
    }
}

/// A record that continues `chain`.
pub(crate) fn stamped(
    chain: &mut RecordChain,
    lane: u32,
    tunnel: u128,
    up: u64,
    down: u64,
) -> UsageRecord {
    let mut record = usage(channel(), lane, tunnel, up, down);
    chain.stamp(&mut record);
    record
}

/// The voucher that answers an ask in full.
pub(crate) fn pay(ask: &Ask) -> VoucherOffer {
    pay_with(ask, &payer())
}

pub(crate) fn pay_with(ask: &Ask, key: &SigningKey) -> VoucherOffer {
    let voucher = ask.voucher(ask.up_bytes, ask.down_bytes).unwrap();
    VoucherOffer {
        query: ask.seq,
        signed: voucher.sign(&ask.domain, key),
        up_bytes: ask.up_bytes,
        down_bytes: ask.down_bytes,
    }
}

/// Polls until `found` is something; panics with `what` after `limit`.
pub(crate) async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut found: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = found().await {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A small generator for seeded tests (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
