//! Days of samples: what client and exit both signed on a UTC day is anchored once it is over.
//!
//! A day is over when this host's clock and the chain's both say so, after the time for late
//! samples and a grace. From then on the desk signs none of that day, so the root is of all there
//! ever will be. It is journaled with its leaves and the intent as one unit; what was journaled
//! once is what is anchored, however often it has to be tried.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, warn};
use weir_sla::calendar::{DAY_S, date};
use weir_sla::{Record, daily};
use weir_usage::merkle::Anchor;
use weir_usage::{CoSigned, Digest, SlaId};

use super::Driver;
use super::contracts::{self, IUsageAnchor};
use super::plan::FAILURE_PAUSE;
use crate::config::{Config, Duties};
use crate::error::Error;
use crate::journal::entry::{Action, AnchorLeaf, AnchorLeaves, Item, SampleDay};
use crate::journal::scan;
use crate::service::{Loaded, STALE_MS};
use crate::storage::ReadOnly;

/// Days that are over for longer are left to `weir-settle sla day`: on a journal that is older than
/// this duty, the operator's timer has anchored them.
pub const DAYS_BACK: u64 = 31;
/// After the journal couldn't be read.
const READ_PAUSE: Duration = Duration::from_secs(60);

/// A day whose root was journaled; it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// Days since 1970, UTC.
    pub day: u64,
    /// The number it is anchored under.
    pub epoch: u64,
    /// The root.
    pub root: Digest,
    /// The sum under it, in bytes.
    #[serde(with = "crate::journal::entry::text")]
    pub total: u128,
    /// Whether the anchor is final.
    pub anchored: bool,
}

/// A day for everybody who only looks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DayView {
    /// The agreement.
    pub sla: String,
    /// The newest day whose root is journaled, such as 2026-11-22.
    pub day: String,
    /// Its root.
    pub root: String,
    /// Whether its anchor is final.
    pub anchored: bool,
}

/// What the driver knows of days beside what is journaled.
#[derive(Debug)]
pub(super) struct Days {
    duties: Duties,
    services: Vec<Loaded>,
    journal: PathBuf,
    /// By agreement, the last day that needs nothing: no samples, or anchored by somebody else.
    passed: BTreeMap<SlaId, u64>,
    reading: Option<JoinHandle<Result<Vec<Read>, Error>>>,
    failed: Option<(Instant, String)>,
    found: VecDeque<AnchorLeaves>,
    /// By agreement: the last day that can't be anchored, in words.
    conflicts: BTreeMap<SlaId, String>,
}

/// The days of an agreement that are to be looked at.
#[derive(Debug)]
struct Wanted {
    loaded: Loaded,
    first: u64,
    last: u64,
}

/// What the journal says of the first of them that has samples.
#[derive(Debug)]
struct Read {
    sla: SlaId,
    up_to: u64,
    found: Option<AnchorLeaves>,
}

impl Days {
    pub(super) fn new(config: &Config) -> Self {
        // Each was loaded at start, by the desk that signs its samples.
        let load = |service| Loaded::of(config, service).ok();
        Self {
            duties: config.duties.clone(),
            services: config.services.iter().filter_map(load).collect(),
            journal: config.journal.clone(),
            passed: BTreeMap::new(),
            reading: None,
            failed: None,
            found: VecDeque::new(),
            conflicts: BTreeMap::new(),
        }
    }

    fn due(&self, decided: &BTreeMap<SlaId, Decided>, now_s: u64) -> Vec<Wanted> {
        let wanted = |loaded: &Loaded| {
            let (sla, terms) = (loaded.agreement.id(), &loaded.agreement.terms);
            let late_s = u64::from(terms.interval_s) + STALE_MS / 1000;
            let late_s = late_s.saturating_add(self.duties.sample_day_grace.as_secs());
            let last = (now_s.checked_sub(late_s)? / DAY_S).checked_sub(1)?;
            let after = |day: Option<u64>| day.map_or(0, |day| day + 1);
            let first = (terms.start / DAY_S)
                .max((last + 1).saturating_sub(DAYS_BACK))
                .max(after(decided.get(&sla).map(|one| one.day)))
                .max(after(self.passed.get(&sla).copied()));
            (first <= last).then(|| Wanted { loaded: loaded.clone(), first, last })
        };
        self.services.iter().filter_map(wanted).collect()
    }

    fn pass(&mut self, sla: SlaId, day: u64) {
        let passed = self.passed.entry(sla).or_insert(day);
        *passed = (*passed).max(day);
    }

    /// Whether a journaled day still has to be sent.
    fn is_missing(&self, sla: &SlaId, one: &Decided) -> bool {
        !one.anchored && self.passed.get(sla).is_none_or(|day| *day < one.day)
    }
}

impl Driver {
    /// Anchors the first day that is over and isn't anchored; one at a time.
    pub(super) async fn plan_days(&mut self) -> Result<(), Error> {
        let under_way = |i: &super::outbox::Intent| matches!(i.action, Action::AnchorDay { .. });
        if !self.days.duties.sample_days
            || self.config.anchor.is_none()
            || self.is_paused("day", FAILURE_PAUSE)
            || self.past.outbox.open().any(under_way)
        {
            return Ok(());
        }
        // Journaled, and given up before it was signed, or pushed out by another's transaction.
        let missing = self.past.days.iter().find(|(sla, one)| self.days.is_missing(sla, one));
        if let Some((sla, one)) = missing.map(|(sla, one)| (*sla, *one)) {
            let anchor = Anchor { epoch: one.epoch, root: one.root, total: one.total };
            return self.anchor_day(SampleDay { sla, day: one.day }, anchor, None).await;
        }
        self.read_days().await?;
        let Some(leaves) = self.days.found.front().cloned() else { return Ok(()) };
        let Some(day) = leaves.day else { return Ok(()) };
        let anchor = Anchor { epoch: leaves.epoch, root: leaves.root, total: leaves.total };
        self.anchor_day(day, anchor, Some(leaves)).await
    }

    /// Has the journal read for days that are due, beside everything else: it may be long.
    async fn read_days(&mut self) -> Result<(), Error> {
        if !self.days.found.is_empty() {
            return Ok(());
        }
        if let Some(reading) = self.days.reading.take() {
            if !reading.is_finished() {
                self.days.reading = Some(reading);
                return Ok(());
            }
            let outcome = reading.await.unwrap_or(Err(Error::Stopping));
            match outcome {
                Ok(read) => {
                    self.days.failed = None;
                    for Read { sla, up_to, found } in read {
                        match found {
                            Some(found) => self.days.found.push_back(found),
                            None => self.days.pass(sla, up_to),
                        }
                    }
                }
                Err(e) => {
                    warn!("days of samples: {e}; tried again");
                    self.days.failed = Some((Instant::now(), e.to_string()));
                }
            }
            return Ok(());
        }
        if self.days.failed.as_ref().is_some_and(|(at, _)| at.elapsed() < READ_PAUSE) {
            return Ok(());
        }
        let now_s = (crate::now_ms() / 1000).min(self.chain.time);
        let wanted = self.days.due(&self.past.days, now_s);
        if wanted.is_empty() {
            return Ok(());
        }
        for one in &wanted {
            let sla = one.loaded.agreement.id();
            self.clerk.close_day(SampleDay { sla, day: one.last }).await?;
        }
        let journal = self.days.journal.clone();
        self.days.reading = Some(tokio::task::spawn_blocking(move || read(&journal, wanted)));
        Ok(())
    }

    /// Plans the anchor of a day, unless it is there or something else is.
    async fn anchor_day(
        &mut self,
        day: SampleDay,
        anchor: Anchor,
        leaves: Option<AnchorLeaves>,
    ) -> Result<(), Error> {
        let Some(contract) = self.config.anchor.map(contracts::address) else { return Ok(()) };
        let Anchor { epoch, root, total } = anchor;
        let (own, wanted) = (self.address(), contracts::commitment(&root, total));
        let others = self.days.duties.samples_account.map(contracts::address);
        for exit in [Some(own), others].into_iter().flatten() {
            let call = IUsageAnchor::commitmentsCall { exit, epoch };
            let held = self.rpc.view(contract, call).await?;
            if held.is_zero() || (held == wanted && exit == own) {
                // Repeating an own anchor changes nothing, and then the journal has it.
                continue;
            }
            if held != wanted {
                let words = format!(
                    "{exit} has anchored another root for the samples of {} under agreement {}; \
                     the journal's is {root}. Was a journal lost?",
                    date(day.day * DAY_S),
                    day.sla
                );
                error!("{words}");
                self.days.conflicts.insert(day.sla, words);
            }
            self.days.pass(day.sla, day.day);
            self.days.found.pop_front();
            return Ok(());
        }
        if !self.is_affordable("day", true) {
            return Ok(());
        }
        let action = Action::AnchorDay { sla: day.sla, day: day.day, epoch, root, total };
        let is_new = leaves.is_some();
        self.intend(vec![action], leaves.into_iter().map(Item::Anchor).collect()).await?;
        if is_new {
            self.days.found.pop_front();
        }
        Ok(())
    }

    pub(super) fn days_view(&self) -> Vec<DayView> {
        let view = |(sla, one): (&SlaId, &Decided)| DayView {
            sla: sla.to_string(),
            day: date(one.day * DAY_S),
            root: one.root.to_string(),
            anchored: one.anchored,
        };
        self.past.days.iter().map(view).collect()
    }

    /// What keeps days from being anchored, in words.
    pub(super) fn days_trouble(&self) -> Vec<String> {
        let failed = self.days.failed.iter();
        let failed = failed.map(|(_, words)| format!("days of samples can't be read: {words}"));
        self.days.conflicts.values().cloned().chain(failed).collect()
    }

    /// Days with a root that isn't anchored.
    pub(super) fn days_pending(&self) -> usize {
        let days = &self.days;
        let decided = self.past.days.values().filter(|one| !one.anchored).count();
        days.found.len() + decided
    }
}

/// For each agreement the first wanted day that has samples, and its root.
fn read(journal: &Path, wanted: Vec<Wanted>) -> Result<Vec<Read>, Error> {
    // One day of each is held at a time; samples come nearly in order.
    let mut days: Vec<Option<(u64, Vec<CoSigned>)>> = wanted.iter().map(|_| None).collect();
    let names: Vec<SlaId> = wanted.iter().map(|one| one.loaded.agreement.id()).collect();
    scan(&ReadOnly::open(journal)?, |_, _, entry| {
        let Item::Sample(sample) = entry.item else { return Ok(()) };
        let Some(index) = names.iter().position(|sla| *sla == sample.sample.sla) else {
            return Ok(());
        };
        let terms = &wanted[index].loaded.agreement.terms;
        let after_s = sample.sample.interval.saturating_mul(terms.interval_s.into());
        let day = terms.start.saturating_add(after_s) / DAY_S;
        if !(wanted[index].first..=wanted[index].last).contains(&day) {
            return Ok(());
        }
        match &mut days[index] {
            Some((held, samples)) if *held == day => samples.push(*sample),
            Some((held, _)) if *held < day => {}
            slot => *slot = Some((day, vec![*sample])),
        }
        Ok(())
    })?;
    let mut all = Vec::with_capacity(wanted.len());
    for (one, day) in wanted.into_iter().zip(days) {
        let sla = one.loaded.agreement.id();
        all.push(match day {
            None => Read { sla, up_to: one.last, found: None },
            Some((day, samples)) => root_of(one.loaded, sla, day, samples)?,
        });
    }
    Ok(all)
}

fn root_of(loaded: Loaded, sla: SlaId, day: u64, samples: Vec<CoSigned>) -> Result<Read, Error> {
    let Loaded { agreement, maintenance, client } = loaded;
    let channel = agreement.terms.channel;
    let mut record = Record::new(agreement, client, maintenance)?;
    for sample in samples {
        if let Err(e) = record.add_used(sample) {
            warn!(%sla, interval = sample.sample.interval, "a sample is left out of its day: {e}");
        }
    }
    let (hours, Anchor { epoch, root, total }) = daily(&record, day)?;
    let leaf = |hour: &weir_sla::HourRoot| AnchorLeaf {
        channel,
        lane: u32::try_from(hour.hour).unwrap_or(u32::MAX),
        hash: hour.leaf().hash,
        sum: hour.leaf().sum,
    };
    let leaves: Vec<AnchorLeaf> = hours.iter().map(leaf).collect();
    let is_empty = leaves.is_empty();
    let found = AnchorLeaves { epoch, root, total, leaves, day: Some(SampleDay { sla, day }) };
    Ok(Read { sla, up_to: day, found: (!is_empty).then_some(found) })
}
