//! Polling for a moment before sleeping.
//!
//! Waking a sleeping thread takes some microseconds, in a virtual machine up to a hundred, and the
//! sender pays for the wake-up too. So a worker whose next packet is near looks for it instead of
//! sleeping. It does so only while that has a prospect:
//!
//! - something was received in the last turn;
//! - turns are short ([`LONG_TURN`]): where a turn has much to do, waking up costs little beside it
//!   and looking would only take CPU time;
//! - looking was not in vain for [`MISSES`] times in a row. Then it rests, longer each time. So
//!   sparse traffic costs at most `longest` per [`REST_MAX`], and no traffic nothing.

use std::time::{Duration, Instant};

/// Work of a turn beyond which its worker sleeps without looking: about what a wake-up takes.
const LONG_TURN: Duration = Duration::from_micros(40);
/// Looks in vain before a rest. Packets that come at random at four times the rate of `longest`
/// cause as many in a row about once in 10,000,000 turns.
const MISSES: u32 = 4;
/// The first rest, and the longest: what a burst after silence may have to wait for low latency.
const REST_MIN: Duration = Duration::from_millis(1);
const REST_MAX: Duration = Duration::from_millis(64);

/// When to poll, and for how long.
#[derive(Debug)]
pub(crate) struct Spin {
    longest: Duration,
    /// Bytes that the worker has received in all, as of the last turn.
    received: u64,
    /// The last turn received something.
    is_fresh: bool,
    /// When the last turn woke up, and the running mean of the work done until the next wait.
    woke: Option<Instant>,
    work: Duration,
    misses: u32,
    rest: Duration,
    rests_until: Option<Instant>,
}

impl Spin {
    /// Polls for at most `longest` at a time; zero turns it off.
    pub(crate) fn new(longest: Duration) -> Spin {
        Spin {
            longest,
            received: 0,
            is_fresh: false,
            woke: None,
            work: Duration::ZERO,
            misses: 0,
            rest: REST_MIN,
            rests_until: None,
        }
    }

    /// A turn begins with nothing to do: how long to poll. `None`: sleep at once.
    pub(crate) fn until(&mut self, now: Instant) -> Option<Instant> {
        if let Some(woke) = self.woke.take() {
            self.work = (self.work * 3 + now.saturating_duration_since(woke)) / 4;
        }
        let rests = self.rests_until.is_some_and(|until| now < until);
        let has_prospect = self.is_fresh && self.work <= LONG_TURN && !rests;
        (has_prospect && !self.longest.is_zero()).then(|| now + self.longest)
    }

    /// Polling found something before it had to end.
    pub(crate) fn hit(&mut self) {
        self.misses = 0;
        self.rest = REST_MIN;
    }

    /// Polling ended in vain.
    pub(crate) fn miss(&mut self, now: Instant) {
        self.misses += 1;
        if self.misses >= MISSES {
            self.rests_until = Some(now + self.rest);
            self.rest = (self.rest * 2).min(REST_MAX);
            // After a rest a single look has to tell.
            self.misses = MISSES - 1;
        }
    }

    /// The turn woke up at `now` and was handed what had come; `received` bytes in all so far.
    pub(crate) fn woke(&mut self, now: Instant, received: u64) {
        self.is_fresh = false;
        self.woke = Some(now);
        self.received(received);
    }

    /// More may have come since, from elsewhere than the backend's own sockets.
    pub(crate) fn received(&mut self, received: u64) {
        self.is_fresh |= received != self.received;
        self.received = received;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_micros(50);

    fn micros(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    /// A worker whose packets come every `gap`, with `work` per turn, over `turns`. Returns the
    /// share of the waiting time that was spent polling, in percent.
    fn share(gap: Duration, work: Duration, turns: u64) -> u128 {
        let mut spin = Spin::new(LONGEST);
        let (mut now, mut polled, mut waited) = (Instant::now(), Duration::ZERO, Duration::ZERO);
        for turn in 1..=turns {
            spin.woke(now, turn);
            now += work;
            let packet = now + gap;
            if let Some(until) = spin.until(now) {
                polled += until.min(packet) - now;
                if packet <= until { spin.hit() } else { spin.miss(until) }
            }
            waited += gap;
            now = packet;
        }
        polled.as_nanos() * 100 / waited.as_nanos()
    }

    #[test]
    fn near_packets_are_looked_for_and_far_ones_are_not() {
        assert_eq!(share(micros(20), micros(5), 1000), 100);
        assert!(share(micros(200), micros(5), 1000) <= 1);
        assert_eq!(share(Duration::from_millis(5), micros(5), 1000), 0);
    }

    #[test]
    fn long_turns_go_without() {
        assert!(share(micros(20), micros(200), 1000) <= 1);
    }

    #[test]
    fn only_what_was_received_is_a_reason() {
        let mut spin = Spin::new(LONGEST);
        let now = Instant::now();
        spin.woke(now, 100);
        assert_eq!(spin.until(now), Some(now + LONGEST));
        spin.woke(now, 100);
        assert_eq!(spin.until(now), None, "a timer, or a waker");
        spin.woke(now, 101);
        assert!(spin.until(now).is_some());
        assert_eq!(Spin::new(Duration::ZERO).until(now), None);
    }

    #[test]
    fn a_hit_ends_the_rests() {
        let mut spin = Spin::new(LONGEST);
        let mut now = Instant::now();
        let looks = |spin: &mut Spin, now: Instant, n| {
            spin.woke(now, n);
            spin.until(now).is_some()
        };
        for n in 1..=4 {
            assert!(looks(&mut spin, now, n));
            spin.miss(now);
        }
        assert!(!looks(&mut spin, now, 5));
        now += REST_MIN;
        assert!(looks(&mut spin, now, 6));
        spin.miss(now);
        now += REST_MIN;
        assert!(!looks(&mut spin, now, 7), "the second rest is longer");
        now += REST_MIN;
        assert!(looks(&mut spin, now, 8));
        spin.hit();
        for n in 9..=12 {
            assert!(looks(&mut spin, now, n));
            spin.miss(now);
        }
        assert!(!looks(&mut spin, now, 13));
    }
}
