//! What buyers know how to read.

use serde::{Deserialize, Serialize};

use crate::{Error, Judged, Judgement, Record};

/// Bandwidth is sampled in steps of five minutes, as transit is billed.
const STEP_S: u64 = 300;

/// One period in numbers. Samples of the client where it signed any; measurers' words count only
/// for verdicts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Intervals of the period.
    pub intervals: u64,
    /// Intervals that met the terms.
    pub good: u32,
    /// Intervals that didn't.
    pub bad: u32,
    /// Draws.
    pub unknown: u32,
    /// Not bad, in parts per million of all intervals, rounded down: what credits go by.
    pub availability_ppm: u32,
    /// Good, in parts per million of those that were good or bad; all of them if none was.
    pub judged_availability_ppm: u32,
    /// 95th percentile of the five-minute means from clients to targets, in kbit/s.
    pub up_p95_kbps: u64,
    /// The same from targets to clients.
    pub down_p95_kbps: u64,
    /// The higher of the two.
    pub p95_kbps: u64,
    /// The most in any second and direction, in kbit/s.
    pub peak_kbps: u64,
    /// Median of the intervals' medians, in microseconds.
    pub rtt_p50_us: u32,
    /// 95th percentile of the intervals' 95th percentiles, in microseconds.
    pub rtt_p95_us: u32,
    /// Parts per million, intervals weighted by their number of round trips.
    pub loss_ppm: u32,
    /// Payload bytes from clients to targets.
    pub up_bytes: u64,
    /// Payload bytes from targets to clients.
    pub down_bytes: u64,
}

impl Figures {
    /// The figures of a judged period.
    ///
    /// # Errors
    /// If the agreement has no such period.
    pub fn of(record: &Record, judgement: &Judgement) -> Result<Self, Error> {
        let terms = &record.agreement().terms;
        let lasts = terms.period(judgement.period)?;
        // Intervals longer than a step are steps of their own.
        let step_s = STEP_S.max(terms.interval_s.into());
        let steps = (lasts.ends - lasts.begins).div_ceil(step_s) as usize;
        let (mut up, mut down) = (vec![0_u64; steps], vec![0_u64; steps]);
        let (mut p50, mut p95) = (Vec::new(), Vec::new());
        let (mut lost, mut sent) = (0_u128, 0_u128);
        let mut figures = Self::counted(judgement);
        for (number, interval) in record.intervals(record.numbers(judgement.period)?) {
            let step = ((record.begins(number) - lasts.begins) / step_s) as usize;
            for sample in interval.used.values().map(|used| &used.sample) {
                up[step] = up[step].saturating_add(sample.up_bytes);
                down[step] = down[step].saturating_add(sample.down_bytes);
                figures.up_bytes = figures.up_bytes.saturating_add(sample.up_bytes);
                figures.down_bytes = figures.down_bytes.saturating_add(sample.down_bytes);
                figures.peak_kbps = figures.peak_kbps.max(sample.tput_1s_max_kbps);
                if sample.n > 0 {
                    p50.push(sample.rtt_p50_us);
                    p95.push(sample.rtt_p95_us);
                    lost += u128::from(sample.loss_ppm) * u128::from(sample.n);
                    sent += u128::from(sample.n);
                }
            }
        }
        let kbps = |bytes: u64| (u128::from(bytes) * 8 / 1000 / u128::from(step_s)) as u64;
        figures.up_p95_kbps = kbps(percentile(&mut up, 95));
        figures.down_p95_kbps = kbps(percentile(&mut down, 95));
        figures.p95_kbps = figures.up_p95_kbps.max(figures.down_p95_kbps);
        figures.rtt_p50_us = percentile(&mut p50, 50);
        figures.rtt_p95_us = percentile(&mut p95, 95);
        // A mean of values of 32 bits.
        figures.loss_ppm = lost.checked_div(sent).unwrap_or(0) as u32;
        Ok(figures)
    }

    fn counted(judgement: &Judgement) -> Self {
        let (good, bad) = (judgement.count(Judged::Good), judgement.count(Judged::Bad));
        let intervals = judgement.intervals.len() as u64;
        Self {
            intervals,
            good,
            bad,
            unknown: judgement.count(Judged::Unknown),
            availability_ppm: ppm(intervals - u64::from(bad), intervals),
            judged_availability_ppm: ppm(good.into(), u64::from(good) + u64::from(bad)),
            ..Self::default()
        }
    }
}

/// The smallest value that at least `percent` of all are not above (nearest rank); the default of
/// none. Sorts the values.
pub fn percentile<T: Copy + Ord + Default>(values: &mut [T], percent: usize) -> T {
    values.sort_unstable();
    let rank = (values.len() * percent.min(100)).div_ceil(100);
    values.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// Rounded down; everything of nothing.
fn ppm(part: u64, whole: u64) -> u32 {
    match whole {
        0 => 1_000_000,
        // The part is at most the whole.
        _ => (u128::from(part) * 1_000_000 / u128::from(whole)) as u32,
    }
}
