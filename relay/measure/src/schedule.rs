//! What happens when within an interval. No clock.

use std::time::Duration;

/// Shorter intervals have no room for a second of traffic beside the rest.
pub(crate) const INTERVAL_S_MIN: u32 = 3;
/// A download that takes longer than this doesn't show the committed rate any more.
const BURST_MAX: Duration = Duration::from_secs(20);

/// Moments and lengths, from the interval's first moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// The download begins at some moment up to here.
    pub(crate) burst_by: Duration,
    /// It is broken off after so long.
    pub(crate) burst_max: Duration,
    /// No probe is sent from here on: its answer could not be waited for.
    pub(crate) send_until: Duration,
    /// A probe that isn't answered after so long is lost.
    pub(crate) answer_max: Duration,
    /// Everything is over; the rest of the interval is for signing and writing.
    pub(crate) ends: Duration,
    /// From one probe to the next.
    pub(crate) spacing: Duration,
}

impl Schedule {
    /// For an interval of so many seconds, at least [`INTERVAL_S_MIN`], with so many probes.
    pub(crate) fn new(interval_s: u32, probes: u32) -> Schedule {
        let interval = Duration::from_secs(interval_s.into());
        let between = |part: u32, least: u64, most: u64| {
            (interval / part).clamp(Duration::from_millis(least), Duration::from_millis(most))
        };
        let ends = interval - between(10, 300, 1_000);
        let answer_max = between(6, 500, 2_000);
        let send_until = ends - answer_max;
        Schedule {
            burst_by: ends / 8,
            burst_max: (ends / 4 * 3).min(BURST_MAX),
            send_until,
            answer_max,
            ends,
            spacing: send_until / probes.max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_its_time_in_every_interval() {
        for interval_s in [3, 4, 5, 10, 60, 3_600] {
            let schedule = Schedule::new(interval_s, 600);
            let interval = Duration::from_secs(interval_s.into());
            let Schedule { burst_by, burst_max, send_until, answer_max, ends, .. } = schedule;
            assert!(burst_by + burst_max < ends && ends < interval, "{schedule:?}");
            assert_eq!(send_until + answer_max, ends);
            // At the committed rate, 1.1 seconds of it have to fit.
            assert!(burst_max > Duration::from_millis(1_500), "{schedule:?}");
            assert!(send_until > ends / 2 && schedule.spacing * 600 <= send_until);
        }
    }
}
