//! Measuring the service, and having the exit sign what was measured.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use weir_client::SlaConfig;
use weir_usage::bond::{Agreement, CreditStep, SlaTerms};
use weir_usage::{Address, ChannelId, CoSigned, Digest, SigningKey};

use crate::payment::{move_bytes, payer, settle};
use crate::support::ledger::{self, BOND, LANE, operator};
use crate::support::{Ledger, TestRelay, config, start};

/// Intervals of a second, from some time ago on; signed by both sides.
fn agreement(channel: ChannelId) -> Agreement {
    let payer = SigningKey::from_bytes(&[5; 32]).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let terms = SlaTerms {
        payer: payer.address(),
        operator: operator().address(),
        payout: Address([9; 20]),
        token: Address([4; 20]),
        channel,
        committed_kbps: 1_000,
        burst_kbps: 1_000,
        availability_ppm: 999_000,
        rtt_p95_us: 1_000_000,
        loss_ppm: 1_000,
        references: Digest::ZERO,
        maintenance: Digest::ZERO,
        start: now - 100,
        period_s: 3_600,
        periods: 1,
        interval_s: 1,
        claim_s: 86_400,
        fee: 1_000,
        bond: 1_000,
        credits: vec![CreditStep { below_ppm: 999_000, credit_ppm: 100_000 }],
        measurers: Vec::new(),
        threshold: 0,
        arbiter: Address::ZERO,
        salt: Digest::ZERO,
    };
    let mut agreement = Agreement::new(BOND, terms).unwrap();
    agreement.sign(&payer).unwrap();
    agreement.sign(&operator()).unwrap();
    agreement
}

fn sla(folder: &Path, agreement: &Agreement) -> SlaConfig {
    let agreement_file = folder.join("agreement.json");
    std::fs::write(&agreement_file, serde_json::to_string(agreement).unwrap()).unwrap();
    SlaConfig { agreement_file, samples_file: folder.join("samples") }
}

fn kept(folder: &Path) -> Vec<CoSigned> {
    let text = std::fs::read_to_string(folder.join("samples")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn intervals_are_measured_signed_by_both_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let agreement = agreement(ledger::channel());
    let ledger = Arc::new(Ledger::default());
    *ledger.samples.lock().unwrap() = Some(Vec::new());
    let relay = TestRelay::start(&ledger);
    let mut measuring = config(&relay);
    measuring.payer = Some(payer(folder.path()));
    measuring.sla = Some(sla(folder.path(), &agreement));
    let client = start(measuring).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while kept(folder.path()).len() < 2 {
        assert!(Instant::now() < deadline, "no two samples: {:?}", kept(folder.path()));
        move_bytes(&client, 20_000).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    client.stop().await;
    let kept = kept(folder.path());
    let posted = ledger.samples.lock().unwrap().clone().unwrap();
    for co_signed in &kept {
        let (client, operator) = (ledger::key().address(), operator().address());
        assert_eq!(co_signed.verify(&BOND, client, operator), Ok(()));
        let sample = &co_signed.sample;
        assert!(posted.iter().any(|posted| posted.sample == *sample));
        assert_eq!((sample.sla, sample.lane), (agreement.id(), LANE));
        assert!(sample.up_bytes > 0 && sample.down_bytes > 0 && sample.n > 0, "{sample:?}");
        assert!(sample.rtt_p50_us > 0 && sample.rtt_p50_us <= sample.rtt_p95_us, "{sample:?}");
        let most = sample.up_bytes.max(sample.down_bytes);
        assert!(sample.tput_1s_max_kbps > 0 && sample.tput_1s_max_kbps * 125 <= most);
    }
    // Each byte is in one interval at most.
    let up: u64 = kept.iter().map(|co_signed| co_signed.sample.up_bytes).sum();
    assert!(up <= ledger.bytes().0);
    assert!(kept.windows(2).all(|pair| pair[0].sample.interval < pair[1].sample.interval));
}

#[tokio::test]
async fn an_exit_that_signs_no_samples_is_paid_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::default());
    let relay = TestRelay::start(&ledger);
    let mut measuring = config(&relay);
    measuring.payer = Some(payer(folder.path()));
    measuring.sla = Some(sla(folder.path(), &agreement(ledger::channel())));
    let client = start(measuring).await;
    for _ in 0..25 {
        move_bytes(&client, 1_000).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(settle(&client).await.settled);
    client.stop().await;
    assert!(kept(folder.path()).is_empty());
}

#[tokio::test]
async fn another_channels_agreement_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let relay = TestRelay::start(&Arc::new(Ledger::default()));
    let mut measuring = config(&relay);
    measuring.sla = Some(sla(folder.path(), &agreement(ChannelId([6; 32]))));
    let refused = weir_client::Client::start(measuring.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("configure a payer"), "{refused}");
    measuring.payer = Some(payer(folder.path()));
    let refused = weir_client::Client::start(measuring).await.unwrap_err().to_string();
    assert!(refused.contains("agreement") && refused.contains("is for channel"), "{refused}");
}
