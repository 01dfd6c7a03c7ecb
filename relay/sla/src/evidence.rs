//! Roots over samples: what was known each hour, and what a verdict was computed from.
//!
//! Both are the Merkle-sum trees of `weir_usage::merkle`. An hour's leaves are samples, which sum
//! up to the bytes they tell of; a verdict's leaves are the intervals of its period, each with
//! everything that was said of it, and they sum up to the number of bad ones. So a single interval
//! can be shown, and the number of bad ones is what the root says it is.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use weir_usage::bond::BondDomain;
use weir_usage::merkle::{self, Anchor, Leaf, Proof};
use weir_usage::{Digest, Keccak, Sample};

use crate::calendar::DAY_S;
use crate::{Error, Interval, Judged, Judgement, Record};

const HOUR_S: u64 = 3_600;

/// The samples of one hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourRoot {
    /// Hours since 1970.
    pub hour: u64,
    /// Root over the samples whose intervals began in it.
    pub root: Digest,
    /// Samples and statements.
    pub samples: u64,
    /// Bytes that they tell of.
    pub bytes: u64,
}

/// The roots of the hours of a period in which anything was said.
///
/// # Errors
/// If the agreement has no such period.
pub fn hourly(record: &Record, period: u32) -> Result<Vec<HourRoot>, Error> {
    hours_of(record, record.numbers(period)?, samples)
}

/// The hours in which something was said, and a root over it for each.
fn hours_of<'a, I: Iterator<Item = &'a Sample>>(
    record: &'a Record,
    numbers: Range<u64>,
    said: impl Fn(&'a Interval) -> I,
) -> Result<Vec<HourRoot>, Error> {
    let domain = &record.agreement().domain;
    let mut hours: BTreeMap<u64, Vec<Leaf>> = BTreeMap::new();
    for (number, interval) in record.intervals(numbers) {
        let mut said = said(interval).map(|sample| sample_leaf(domain, sample)).peekable();
        if said.peek().is_some() {
            hours.entry(record.begins(number) / HOUR_S).or_default().extend(said);
        }
    }
    hours
        .into_iter()
        .map(|(hour, leaves)| {
            let Anchor { root, total, .. } = merkle::anchor(hour, &leaves)?;
            let bytes = u64::try_from(total).unwrap_or(u64::MAX);
            Ok(HourRoot { hour, root, samples: leaves.len() as u64, bytes })
        })
        .collect()
}

/// What client and exit both signed of a UTC day, counted from 1970: the roots of its hours, and
/// the day's root over them, as it is anchored. Intervals belong to the day that they began on.
/// What measurers said isn't in it, because it may become known at any time.
///
/// # Errors
/// If the sum overflows, which it can't.
pub fn daily(record: &Record, day: u64) -> Result<(Vec<HourRoot>, Anchor), Error> {
    let terms = &record.agreement().terms;
    let number_at = |day: u64| {
        let since = day.saturating_mul(DAY_S).saturating_sub(terms.start);
        since.div_ceil(terms.interval_s.max(1).into())
    };
    let numbers = number_at(day)..number_at(day.saturating_add(1));
    let hours = hours_of(record, numbers, used)?;
    let leaves: Vec<Leaf> = hours.iter().map(HourRoot::leaf).collect();
    Ok((hours, merkle::anchor(series(record, day), &leaves)?))
}

/// The number under which an agreement's day is anchored: the first half is of the agreement's
/// name, so that the days of all agreements can be anchored by one account.
fn series(record: &Record, day: u64) -> u64 {
    let [a, b, c, d, ..] = record.agreement().id().0;
    u64::from(u32::from_be_bytes([a, b, c, d])) << 32 | (day & u64::from(u32::MAX))
}

impl HourRoot {
    /// The hour in the day's tree: `keccak("Weir hour" || hour || samples || root)`; the sum is the
    /// hour's bytes.
    pub fn leaf(&self) -> Leaf {
        let hash = Keccak::default()
            .update(b"Weir hour")
            .update(&self.hour.to_be_bytes())
            .update(&self.samples.to_be_bytes())
            .update(&self.root.0);
        Leaf { hash: hash.finish(), sum: self.bytes.into() }
    }
}

/// The root of a judgement; its total is the number of bad intervals.
///
/// # Errors
/// If the sum overflows, which it can't.
pub fn evidence(record: &Record, judgement: &Judgement) -> Result<Anchor, Error> {
    Ok(merkle::anchor(judgement.period.into(), &leaves(record, judgement))?)
}

/// The leaf of one interval of a judgement and its way to the root.
///
/// # Errors
/// If the period has no such interval.
pub fn proof(record: &Record, judgement: &Judgement, number: u64) -> Result<(Leaf, Proof), Error> {
    let leaves = leaves(record, judgement);
    let missing = Error::NoSuchInterval { interval: number };
    let index = number.checked_sub(judgement.first).ok_or(missing.clone())? as usize;
    let leaf = *leaves.get(index).ok_or(missing)?;
    Ok((leaf, merkle::prove(&leaves, index)?))
}

fn leaves(record: &Record, judgement: &Judgement) -> Vec<Leaf> {
    let domain = &record.agreement().domain;
    let numbered = (judgement.first..).zip(&judgement.intervals);
    numbered
        .map(|(number, &judged)| interval_leaf(domain, number, judged, record.interval(number)))
        .collect()
}

/// `keccak("Weir interval" || number || judged || samples || (digest || role)*)`: all that a reader
/// needs to judge the interval again.
fn interval_leaf(
    domain: &BondDomain,
    number: u64,
    judged: Judged,
    interval: Option<&Interval>,
) -> Leaf {
    let mut hash = Keccak::default()
        .update(b"Weir interval")
        .update(&number.to_be_bytes())
        .update(&[judged as u8]);
    if let Some(interval) = interval {
        for (role, sample) in interval
            .used
            .values()
            .map(|used| (0, &used.sample))
            .chain(interval.measured.values().map(|said| (1, &said.sample)))
        {
            hash = hash.update(&sample.digest(domain).0).update(&[role]);
        }
    }
    Leaf { hash: hash.finish(), sum: u128::from(judged == Judged::Bad) }
}

fn sample_leaf(domain: &BondDomain, sample: &Sample) -> Leaf {
    let sum = u128::from(sample.up_bytes) + u128::from(sample.down_bytes);
    Leaf { hash: sample.digest(domain), sum }
}

fn used(interval: &Interval) -> impl Iterator<Item = &Sample> {
    interval.used.values().map(|used| &used.sample)
}

fn samples(interval: &Interval) -> impl Iterator<Item = &Sample> {
    used(interval).chain(interval.measured.values().map(|said| &said.sample))
}
