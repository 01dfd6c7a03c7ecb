//! The client of an agreement: says what each interval was like, has the exit sign it too, and
//! keeps what was signed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use weir_sla::calendar::DAY_S;
use weir_sla::{Error, Maintenance, Record, daily};
use weir_usage::bond::{Agreement, BondDomain, CreditStep, SlaTerms};
use weir_usage::merkle::Anchor;
use weir_usage::{
    Address, CoSigned, Digest, Sample, SampleOffer, SampleRefusal, SampleRefused, Signature,
    SigningKey,
};

use crate::node::GENESIS_S;
use crate::payer::{LANE, Payer};
use crate::sidecar::DOMAIN;

/// Where the usage key is.
pub(crate) const KEY_FILE: &str = "usage.key";
/// Where the agreement is.
pub(crate) const AGREEMENT_FILE: &str = "agreement.json";
/// The contract for which statements and the agreement are good.
pub(crate) const BOND: BondDomain =
    BondDomain { chain_id: DOMAIN.chain_id, bond: Address([0xb0; 20]) };
/// Of an interval, in seconds.
pub(crate) const INTERVAL_S: u64 = 60;
/// Time for late samples, and the configured grace, after the end of a day; in seconds.
const LATE_S: u64 = INTERVAL_S + 900 + 1;
/// The operator's usage key, 32 times the same byte.
const USAGE_KEY: u8 = 0x77;

/// The client of the first payer's agreement.
#[derive(Debug)]
pub(crate) struct Client {
    /// What was agreed.
    pub(crate) agreement: Agreement,
    /// Signed by both, as far as the exit told.
    pub(crate) acked: Vec<CoSigned>,
    /// What the exit did that it must not.
    pub(crate) complaints: Vec<String>,
    signer: Address,
}

impl Client {
    /// A client for this payer's channel, from the day of the chain's first block on.
    pub(crate) fn new(payer: &Payer) -> Self {
        let operator = usage_key();
        let step = |below_ppm, credit_ppm| CreditStep { below_ppm, credit_ppm };
        let terms = SlaTerms {
            payer: payer.terms.signer,
            operator: operator.address(),
            payout: Address([9; 20]),
            token: payer.terms.token,
            channel: payer.channel,
            committed_kbps: 0,
            burst_kbps: 0,
            availability_ppm: 999_000,
            rtt_p95_us: 20_000,
            loss_ppm: 1_000,
            references: Digest::ZERO,
            maintenance: Digest::ZERO,
            start: GENESIS_S / DAY_S * DAY_S,
            period_s: 7 * 86_400,
            periods: 2,
            interval_s: INTERVAL_S as u32,
            claim_s: 86_400,
            fee: 1_000_000,
            bond: 3_000_000,
            credits: vec![step(999_000, 100_000), step(950_000, 250_000)],
            measurers: Vec::new(),
            threshold: 0,
            arbiter: Address::ZERO,
            salt: Digest([1; 32]),
        };
        let mut agreement = Agreement::new(BOND, terms).expect("these terms make sense");
        for key in [payer.key(), &operator] {
            agreement.sign(key).expect("both are parties");
        }
        let signer = payer.terms.signer;
        Self { agreement, acked: Vec::new(), complaints: Vec::new(), signer }
    }

    /// Writes the files that the exit's configuration names.
    ///
    /// # Errors
    /// If they can't be written.
    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        let key = directory.join(KEY_FILE);
        fs::write(&key, format!("{USAGE_KEY:02x}").repeat(32))?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        fs::write(directory.join(AGREEMENT_FILE), serde_json::to_string(&self.agreement)?)
    }

    /// The first interval that begins at this time or later, Unix seconds, and when it ends.
    pub(crate) fn interval(&self, now_s: u64) -> (u64, u64) {
        let start = self.agreement.terms.start;
        let interval = (now_s - start).div_ceil(INTERVAL_S);
        (interval, start + (interval + 1) * INTERVAL_S)
    }

    /// A sample to be signed; of the same interval two with different bytes contradict each other.
    pub(crate) fn offer(&self, payer: &Payer, interval: u64, bytes: u64) -> SampleOffer {
        let sample = Sample {
            sla: self.agreement.id(),
            lane: LANE,
            interval,
            up_bytes: 0,
            down_bytes: bytes,
            rtt_p50_us: 5_000,
            rtt_p95_us: 9_000,
            loss_ppm: 0,
            tput_1s_max_kbps: 0,
            n: 10,
        };
        let signed = sample.sign(&self.agreement.domain, payer.key());
        SampleOffer { query: interval, channel: payer.channel, lane: LANE, signed }
    }

    /// The exit has signed it.
    pub(crate) fn signed(&mut self, offer: &SampleOffer, exit_signature: Signature) {
        let (sample, signature) = (offer.signed.sample, offer.signed.signature);
        let both = CoSigned { sample, signature, exit_signature };
        let operator = self.agreement.terms.operator;
        if both.verify(&self.agreement.domain, self.signer, operator).is_err() {
            self.complaints.push("a sample was signed with another key".into());
        }
        let other = |held: &CoSigned| held.sample.interval == sample.interval;
        match self.acked.iter().find(|held| other(held)) {
            Some(held) if held.sample == sample => {}
            Some(_) => self
                .complaints
                .push(format!("two different samples of interval {} were signed", sample.interval)),
            None => self.acked.push(both),
        }
    }

    /// The exit has refused it.
    pub(crate) fn refused(&mut self, offer: &SampleOffer, refused: &SampleRefused) {
        let is_held = self.acked.iter().any(|held| held.sample == offer.signed.sample);
        let fine = match refused.refusal {
            // Since a restart; and what can't be written isn't given out.
            SampleRefusal::Stale | SampleRefusal::Storage => true,
            // The other one may have been signed without the client learning of it.
            SampleRefusal::Replayed => !is_held,
            _ => false,
        };
        if !fine {
            self.complaints.push(format!("a sample was refused: {}", refused.reason));
        }
    }

    /// By day since 1970: what is to be anchored of these samples, for the days of which by this
    /// time, Unix seconds, no more can come.
    ///
    /// # Errors
    /// A sample that isn't one of the agreement, signed by both.
    pub(crate) fn days(
        &self,
        samples: &[CoSigned],
        now_s: u64,
    ) -> Result<BTreeMap<u64, Anchor>, Error> {
        let agreement = self.agreement.clone();
        let mut record = Record::new(agreement, self.signer, Maintenance::default())?;
        let mut days = BTreeSet::new();
        for sample in samples {
            record.add_used(*sample)?;
            let day = self.day(sample);
            if now_s >= (day + 1) * DAY_S + LATE_S {
                days.insert(day);
            }
        }
        days.into_iter().map(|day| Ok((day, daily(&record, day)?.1))).collect()
    }

    /// When the day of the newest sample is over, Unix seconds.
    pub(crate) fn last_day_ends(&self) -> u64 {
        let last = self.acked.iter().map(|held| self.day(held)).max();
        last.map_or(0, |day| (day + 1) * DAY_S + LATE_S)
    }

    fn day(&self, sample: &CoSigned) -> u64 {
        (self.agreement.terms.start + sample.sample.interval * INTERVAL_S) / DAY_S
    }
}

/// Signs samples and statements of the exit.
pub(crate) fn usage_key() -> SigningKey {
    // Any number but zero is a key.
    SigningKey::from_bytes(&[USAGE_KEY; 32]).expect("a small number is a key")
}
