//! From readings to the figures of an interval. No I/O, no clock.

use std::collections::{BTreeMap, VecDeque};

use weir_usage::{Sample, SlaId};

/// Readings of an hour, ten a second, of two connections: bounds the memory of a long interval.
const RTTS_MAX: usize = 72_000;
/// Readings that may lie within a second: ten, and some that come late.
const MARKS_MAX: usize = 64;
const SECOND_MS: u64 = 1_000;

/// What a connection says of its path, cumulative but for the RTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Tells the connections apart.
    pub(super) connection: usize,
    pub(super) rtt_us: u32,
    pub(super) sent_packets: u64,
    pub(super) lost_packets: u64,
    /// UDP datagrams that came from the relay.
    pub(super) received: u64,
}

/// One interval, while it lasts.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    first: Option<(u64, u64)>,
    last: (u64, u64),
    marks: VecDeque<(u64, u64, u64)>,
    paths: BTreeMap<usize, Reading>,
    rtts: Vec<u32>,
    sent: u64,
    lost: u64,
    peak_kbps: u64,
}

impl Gauge {
    /// Takes a look: the time in milliseconds, payload bytes up and down since ever, and the paths.
    pub(super) fn look(&mut self, at_ms: u64, bytes: (u64, u64), paths: &[Reading]) {
        self.first.get_or_insert(bytes);
        self.last = bytes;
        self.marks.push_back((at_ms, bytes.0, bytes.1));
        // The oldest mark of this second, and none before it.
        while self.marks.len() > MARKS_MAX
            || self.marks.get(1).is_some_and(|mark| mark.0 + SECOND_MS <= at_ms)
        {
            self.marks.pop_front();
        }
        if let Some(&(since_ms, up, down)) = self.marks.front() {
            let most = (bytes.0 - up).max(bytes.1 - down);
            // Less than a second counts as one: nobody sends faster by looking away.
            self.peak_kbps = self.peak_kbps.max(most * 8 / (at_ms - since_ms).max(SECOND_MS));
        }
        for path in paths {
            // What a connection did before this interval isn't the interval's.
            let before = self.paths.insert(path.connection, *path).unwrap_or(*path);
            self.sent += path.sent_packets.saturating_sub(before.sent_packets);
            self.lost += path.lost_packets.saturating_sub(before.lost_packets);
            // Without an answer, the RTT is an old one.
            if path.received > before.received && self.rtts.len() < RTTS_MAX {
                self.rtts.push(path.rtt_us);
            }
        }
    }

    /// The interval as it is signed; `None` if nothing was sent and nothing came.
    pub(super) fn sample(mut self, sla: SlaId, lane: u32, interval: u64) -> Option<Sample> {
        let first = self.first?;
        let (up_bytes, down_bytes) = (self.last.0 - first.0, self.last.1 - first.1);
        if self.rtts.is_empty() && (up_bytes, down_bytes) == (0, 0) {
            return None;
        }
        self.rtts.sort_unstable();
        let rank = |percent: usize| {
            let rank = (self.rtts.len() * percent).div_ceil(100);
            self.rtts.get(rank.saturating_sub(1)).copied().unwrap_or(0)
        };
        let lost = u128::from(self.lost.min(self.sent)) * 1_000_000;
        Some(Sample {
            sla,
            lane,
            interval,
            up_bytes,
            down_bytes,
            rtt_p50_us: rank(50),
            rtt_p95_us: rank(95),
            // At most a million.
            loss_ppm: lost.checked_div(self.sent.into()).unwrap_or(0) as u32,
            tput_1s_max_kbps: self.peak_kbps,
            // At most RTTS_MAX.
            n: self.rtts.len() as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(rtt_us: u32, sent_packets: u64, lost_packets: u64, received: u64) -> Reading {
        Reading { connection: 1, rtt_us, sent_packets, lost_packets, received }
    }

    fn sample(gauge: Gauge) -> Option<Sample> {
        gauge.sample(SlaId::ZERO, 3, 9)
    }

    #[test]
    fn an_interval_is_what_happened_in_it() {
        let mut gauge = Gauge::default();
        // 100 packets, 10 lost and 50 received before: not of this interval.
        for tick in 0..=20_u64 {
            let path = reading(1_000 + tick as u32, 100 + 10 * tick, 10 + tick / 10, 50 + tick);
            // 1 MB in each tenth of the second second.
            let down = 7 + 1_000_000 * tick.saturating_sub(10);
            gauge.look(5_000 + 100 * tick, (3, down), &[path]);
        }
        let sample = sample(gauge).unwrap();
        assert_eq!((sample.lane, sample.interval), (3, 9));
        assert_eq!((sample.up_bytes, sample.down_bytes), (0, 10_000_000));
        assert_eq!(sample.tput_1s_max_kbps, 80_000);
        assert_eq!((sample.rtt_p50_us, sample.rtt_p95_us, sample.n), (1_010, 1_019, 20));
        assert_eq!(sample.loss_ppm, 10_000);
    }

    #[test]
    fn an_old_rtt_is_none_and_silence_is_no_sample() {
        let mut gauge = Gauge::default();
        for tick in 0..10 {
            gauge.look(100 * tick, (5, 5), &[reading(9, tick, 0, 4)]);
        }
        assert_eq!(sample(gauge), None);
        assert_eq!(sample(Gauge::default()), None);
        // Sent, and nothing came back.
        let mut gauge = Gauge::default();
        gauge.look(0, (0, 0), &[reading(9, 0, 0, 4)]);
        gauge.look(100, (5, 0), &[reading(9, 2, 2, 4)]);
        let sample = sample(gauge).unwrap();
        assert_eq!((sample.n, sample.rtt_p95_us, sample.loss_ppm), (0, 0, 1_000_000));
    }

    #[test]
    fn a_burst_between_two_looks_is_no_more_than_its_bytes() {
        let mut gauge = Gauge::default();
        gauge.look(0, (0, 0), &[]);
        gauge.look(1, (1_000, 0), &[]);
        assert_eq!(sample(gauge).unwrap().tput_1s_max_kbps, 8);
        let mut gauge = Gauge::default();
        // The host slept for ten seconds.
        gauge.look(0, (0, 0), &[]);
        gauge.look(10_000, (100_000, 0), &[]);
        assert_eq!(sample(gauge).unwrap().tput_1s_max_kbps, 80);
    }
}
