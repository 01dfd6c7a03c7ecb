//! A period as it is handed to the buyer.

use serde::{Deserialize, Serialize};
use weir_usage::bond::{BondDomain, SlaTerms, Verdict};
use weir_usage::{Digest, SlaId};

use crate::calendar::DAY_S;
use crate::reputation::amount;
use crate::{
    Day, Error, Figures, HourRoot, Judged, Judgement, Record, Reputation, hourly, percentile,
};

/// Slots of a plot: the hours of a month.
const SLOTS_MAX: u64 = 744;

/// What was paid on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paid {
    /// Days since 1970.
    pub day: u64,
    /// Token units.
    pub amount: u128,
}

/// One period of one agreement. Its JSON, fields in this order and without white space, is what
/// the operator signs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// [`Report::SCHEMA`].
    pub schema: String,
    /// The agreement.
    pub sla: SlaId,
    /// Where it is good.
    pub domain: BondDomain,
    /// What was agreed.
    pub terms: SlaTerms,
    /// Which period.
    pub period: u32,
    /// Its first second, Unix time.
    pub begins_s: u64,
    /// The first second after it.
    pub ends_s: u64,
    /// When the report was made, Unix time in seconds. Before the period's end it is an interim.
    pub made_s: u64,
    /// The period in numbers.
    pub figures: Figures,
    /// Token units that the payer is owed.
    #[serde(with = "amount")]
    pub credit: u128,
    /// What the contract takes, with the root of the evidence.
    pub verdict: Verdict,
    /// The operator's score under this agreement, and what it was computed from.
    pub reputation: Reputation,
    /// Roots over what was said, hour by hour.
    pub hours: Vec<HourRoot>,
    /// Length of a slot in seconds: the period in at most 744 parts.
    pub slot_s: u64,
    /// For the plots.
    pub slots: Vec<Slot>,
}

/// A part of the period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// Intervals in it that met the terms.
    pub good: u32,
    /// Intervals that didn't.
    pub bad: u32,
    /// Draws.
    pub unknown: u32,
    /// Mean from clients to targets, kbit/s.
    pub up_kbps: u64,
    /// Mean from targets to clients, kbit/s.
    pub down_kbps: u64,
    /// 95th percentile of its samples' 95th percentiles, if there are any, in microseconds.
    pub rtt_p95_us: Option<u32>,
}

impl Report {
    /// The shape of this version.
    pub const SCHEMA: &'static str = "weir-sla-report/1";

    /// The report of a period as of `made_s`. `paid` has the days of all periods so far.
    ///
    /// # Errors
    /// If the agreement has no such period.
    pub fn of(record: &Record, period: u32, paid: &[Paid], made_s: u64) -> Result<Self, Error> {
        let agreement = record.agreement();
        let terms = &agreement.terms;
        let lasts = terms.period(period)?;
        let judgement = Judgement::of(record, period)?;
        let figures = Figures::of(record, &judgement)?;
        let (slot_s, slots) = slots(record, &judgement)?;
        Ok(Self {
            schema: Self::SCHEMA.to_owned(),
            sla: agreement.id(),
            domain: agreement.domain,
            terms: terms.clone(),
            period,
            begins_s: lasts.begins,
            ends_s: lasts.ends,
            made_s,
            credit: terms.credit(figures.intervals, figures.bad.into())?,
            figures,
            verdict: judgement.verdict(record)?,
            reputation: Reputation::of(days(record, period, paid)?, (lasts.ends - 1) / DAY_S),
            hours: hourly(record, period)?,
            slot_s,
            slots,
        })
    }

    /// Whether the period was over when the report was made.
    pub fn is_final(&self) -> bool {
        self.made_s >= self.ends_s
    }

    /// Checks what a reader can check without the samples: that the numbers follow from each other.
    ///
    /// # Errors
    /// [`Error::BadReport`] with the first that doesn't.
    pub fn check(&self) -> Result<(), Error> {
        let must = |holds: bool, what: &str| match holds {
            true => Ok(()),
            false => Err(Error::BadReport { why: format!("{what} doesn't follow from the rest") }),
        };
        must(self.schema == Self::SCHEMA, "`schema`")?;
        self.terms.check()?;
        must(self.sla == self.terms.id(&self.domain) && self.verdict.sla == self.sla, "`sla`")?;
        let lasts = self.terms.period(self.period)?;
        let period = (lasts.begins, lasts.ends, self.period);
        must(period == (self.begins_s, self.ends_s, self.verdict.period), "`period`")?;
        let figures = &self.figures;
        must(figures.intervals == self.terms.intervals(self.period)?, "`intervals`")?;
        must((figures.good, figures.bad) == (self.verdict.good, self.verdict.bad), "`verdict`")?;
        must(self.credit == self.terms.credit(figures.intervals, figures.bad.into())?, "`credit`")?;
        let again = Reputation::of(self.reputation.inputs.clone(), self.reputation.as_of_day);
        must(again == self.reputation, "`reputation`")
    }

    /// The root that the verdict names.
    pub fn evidence(&self) -> Digest {
        self.verdict.evidence
    }
}

fn slots(record: &Record, judgement: &Judgement) -> Result<(u64, Vec<Slot>), Error> {
    let per_slot = (judgement.intervals.len() as u64).div_ceil(SLOTS_MAX).max(1);
    let slot_s = per_slot * u64::from(record.agreement().terms.interval_s);
    let mut slots = vec![Slot::default(); judgement.intervals.len().div_ceil(per_slot as usize)];
    for (index, judged) in judgement.intervals.iter().enumerate() {
        let slot = &mut slots[index / per_slot as usize];
        match judged {
            Judged::Good => slot.good += 1,
            Judged::Bad => slot.bad += 1,
            Judged::Unknown => slot.unknown += 1,
        }
    }
    let mut rtts: Vec<Vec<u32>> = vec![Vec::new(); slots.len()];
    for (number, interval) in record.intervals(record.numbers(judgement.period)?) {
        let index = ((number - judgement.first) / per_slot) as usize;
        for sample in interval.used.values().map(|used| &used.sample) {
            // Bytes for now.
            slots[index].up_kbps = slots[index].up_kbps.saturating_add(sample.up_bytes);
            slots[index].down_kbps = slots[index].down_kbps.saturating_add(sample.down_bytes);
            if sample.n > 0 {
                rtts[index].push(sample.rtt_p95_us);
            }
        }
    }
    for (slot, rtts) in slots.iter_mut().zip(&mut rtts) {
        for sum in [&mut slot.up_kbps, &mut slot.down_kbps] {
            *sum = (u128::from(*sum) * 8 / 1000 / u128::from(slot_s)) as u64;
        }
        slot.rtt_p95_us = (!rtts.is_empty()).then(|| percentile(rtts, 95));
    }
    Ok((slot_s, slots))
}

/// The days of this period and of those before it.
fn days(record: &Record, period: u32, paid: &[Paid]) -> Result<Vec<Day>, Error> {
    let mut days: std::collections::BTreeMap<u64, Day> = std::collections::BTreeMap::new();
    for earlier in 0..=period {
        let judgement = Judgement::of(record, earlier)?;
        for (number, judged) in (judgement.first..).zip(&judgement.intervals) {
            let day = record.begins(number) / DAY_S;
            let (good, bad) = match judged {
                Judged::Good => (1, 0),
                Judged::Bad => (0, 1),
                Judged::Unknown => continue,
            };
            let entry = days.entry(day).or_insert(Day { day, paid: 0, good: 0, bad: 0 });
            (entry.good, entry.bad) = (entry.good + good, entry.bad + bad);
        }
    }
    for paid in paid {
        if let Some(day) = days.get_mut(&paid.day) {
            day.paid = day.paid.saturating_add(paid.amount);
        }
    }
    Ok(days.into_values().collect())
}
