//! What the relay counted on a lane, for the last quarter of an hour.

use std::collections::VecDeque;

use weir_usage::{Sample, SampleRefusal};

use super::{SLACK_BYTES, SLACK_MS, SLACK_PERCENT, STALE_MS};

/// Points closer than that are one: the relay reports five times a second and tunnel.
const STEP_MS_MIN: u64 = 200;
/// Points of an interval, where it is long.
const STEPS_PER_INTERVAL: u64 = 240;
/// Half an hour in intervals of a minute, and more.
const POINTS_MAX: usize = 8_192;

/// Cumulative bytes over time.
#[derive(Debug)]
pub(super) struct Counts {
    /// Time, up and down, oldest first.
    points: VecDeque<(u64, u64, u64)>,
    step_ms: u64,
    keep_ms: u64,
}

impl Counts {
    pub(super) fn new(interval_ms: u64, at_ms: u64, up_bytes: u64, down_bytes: u64) -> Self {
        Self {
            points: VecDeque::from([(at_ms, up_bytes, down_bytes)]),
            step_ms: STEP_MS_MIN.max(interval_ms / STEPS_PER_INTERVAL),
            keep_ms: 2 * STALE_MS + interval_ms,
        }
    }

    pub(super) fn push(&mut self, at_ms: u64, up_bytes: u64, down_bytes: u64) {
        // The first point stays what it is: nothing is known of the time before it.
        let others = self.points.len() > 1;
        let step = |at_ms: u64| at_ms / self.step_ms;
        match self.points.back_mut() {
            // A record of another tunnel may be of an earlier moment: the totals count from the
            // latest.
            Some(last) if others && step(at_ms) <= step(last.0) => {
                *last = (last.0.max(at_ms), up_bytes, down_bytes);
            }
            Some(last) => {
                let at_ms = at_ms.max(last.0);
                self.points.push_back((at_ms, up_bytes, down_bytes));
            }
            None => self.points.push_back((at_ms, up_bytes, down_bytes)),
        }
        let newest = self.points.back().map_or(0, |last| last.0);
        // Two points are needed for the oldest interval: one before it, and one that is younger.
        while self.points.len() > POINTS_MAX
            || self.points.get(1).is_some_and(|p| p.0 + self.keep_ms < newest)
        {
            self.points.pop_front();
        }
    }

    /// Whether the sample's bytes can be those of the interval.
    pub(super) fn compare(
        &self,
        sample: &Sample,
        begins_ms: u64,
        ends_ms: u64,
    ) -> Result<(), (SampleRefusal, String)> {
        let first = self.points.front().map_or(u64::MAX, |point| point.0);
        if begins_ms < first {
            let reason = "the exit has no counts of that time; it was started later".to_owned();
            return Err((SampleRefusal::Stale, reason));
        }
        let outer = (
            self.at(begins_ms.saturating_sub(SLACK_MS)),
            self.at(ends_ms.saturating_add(SLACK_MS)),
        );
        let inner = (
            self.at(begins_ms.saturating_add(SLACK_MS)),
            self.at(ends_ms.saturating_sub(SLACK_MS)),
        );
        let directions = [
            ("up", sample.up_bytes, outer.1.0 - outer.0.0, inner.1.0.saturating_sub(inner.0.0)),
            ("down", sample.down_bytes, outer.1.1 - outer.0.1, inner.1.1.saturating_sub(inner.0.1)),
        ];
        for (direction, said, most, least) in directions {
            let most_allowed = most.saturating_add(most / 100 * SLACK_PERCENT + SLACK_BYTES);
            let least_allowed = least.saturating_sub(least / 100 * SLACK_PERCENT + SLACK_BYTES);
            if !(least_allowed..=most_allowed).contains(&said) {
                return Err((
                    SampleRefusal::Bytes,
                    format!(
                        "the sample says {said} bytes {direction}, the exit counted between \
                         {least} and {most}"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The totals at a time; the first known ones for any time before.
    fn at(&self, at_ms: u64) -> (u64, u64) {
        let after = self.points.partition_point(|point| point.0 <= at_ms);
        let point = self.points.get(after.saturating_sub(1)).copied().unwrap_or_default();
        (point.1, point.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(up_bytes: u64, down_bytes: u64) -> Sample {
        Sample {
            sla: weir_usage::SlaId::ZERO,
            lane: 0,
            interval: 0,
            up_bytes,
            down_bytes,
            rtt_p50_us: 0,
            rtt_p95_us: 0,
            loss_ppm: 0,
            tput_1s_max_kbps: 0,
            n: 0,
        }
    }

    /// 100 MB a second up from second 100 on, reported every 200 ms.
    fn counts() -> Counts {
        let mut counts = Counts::new(60_000, 100_000, 7, 9);
        for step in 1..=5 * 120 {
            counts.push(100_000 + 200 * step, 7 + 20_000_000 * step, 9);
        }
        counts
    }

    #[test]
    fn what_was_counted_is_signed_for_and_nothing_else() {
        let counts = counts();
        let verdict = |up, down| counts.compare(&sample(up, down), 120_000, 180_000);
        // 6 GB; the clocks may be 2 s apart at both ends.
        for up in [5_600_000_000, 6_000_000_000, 6_400_000_000] {
            assert_eq!(verdict(up, 0), Ok(()), "{up}");
        }
        for (up, down) in [(5_500_000_000, 0), (6_500_000_000, 0), (6_000_000_000, 5_000_000)] {
            assert_eq!(verdict(up, down).unwrap_err().0, SampleRefusal::Bytes, "{up} {down}");
        }
        let before = counts.compare(&sample(0, 0), 99_999, 110_000).unwrap_err();
        assert_eq!(before.0, SampleRefusal::Stale);
    }

    #[test]
    fn memory_is_bounded_by_time_and_by_number() {
        let mut counts = Counts::new(60_000, 0, 0, 0);
        for step in 0..100_000 {
            counts.push(step * 50, step, step);
        }
        assert!(counts.points.len() <= POINTS_MAX, "{}", counts.points.len());
        let mut counts = Counts::new(60_000, 0, 0, 0);
        for hour in 0..1_000 {
            counts.push(hour * 3_600_000, hour, hour);
        }
        assert!(counts.points.len() <= 3, "{}", counts.points.len());
    }
}
