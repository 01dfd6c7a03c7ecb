//! An agreement over the test channel.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use weir_settle::config::{KeyConfig, ServiceConfig};
use weir_settle::keys::Secret;
use weir_usage::bond::{Agreement, BondDomain, CreditStep, SlaTerms};
use weir_usage::{Address, Digest, Sample, SignedSample, SigningKey};

use super::{channel, payer};

pub(crate) fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32]).unwrap()
}

/// The key of the exit's operator, which is its usage key.
pub(crate) fn operator() -> SigningKey {
    key(2)
}

pub(crate) fn key_file(directory: &Path, number: u8) -> KeyConfig {
    let path = directory.join(format!("key-{number}"));
    std::fs::write(&path, format!("{number:02x}").repeat(32)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    KeyConfig { key: Secret::File(path), password: None }
}

/// Payer 1, measurers 4 to 6 of which two decide; signed by both sides.
pub(crate) fn agreement(start: u64, period_s: u32, interval_s: u32) -> Agreement {
    let mut measurers: Vec<Address> = (4..7).map(|n| key(n).address()).collect();
    measurers.sort();
    let step = |below_ppm, credit_ppm| CreditStep { below_ppm, credit_ppm };
    let terms = SlaTerms {
        payer: key(1).address(),
        operator: operator().address(),
        payout: Address([9; 20]),
        token: Address([4; 20]),
        channel: channel(),
        committed_kbps: 0,
        burst_kbps: 0,
        availability_ppm: 999_000,
        rtt_p95_us: 20_000,
        loss_ppm: 1_000,
        references: Digest::ZERO,
        maintenance: Digest::ZERO,
        start,
        period_s,
        periods: 2,
        interval_s,
        claim_s: 86_400,
        fee: 1_000_000,
        bond: 3_000_000,
        credits: vec![step(999_000, 100_000), step(950_000, 250_000)],
        measurers,
        threshold: 2,
        arbiter: Address::ZERO,
        salt: Digest([1; 32]),
    };
    let domain = BondDomain { chain_id: 31_337, bond: Address([0xb0; 20]) };
    let mut agreement = Agreement::new(domain, terms).unwrap();
    agreement.sign(&key(1)).unwrap();
    agreement.sign(&operator()).unwrap();
    agreement
}

pub(crate) fn service(directory: &Path, agreement: &Agreement) -> ServiceConfig {
    let path: PathBuf = directory.join("agreement.json");
    std::fs::write(&path, serde_json::to_string(agreement).unwrap()).unwrap();
    ServiceConfig { agreement: path, maintenance: None }
}

/// An interval that meets the terms.
pub(crate) fn sample(agreement: &Agreement, interval: u64, down_bytes: u64) -> Sample {
    Sample {
        sla: agreement.id(),
        lane: 0,
        interval,
        up_bytes: 0,
        down_bytes,
        rtt_p50_us: 5_000,
        rtt_p95_us: 9_000,
        loss_ppm: 0,
        tput_1s_max_kbps: down_bytes * 8 / 1000,
        n: 10,
    }
}

/// As the client signs it.
pub(crate) fn signed(agreement: &Agreement, sample: Sample) -> SignedSample {
    sample.sign(&agreement.domain, &payer())
}
