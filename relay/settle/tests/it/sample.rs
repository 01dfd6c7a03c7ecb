//! Samples over the relay's socket: compared, signed, journaled, and refused by name.

use weir_settle::config::Config;
use weir_settle::journal::entry::Item;
use weir_settle::keys::Wallet;
use weir_settle::sidecar::{self, Running};
use weir_settle::storage::{FileStorage, ReadOnly};
use weir_usage::bond::Agreement;
use weir_usage::{Frame, Sample, SampleOffer, SampleRefusal, Signature, SignedSample};

use crate::common::relay::Relay;
use crate::common::service::{agreement, key, key_file, operator, sample, service, signed};
use crate::common::{channel, config, pay, usage};

struct Lab {
    _directory: tempfile::TempDir,
    config: Config,
    wallet: Wallet,
    agreement: Agreement,
}

impl Lab {
    /// Intervals of a second; period 0 began a minute ago.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        let agreement = agreement(weir_settle::now_ms() / 1000 - 60, 3_600, 1);
        let mut config = config();
        config.socket = at.join("settle.sock");
        config.control = at.join("control.sock");
        config.journal = at.join("journal");
        config.services = vec![service(at, &agreement)];
        config.usage_key = Some(key_file(at, 2));
        let wallet = Wallet::open(&key_file(at, 3)).unwrap();
        Self { config, wallet, agreement, _directory: directory }
    }

    async fn start(&self) -> Running {
        let storage = FileStorage::open(&self.config.journal).unwrap();
        sidecar::start(self.config.clone(), storage, self.wallet.clone()).await.unwrap()
    }

    /// The interval that runs now.
    fn now(&self) -> u64 {
        weir_settle::now_ms() / 1000 - self.agreement.terms.start
    }

    /// Waits until an interval that begins after this call is over, and returns it.
    async fn interval(&self) -> u64 {
        let interval = self.now() + 1;
        while self.now() <= interval {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        interval
    }

    async fn offer(&self, relay: &mut Relay, signed: SignedSample) -> Frame {
        let lane = signed.sample.lane;
        let offer = SampleOffer { query: 5, channel: channel(), lane, signed };
        relay.send(&Frame::Sample(offer)).await;
        relay.until(|f| matches!(f, Frame::SampleAck(_) | Frame::SampleRefused(_))).await
    }

    async fn refused(&self, relay: &mut Relay, sample: Sample) -> SampleRefusal {
        match self.offer(relay, signed(&self.agreement, sample)).await {
            Frame::SampleRefused(refused) => refused.refusal,
            other => panic!("{other:?}"),
        }
    }
}

fn acked(frame: Frame) -> Signature {
    let Frame::SampleAck(ack) = frame else { panic!("{frame:?}") };
    assert_eq!(ack.query, 5);
    ack.exit_signature
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_is_compared_signed_once_and_journaled() {
    let lab = Lab::new();
    let running = lab.start().await;
    let mut relay = Relay::connect(&lab.config.socket, 7).await;
    let told = relay.until(|f| matches!(f, Frame::Service(_))).await;
    let Frame::Service(notice) = told else { unreachable!() };
    assert_eq!((notice.channel, notice.sla), (channel(), lab.agreement.id()));

    let mut record = usage(channel(), 0, 1, 0, 50_000_000);
    record.t1_ms = weir_settle::now_ms() + 1_000;
    relay.report(record).await;
    let ask = relay.ask(channel(), 0, 50_000_000).await;
    let interval = lab.interval().await;
    let good = sample(&lab.agreement, interval, 50_000_000);
    let exit = acked(lab.offer(&mut relay, signed(&lab.agreement, good)).await);
    let digest = good.digest(&lab.agreement.domain);
    assert_eq!(exit.verify(&digest, operator().address()), Ok(()));
    // A client that lost the answer asks again.
    assert_eq!(acked(lab.offer(&mut relay, signed(&lab.agreement, good)).await), exit);
    // One that changed its mind doesn't get a second signature.
    let better = Sample { rtt_p50_us: 1, ..good };
    assert_eq!(lab.refused(&mut relay, better).await, SampleRefusal::Replayed);
    // Money goes on as if nothing was.
    assert!(matches!(relay.offer(pay(&ask)).await, Frame::VoucherAck(_)));
    running.stop().await.unwrap();

    let mut samples = Vec::new();
    let journal = ReadOnly::open(&lab.config.journal).unwrap();
    weir_settle::journal::scan(&journal, |_, _, entry| {
        if let Item::Sample(sample) = entry.item {
            samples.push(*sample);
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(samples.len(), 1);
    let (client, operator) = (crate::common::payer().address(), operator().address());
    assert_eq!(samples[0].verify(&lab.agreement.domain, client, operator), Ok(()));

    // A restart has forgotten the counts: old intervals are draws, and none is signed twice.
    let running = lab.start().await;
    let mut relay = Relay::connect(&lab.config.socket, 8).await;
    assert_eq!(lab.refused(&mut relay, better).await, SampleRefusal::Stale);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_exit_cannot_stand_for_is_refused_by_name_and_counted() {
    let lab = Lab::new();
    let running = lab.start().await;
    let mut relay = Relay::connect(&lab.config.socket, 7).await;
    let interval = lab.interval().await;
    let good = sample(&lab.agreement, interval, 0);
    let domain = &lab.agreement.domain;
    use SampleRefusal::{Bytes, Figures, Future, Signature, Stale, UnknownService};
    for (sample, refusal) in [
        (Sample { interval: interval + 60, ..good }, Future),
        (Sample { interval: u64::MAX, ..good }, Future),
        (Sample { interval: 0, ..good }, Stale),
        (Sample { down_bytes: 5_000_000, ..good }, Bytes),
        (Sample { up_bytes: u64::MAX, ..good }, Bytes),
        (Sample { rtt_p50_us: 9_001, ..good }, Figures),
        (Sample { loss_ppm: 1_000_001, ..good }, Figures),
        (Sample { tput_1s_max_kbps: 1, ..good }, Figures),
        (Sample { lane: 9, ..good }, UnknownService),
        (Sample { sla: weir_usage::SlaId::ZERO, ..good }, UnknownService),
    ] {
        assert_eq!(lab.refused(&mut relay, sample).await, refusal, "{sample:?}");
    }
    for bad in [good.sign(domain, &key(1)), {
        let mut malleable = signed(&lab.agreement, good);
        malleable.signature.0[64] ^= 1;
        malleable
    }] {
        let Frame::SampleRefused(refused) = lab.offer(&mut relay, bad).await else { panic!() };
        assert_eq!(refused.refusal, Signature);
    }
    // None of this kept the good one from being signed.
    acked(lab.offer(&mut relay, signed(&lab.agreement, good)).await);
    let view = running.sidecar.clerk.view().await.unwrap();
    let counts: Vec<(&str, u64)> = view.samples.iter().map(|(name, n)| (*name, *n)).collect();
    let expected = [
        ("bytes", 2),
        ("figures", 3),
        ("future", 2),
        ("signature", 2),
        ("signed", 1),
        ("stale", 1),
        ("unknown_service", 2),
    ];
    assert_eq!(counts, expected);
    running.stop().await.unwrap();
}

/// What both would sign after the end could count nowhere: it would only be odd in every report.
#[test]
fn after_the_last_interval_nothing_is_signed() {
    let lab = Lab::new();
    let mut desk = weir_settle::service::load(&lab.config).unwrap();
    let terms = &lab.agreement.terms;
    let all = terms.all_intervals().unwrap();
    assert_eq!(all, u64::from(terms.period_s / terms.interval_s) * u64::from(terms.periods));
    for (interval, ended) in [(all - 1, false), (all, true)] {
        let ends_ms = (terms.start + (interval + 1) * u64::from(terms.interval_s)) * 1000;
        let signed = signed(&lab.agreement, sample(&lab.agreement, interval, 0));
        let offer = SampleOffer { query: 1, channel: channel(), lane: signed.sample.lane, signed };
        // The lane isn't known to this desk; what is after the end isn't looked up.
        let (refusal, words) = desk.sign(&offer, ends_ms).unwrap_err();
        assert_eq!(refusal, SampleRefusal::UnknownService);
        let last = format!("the agreement ended with interval {}", all - 1);
        assert_eq!(words.contains(&last), ended, "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agreement_that_cannot_be_served_keeps_the_sidecar_from_starting() {
    let lab = Lab::new();
    let at = lab.config.journal.parent().unwrap();
    let start = async |agreement: &Agreement| {
        let mut config = lab.config.clone();
        config.services = vec![service(at, agreement)];
        let storage = FileStorage::open(&config.journal).unwrap();
        sidecar::start(config, storage, lab.wallet.clone()).await.unwrap_err().to_string()
    };
    let mut unsigned = lab.agreement.clone();
    unsigned.payer_signature = None;
    assert!(start(&unsigned).await.contains("payer_signature: is missing"));
    let resign = |change: &dyn Fn(&mut Agreement)| {
        let mut other = lab.agreement.clone();
        change(&mut other);
        other.sign(&key(1)).unwrap();
        other.sign(&operator()).unwrap();
        other
    };
    let elsewhere = resign(&|a| a.terms.channel.0[0] ^= 1);
    assert!(start(&elsewhere).await.contains("no [[channel]]"));
    let other_chain = resign(&|a| a.domain.chain_id = 1);
    assert!(start(&other_chain).await.contains("it is for chain 1, configured is 31337"));
    let windows = resign(&|a| a.terms.maintenance.0[0] = 1);
    assert!(start(&windows).await.contains("maintenance windows hash to"));
    let mut by_another = lab.agreement.clone();
    by_another.terms.operator = key(8).address();
    by_another.sign(&key(1)).unwrap();
    by_another.sign(&key(8)).unwrap();
    assert!(start(&by_another).await.contains("the key is of"));
}
