//! An agreement over two periods of an hour in intervals of a minute, and those who sign in it.

use weir_sla::{Maintenance, Record};
use weir_usage::bond::{Agreement, BondDomain, CreditStep, SlaTerms};
use weir_usage::{Address, ChannelId, CoSigned, Digest, Sample, SignedSample, SigningKey, SlaId};

pub(crate) const DOMAIN: BondDomain = BondDomain { chain_id: 31_337, bond: Address([0xb0; 20]) };
/// 2024-02-01.
pub(crate) const START: u64 = 1_706_745_600;
pub(crate) const PERIOD_INTERVALS: u64 = 60;

pub(crate) fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32]).unwrap()
}

/// Payer 1, operator 2, measurers 4 to 6 of which two decide. Key 7 signs for the payer.
pub(crate) fn terms() -> SlaTerms {
    let mut measurers: Vec<Address> = (4..7).map(|n| key(n).address()).collect();
    measurers.sort();
    let step = |below_ppm, credit_ppm| CreditStep { below_ppm, credit_ppm };
    SlaTerms {
        payer: key(1).address(),
        operator: key(2).address(),
        payout: Address([9; 20]),
        token: Address([8; 20]),
        channel: ChannelId([7; 32]),
        committed_kbps: 100_000,
        burst_kbps: 200_000,
        availability_ppm: 999_000,
        rtt_p95_us: 20_000,
        loss_ppm: 1_000,
        references: Digest::ZERO,
        maintenance: Digest::ZERO,
        start: START,
        period_s: 3_600,
        periods: 2,
        interval_s: 60,
        claim_s: 86_400,
        fee: 1_000_001,
        bond: 3_000_000,
        credits: vec![step(999_000, 100_000), step(950_000, 250_000), step(500_000, 1_000_000)],
        measurers,
        threshold: 2,
        arbiter: Address::ZERO,
        salt: Digest([1; 32]),
    }
}

pub(crate) fn record_of(terms: SlaTerms, maintenance: Maintenance) -> Record {
    Record::new(Agreement::new(DOMAIN, terms).unwrap(), key(7).address(), maintenance).unwrap()
}

pub(crate) fn record() -> Record {
    record_of(terms(), Maintenance::default())
}

/// A sample that meets the terms.
pub(crate) fn sample(sla: SlaId, interval: u64) -> Sample {
    Sample {
        sla,
        lane: 0,
        interval,
        up_bytes: 1_000,
        down_bytes: 2_000,
        rtt_p50_us: 10_000,
        rtt_p95_us: 20_000,
        loss_ppm: 1_000,
        tput_1s_max_kbps: 100_000,
        n: 10,
    }
}

pub(crate) fn used(sample: Sample) -> CoSigned {
    let signature = sample.sign(&DOMAIN, &key(7)).signature;
    let exit_signature = sample.sign(&DOMAIN, &key(2)).signature;
    CoSigned { sample, signature, exit_signature }
}

pub(crate) fn measured(by: u8, sample: Sample) -> SignedSample {
    sample.sign(&DOMAIN, &key(by))
}

/// Worse than the terms in one way: 0 delay, 1 loss, 2 throughput, 3 nothing came back.
pub(crate) fn worse(mut sample: Sample, way: u8) -> Sample {
    match way {
        0 => sample.rtt_p95_us += 1,
        1 => sample.loss_ppm += 1,
        2 => sample.tput_1s_max_kbps -= 1,
        _ => (sample.n, sample.tput_1s_max_kbps) = (0, 0),
    }
    sample
}
