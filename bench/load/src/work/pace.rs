//! An open loop's clock.

use std::time::{Duration, Instant};

/// Datagram `n` is due `n / rate` seconds after the start, whatever became of those before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pacer {
    start: Instant,
    interval_ns: f64,
    next: u64,
}

impl Pacer {
    /// # Panics
    /// If `per_second` isn't above 0.
    pub(crate) fn new(start: Instant, per_second: f64) -> Pacer {
        assert!(per_second > 0.0, "a rate of {per_second}");
        Pacer { start, interval_ns: 1e9 / per_second, next: 0 }
    }

    /// When the next datagram is due.
    pub(crate) fn due(&self) -> Instant {
        self.start + Duration::from_nanos((self.next as f64 * self.interval_ns) as u64)
    }

    /// Gives up what is due longer than `late`, and returns how many those are.
    pub(crate) fn skip(&mut self, now: Instant, late: Duration) -> u64 {
        let since_start = now.saturating_duration_since(self.start).saturating_sub(late);
        let first = (since_start.as_nanos() as f64 / self.interval_ns) as u64;
        let skipped = first.saturating_sub(self.next);
        self.next += skipped;
        skipped
    }

    /// The next datagram is sent, or given up.
    pub(crate) fn advance(&mut self) {
        self.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_times_do_not_drift() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start, 3.0);
        for _ in 0..3_000_000 {
            pacer.advance();
        }
        let after = pacer.due() - start;
        assert!((after.as_secs_f64() - 1e6).abs() < 1e-6, "{after:?}");
    }

    #[test]
    fn what_is_too_late_is_given_up() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start, 1000.0);
        let late = Duration::from_millis(2);
        assert_eq!(pacer.skip(start + late, late), 0);
        assert_eq!(pacer.skip(start + Duration::from_millis(10), late), 8);
        assert_eq!(pacer.due(), start + Duration::from_millis(8));
        assert_eq!(pacer.skip(start + Duration::from_millis(9), late), 0, "never back");
    }

    #[test]
    fn lateness_of_one_does_not_move_the_next() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start, 1000.0);
        assert_eq!(pacer.due(), start);
        pacer.advance();
        assert_eq!(pacer.due(), start + Duration::from_millis(1));
        // However late this one is sent, the next is due at its own time.
        pacer.advance();
        assert_eq!(pacer.due(), start + Duration::from_millis(2));
    }
}
