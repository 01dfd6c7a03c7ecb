//! Good, bad, or a draw.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_usage::bond::{SlaTerms, Verdict};
use weir_usage::{Address, Sample};

use crate::{Error, Interval, Record, evidence};

/// What an interval was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judged {
    /// The terms were met.
    Good,
    /// They weren't, and enough measurers say so.
    Bad,
    /// Nobody can tell, or the time was agreed to be free: a draw.
    Unknown,
}

/// The intervals of a period, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Which period.
    pub period: u32,
    /// The number of its first interval.
    pub first: u64,
    /// One for each interval of the period.
    pub intervals: Vec<Judged>,
}

impl Judgement {
    /// Judges a period, whether it is over or not.
    ///
    /// # Errors
    /// If the agreement has no such period.
    pub fn of(record: &Record, period: u32) -> Result<Self, Error> {
        let numbers = record.numbers(period)?;
        let mut intervals = vec![Judged::Unknown; (numbers.end - numbers.start) as usize];
        for (number, interval) in record.intervals(numbers.clone()) {
            intervals[(number - numbers.start) as usize] = judge(record, number, interval);
        }
        Ok(Self { period, first: numbers.start, intervals })
    }

    /// How many intervals are of a kind.
    pub fn count(&self, kind: Judged) -> u32 {
        // At most ten years of seconds.
        self.intervals.iter().filter(|&&judged| judged == kind).count() as u32
    }

    /// What is brought to the contract, with the root of what it was computed from.
    ///
    /// # Errors
    /// If the evidence is more than a tree can hold.
    pub fn verdict(&self, record: &Record) -> Result<Verdict, Error> {
        Ok(Verdict {
            sla: record.agreement().id(),
            period: self.period,
            good: self.count(Judged::Good),
            bad: self.count(Judged::Bad),
            evidence: evidence(record, self)?.root,
        })
    }
}

/// Whether a client's sample meets the terms. Throughput isn't looked at: a client that asked for
/// less got less, and one that got less than it asked for doesn't have to sign.
pub fn meets_used(terms: &SlaTerms, sample: &Sample) -> bool {
    sample.n > 0 && sample.rtt_p95_us <= terms.rtt_p95_us && sample.loss_ppm <= terms.loss_ppm
}

/// Whether a measurer's statement says that the terms were met. A measurer asks for the committed
/// rate on purpose, so that it must have got it.
pub fn meets_measured(terms: &SlaTerms, sample: &Sample) -> bool {
    meets_used(terms, sample) && sample.tput_1s_max_kbps >= terms.committed_kbps
}

/// Good if a sample that client and exit signed meets the terms, or `threshold` measurers say so;
/// bad if `threshold` measurers say so, no such sample exists and it is no time of maintenance;
/// else unknown.
fn judge(record: &Record, number: u64, interval: &Interval) -> Judged {
    let terms = &record.agreement().terms;
    let (good, bad) = votes(terms, interval);
    // Without measurers there is no threshold to reach.
    let enough = |votes: u32| terms.threshold != 0 && votes >= terms.threshold;
    if interval.used.values().any(|used| meets_used(terms, &used.sample)) || enough(good) {
        return Judged::Good;
    }
    let (from_s, until_s) = (record.begins(number), record.begins(number + 1));
    if enough(bad) && !record.maintenance().touches(from_s, until_s) {
        return Judged::Bad;
    }
    Judged::Unknown
}

/// How many measurers say good, and bad. Who said two things said nothing.
fn votes(terms: &SlaTerms, interval: &Interval) -> (u32, u32) {
    let mut said: BTreeMap<Address, Option<bool>> = BTreeMap::new();
    for ((measurer, _), statement) in &interval.measured {
        let met = meets_measured(terms, &statement.sample);
        said.entry(*measurer).and_modify(|vote| *vote = None).or_insert(Some(met));
    }
    said.values().fold((0, 0), |(good, bad), vote| match vote {
        Some(true) => (good + 1, bad),
        Some(false) => (good, bad + 1),
        None => (good, bad),
    })
}
