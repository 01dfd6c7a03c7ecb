//! From what came back to the figures of an interval. No I/O, no clock.

use std::collections::VecDeque;

use weir_usage::{Sample, SlaId};

const SECOND_MS: u64 = 1_000;
/// Reads that are closer together than this are one mark: bounds the marks of a second.
const STEP_MS: u64 = 10;

/// What one reference answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    pub(crate) sent: u64,
    /// Microseconds, one for each answer.
    pub(crate) rtts_us: Vec<u32>,
}

/// The most that came in any second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peak {
    /// Milliseconds and bytes since the beginning.
    marks: VecDeque<(u64, u64)>,
    kbps: u64,
}

impl Peak {
    /// So many bytes had come in all at this time.
    pub(crate) fn look(&mut self, at_ms: u64, bytes: u64) {
        if self.marks.is_empty() {
            self.marks.push_back((at_ms, 0));
        }
        while self.marks.get(1).is_some_and(|mark| mark.0 + SECOND_MS <= at_ms) {
            self.marks.pop_front();
        }
        if let Some(&(since_ms, before)) = self.marks.front() {
            // Less than a second counts as one: a short burst is no rate.
            let lasted_ms = at_ms.saturating_sub(since_ms).max(SECOND_MS);
            self.kbps = self.kbps.max(bytes.saturating_sub(before) * 8 / lasted_ms);
        }
        match self.marks.back() {
            Some(last) if self.marks.len() > 1 && at_ms < last.0 + STEP_MS => {}
            _ => self.marks.push_back((at_ms, bytes)),
        }
    }

    pub(crate) fn kbps(&self) -> u64 {
        self.kbps
    }
}

/// The interval as it is signed. A reference that answered nothing while another one answered is
/// left out: it is down itself, or its operator has changed his mind.
pub(crate) fn sample(
    sla: SlaId,
    lane: u32,
    interval: u64,
    bytes: (u64, u64),
    references: &[Answers],
    peak_kbps: u64,
) -> Sample {
    let answered = references.iter().any(|one| !one.rtts_us.is_empty());
    let counts = || references.iter().filter(|one| !answered || !one.rtts_us.is_empty());
    let mut rtts: Vec<u32> = counts().flat_map(|one| one.rtts_us.iter().copied()).collect();
    let (sent, n) = (counts().map(|one| one.sent).sum::<u64>(), rtts.len() as u64);
    let lost = u128::from(sent.saturating_sub(n)) * 1_000_000;
    Sample {
        sla,
        lane,
        interval,
        up_bytes: bytes.0,
        down_bytes: bytes.1,
        rtt_p50_us: weir_sla::percentile(&mut rtts, 50),
        rtt_p95_us: weir_sla::percentile(&mut rtts, 95),
        // At most a million.
        loss_ppm: lost.checked_div(sent.into()).unwrap_or(0) as u32,
        tput_1s_max_kbps: peak_kbps,
        n: u32::try_from(n).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_figures() {
        let all = |sent, rtts_us: &[u32]| Answers { sent, rtts_us: rtts_us.to_vec() };
        let of = |references: &[Answers]| sample(SlaId::ZERO, 3, 9, (5, 6), references, 7);
        let figures = of(&[all(10, &[5, 1, 3]), all(10, &[2, 4, 9, 9, 9])]);
        assert_eq!((figures.lane, figures.interval, figures.up_bytes), (3, 9, 5));
        assert_eq!((figures.n, figures.loss_ppm), (8, 600_000));
        assert_eq!((figures.rtt_p50_us, figures.rtt_p95_us), (4, 9));
        // One that is dead by itself is nobody's fault; if all are silent, the exit is.
        let figures = of(&[all(10, &[]), all(10, &[5; 10])]);
        assert_eq!((figures.n, figures.loss_ppm), (10, 0));
        let figures = of(&[all(10, &[]), all(10, &[])]);
        assert_eq!((figures.n, figures.loss_ppm, figures.rtt_p95_us), (0, 1_000_000, 0));
        assert_eq!(of(&[]).n, 0);
    }

    #[test]
    fn the_peak_is_of_a_whole_second() {
        let mut peak = Peak::default();
        peak.look(100, 0);
        peak.look(101, 1_000_000);
        assert_eq!(peak.kbps(), 8_000);
        // One megabyte a second, in steps of a tenth.
        let mut peak = Peak::default();
        for tick in 0..=50 {
            peak.look(100 * tick, 100_000 * tick);
        }
        assert_eq!(peak.kbps(), 8_000);
        assert!(peak.marks.len() <= 12, "{}", peak.marks.len());
        // Where no look falls on the second's beginning, it begins at the look before that.
        peak.look(6_000, 5_000_000);
        peak.look(6_500, 7_500_000);
        assert_eq!(peak.kbps(), 2_500_000 * 8 / 1_500);
    }

    #[test]
    fn a_thousand_reads_of_a_moment_are_few_marks() {
        let mut peak = Peak::default();
        for read in 0..10_000 {
            peak.look(read / 5, read * 1_000);
        }
        assert!(peak.marks.len() <= 102, "{}", peak.marks.len());
        assert!((40_000..40_100).contains(&peak.kbps()), "{}", peak.kbps());
    }
}
