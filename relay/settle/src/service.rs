//! The desk that signs samples: it compares what a client says of an interval with what the relay
//! counted, and signs each interval of a lane once.
//!
//! The counts of the last quarter of an hour are held in memory only. After a restart, intervals
//! that began before it can't be compared and are not signed: they are draws, and nothing can be
//! signed twice.

mod counts;
mod load;
mod read;

use std::collections::BTreeMap;

use weir_sla::calendar::DAY_S;
use weir_usage::bond::Agreement;
use weir_usage::{
    Address, ChannelId, CoSigned, Sample, SampleOffer, SampleRefusal, ServiceNotice, Signature,
    SlaId,
};

pub use load::{Loaded, load, usage_key};
pub use read::{Known, find, read};

use crate::book::{Lane, LaneKey};
use crate::journal::entry::SampleDay;
use crate::keys::Wallet;
use counts::Counts;

/// How long after an interval its sample is taken.
pub const STALE_MS: u64 = 15 * 60 * 1000;
/// How far the client's clock may be ahead of this host's, and how long counts are under way.
const SLACK_MS: u64 = 2_000;
/// What may be on its way at an interval's ends: in QUIC's send buffers, above all.
const SLACK_BYTES: u64 = 4 << 20;
/// How far a sample's bytes may be off besides, in hundredths.
const SLACK_PERCENT: u64 = 1;
/// Signed intervals that are remembered: those of a quarter of an hour in seconds, and more.
const SIGNED_MAX: usize = 65_536;

/// An agreement and the key that signs for its operator.
#[derive(Debug)]
pub struct Service {
    /// What was agreed.
    pub agreement: Agreement,
    /// Its name.
    pub sla: SlaId,
    /// Who signs the channel's vouchers, and the client's samples.
    pub client: Address,
    /// Signs for the operator.
    pub wallet: Wallet,
    signed: BTreeMap<(u64, u32), (Sample, Signature)>,
    /// The last day, counted from 1970, whose samples are under a root that can't change.
    closed: Option<u64>,
}

/// All agreements of this exit.
#[derive(Debug, Default)]
pub struct Desk {
    services: BTreeMap<ChannelId, Service>,
    lanes: BTreeMap<LaneKey, Counts>,
    counts: BTreeMap<&'static str, u64>,
}

/// A signed sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    /// The exit's signature.
    pub exit_signature: Signature,
    /// What belongs in the journal, unless it is there.
    pub new: Option<CoSigned>,
}

impl Desk {
    /// A desk that has seen nothing yet.
    pub fn new(services: Vec<Service>) -> Self {
        let services = services.into_iter().map(|s| (s.agreement.terms.channel, s)).collect();
        Self { services, ..Self::default() }
    }

    /// What the relay is told.
    pub fn notices(&self) -> Vec<ServiceNotice> {
        let notice = |(channel, service): (&ChannelId, &Service)| ServiceNotice {
            channel: *channel,
            sla: service.sla,
        };
        self.services.iter().map(notice).collect()
    }

    /// Samples since the start, by what became of them: `signed`, or why not.
    pub fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// No sample of this day or one before is signed any more.
    pub fn close(&mut self, day: SampleDay) {
        for service in self.services.values_mut().filter(|service| service.sla == day.sla) {
            service.closed = service.closed.max(Some(day.day));
        }
    }

    /// Comparing begins now, with these totals.
    pub fn begin<'a>(
        &mut self,
        now_ms: u64,
        lanes: impl IntoIterator<Item = (&'a LaneKey, &'a Lane)>,
    ) {
        for (key, lane) in lanes {
            if let Some(service) = self.services.get(&key.channel) {
                let interval_ms = u64::from(service.agreement.terms.interval_s) * 1000;
                let counts = Counts::new(interval_ms, now_ms, lane.up_bytes, lane.down_bytes);
                self.lanes.insert(*key, counts);
            }
        }
    }

    /// A lane's totals at a time.
    pub fn counted(&mut self, key: &LaneKey, at_ms: u64, lane: &Lane) {
        if let Some(counts) = self.lanes.get_mut(key) {
            counts.push(at_ms, lane.up_bytes, lane.down_bytes);
        }
    }

    /// Checks a sample and signs it. The same sample again gets the same signature.
    ///
    /// # Errors
    /// Why it isn't signed, for programs and in words.
    pub fn sign(
        &mut self,
        offer: &SampleOffer,
        now_ms: u64,
    ) -> Result<Signed, (SampleRefusal, String)> {
        let outcome = self.check_and_sign(offer, now_ms);
        let name = match &outcome {
            Ok(_) => "signed",
            Err((refusal, _)) => refusal_name(*refusal),
        };
        *self.counts.entry(name).or_default() += 1;
        outcome
    }

    fn check_and_sign(
        &mut self,
        offer: &SampleOffer,
        now_ms: u64,
    ) -> Result<Signed, (SampleRefusal, String)> {
        let sample = offer.signed.sample;
        let unknown = |what: &str| (SampleRefusal::UnknownService, what.to_owned());
        let service = self
            .services
            .get_mut(&offer.channel)
            .filter(|service| service.sla == sample.sla)
            .ok_or_else(|| unknown("no such agreement is configured for this channel"))?;
        if sample.lane != offer.lane {
            return Err(unknown("the sample is for another lane than the credential"));
        }
        let digest = sample.digest(&service.agreement.domain);
        if let Err(error) = offer.signed.signature.verify(&digest, service.client) {
            return Err((SampleRefusal::Signature, error.to_string()));
        }
        if let Some((before, exit_signature)) = service.signed.get(&(sample.interval, sample.lane))
        {
            let exit_signature = *exit_signature;
            return match *before == sample {
                true => Ok(Signed { exit_signature, new: None }),
                false => Err((
                    SampleRefusal::Replayed,
                    format!("another sample of interval {} was signed before", sample.interval),
                )),
            };
        }
        let (begins_ms, ends_ms) = lasts(service, &sample, now_ms)?;
        if Some(begins_ms / 1000 / DAY_S) <= service.closed {
            // Only a clock that was set back leads here.
            let reason = "the samples of its day are under a root already".to_owned();
            return Err((SampleRefusal::Stale, reason));
        }
        check_figures(&sample)?;
        let key = LaneKey { channel: offer.channel, lane: offer.lane };
        let lane = self.lanes.get(&key).ok_or_else(|| unknown("no such lane of this channel"))?;
        lane.compare(&sample, begins_ms, ends_ms)?;
        let exit_signature = service
            .wallet
            .sign_digest(&digest)
            .map_err(|error| (SampleRefusal::Storage, error.to_string()))?;
        service.signed.insert((sample.interval, sample.lane), (sample, exit_signature));
        if service.signed.len() > SIGNED_MAX {
            // The oldest interval; it is stale by now.
            service.signed.pop_first();
        }
        let new = CoSigned { sample, signature: offer.signed.signature, exit_signature };
        Ok(Signed { exit_signature, new: Some(new) })
    }
}

/// When the sample's interval began and ended, if that is a time of which a sample is taken.
fn lasts(
    service: &Service,
    sample: &Sample,
    now_ms: u64,
) -> Result<(u64, u64), (SampleRefusal, String)> {
    let terms = &service.agreement.terms;
    let interval_ms = u64::from(terms.interval_s) * 1000;
    let begins_ms = sample
        .interval
        .checked_mul(interval_ms)
        .and_then(|after| after.checked_add(terms.start.checked_mul(1000)?))
        .ok_or_else(|| future("the interval is past the end of time"))?;
    let ends_ms = begins_ms.saturating_add(interval_ms);
    if ends_ms > now_ms.saturating_add(SLACK_MS) {
        return Err(future("the interval isn't over by this exit's clock; is yours right?"));
    }
    if ends_ms.saturating_add(STALE_MS) < now_ms {
        let age_s = (now_ms - ends_ms) / 1000;
        let reason = format!("the interval ended {age_s} s ago; samples are taken for 900 s");
        return Err((SampleRefusal::Stale, reason));
    }
    let all = terms.all_intervals().unwrap_or(0);
    if sample.interval >= all {
        let reason = format!("the agreement ended with interval {}", all.saturating_sub(1));
        return Err((SampleRefusal::UnknownService, reason));
    }
    Ok((begins_ms, ends_ms))
}

fn future(reason: &str) -> (SampleRefusal, String) {
    (SampleRefusal::Future, reason.to_owned())
}

fn check_figures(sample: &Sample) -> Result<(), (SampleRefusal, String)> {
    let must = |holds: bool, why: &str| match holds {
        true => Ok(()),
        false => Err((SampleRefusal::Figures, why.to_owned())),
    };
    must(sample.rtt_p50_us <= sample.rtt_p95_us, "the median RTT is above the 95th percentile")?;
    must(sample.loss_ppm <= 1_000_000, "more than everything was lost")?;
    must(
        u128::from(sample.tput_1s_max_kbps) * 1000
            <= u128::from(sample.up_bytes.max(sample.down_bytes)) * 8,
        "more was carried in a second than in the interval",
    )
}

/// The label of a refusal in metrics.
fn refusal_name(refusal: SampleRefusal) -> &'static str {
    match refusal {
        SampleRefusal::UnknownService => "unknown_service",
        SampleRefusal::Signature => "signature",
        SampleRefusal::Future => "future",
        SampleRefusal::Stale => "stale",
        SampleRefusal::Replayed => "replayed",
        SampleRefusal::Bytes => "bytes",
        SampleRefusal::Figures => "figures",
        SampleRefusal::Storage => "storage",
    }
}
