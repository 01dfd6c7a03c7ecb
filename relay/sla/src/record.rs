//! All samples of one agreement, in an order that doesn't depend on when they came.

use std::collections::BTreeMap;

use weir_usage::bond::Agreement;
use weir_usage::{Address, CoSigned, Digest, SignedSample};

use crate::{Error, Maintenance};

/// Samples of one interval by its clients: the lanes of a channel that anybody uses at once.
const CLIENT_SAMPLES_MAX: usize = 1_024;
/// Statements that are kept of one measurer and interval: two already cost it its vote.
const STATEMENTS_MAX: usize = 2;

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It counts.
    New,
    /// The record has it.
    Known,
    /// The measurer said something else of this interval before: neither counts, both are kept.
    Contradiction,
}

/// What is known of one interval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// By lane and digest.
    pub used: BTreeMap<(u32, Digest), CoSigned>,
    /// By measurer and digest.
    pub measured: BTreeMap<(Address, Digest), SignedSample>,
}

/// The signed samples of one agreement.
#[derive(Clone, Debug)]
pub struct Record {
    agreement: Agreement,
    client: Address,
    maintenance: Maintenance,
    /// Intervals of all periods together.
    count: u64,
    intervals: BTreeMap<u64, Interval>,
}

impl Record {
    /// An empty record. `client` signs the vouchers of the agreement's channel, and its samples.
    ///
    /// # Errors
    /// Terms that make no sense, or other windows than they name.
    pub fn new(
        agreement: Agreement,
        client: Address,
        maintenance: Maintenance,
    ) -> Result<Self, Error> {
        agreement.terms.check()?;
        maintenance.must_be_of(&agreement.terms)?;
        let count = agreement.terms.all_intervals()?;
        Ok(Self { agreement, client, maintenance, count, intervals: BTreeMap::new() })
    }

    /// The agreement.
    pub fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// The agreed windows.
    pub fn maintenance(&self) -> &Maintenance {
        &self.maintenance
    }

    /// Whose samples count as the client's.
    pub fn client(&self) -> Address {
        self.client
    }

    /// Takes a sample of the client that the exit has signed too.
    ///
    /// # Errors
    /// A sample of another agreement, of no interval, or not signed by both.
    pub fn add_used(&mut self, sample: CoSigned) -> Result<Fate, Error> {
        let (interval, digest) = self.check(&sample.sample)?;
        sample.verify(&self.agreement.domain, self.client, self.agreement.terms.operator)?;
        let used = &mut self.intervals.entry(interval).or_default().used;
        let key = (sample.sample.lane, digest);
        if used.contains_key(&key) {
            return Ok(Fate::Known);
        }
        if used.len() >= CLIENT_SAMPLES_MAX {
            return Err(Error::TooMany { interval, samples: used.len() });
        }
        used.insert(key, sample);
        Ok(Fate::New)
    }

    /// Takes a measurer's statement.
    ///
    /// # Errors
    /// A statement on another agreement, on no interval, or by nobody who may make one.
    pub fn add_measured(&mut self, statement: SignedSample) -> Result<Fate, Error> {
        let (interval, digest) = self.check(&statement.sample)?;
        let found = statement.recover(&self.agreement.domain)?;
        if !self.agreement.terms.measurers.contains(&found) {
            return Err(Error::NotAMeasurer { found });
        }
        let measured = &mut self.intervals.entry(interval).or_default().measured;
        if measured.contains_key(&(found, digest)) {
            return Ok(Fate::Known);
        }
        let said = measured.keys().filter(|(measurer, _)| *measurer == found).count();
        if said >= STATEMENTS_MAX {
            return Err(Error::TooMany { interval, samples: said });
        }
        measured.insert((found, digest), statement);
        Ok(if said == 0 { Fate::New } else { Fate::Contradiction })
    }

    /// What is known of an interval of the agreement.
    pub fn interval(&self, number: u64) -> Option<&Interval> {
        self.intervals.get(&number)
    }

    /// Intervals with samples among `numbers`, in order.
    pub fn intervals(
        &self,
        numbers: std::ops::Range<u64>,
    ) -> impl Iterator<Item = (u64, &Interval)> {
        self.intervals.range(numbers).map(|(number, interval)| (*number, interval))
    }

    /// The intervals of a period, counted from the agreement's start.
    ///
    /// # Errors
    /// If the agreement has no such period.
    pub fn numbers(&self, period: u32) -> Result<std::ops::Range<u64>, Error> {
        let terms = &self.agreement.terms;
        let lasts = terms.period(period)?;
        let at = |time_s: u64| (time_s - terms.start) / u64::from(terms.interval_s);
        Ok(at(lasts.begins)..at(lasts.ends))
    }

    /// When an interval begins, Unix time in seconds.
    pub fn begins(&self, number: u64) -> u64 {
        let terms = &self.agreement.terms;
        terms.start.saturating_add(number.saturating_mul(terms.interval_s.into()))
    }

    fn check(&self, sample: &weir_usage::Sample) -> Result<(u64, Digest), Error> {
        let expected = self.agreement.id();
        if sample.sla != expected {
            return Err(weir_usage::Error::OtherAgreement { expected, found: sample.sla }.into());
        }
        if sample.interval >= self.count {
            return Err(Error::NoSuchInterval { interval: sample.interval });
        }
        Ok((sample.interval, sample.digest(&self.agreement.domain)))
    }
}
