//! What a payer has used and what is covered: full speed up to the window, a trickle in the
//! overdraft behind it, then nothing until it signs.
//!
//! A payer within its window costs one comparison: what it used against the gate. The gate stands
//! at the window, and only who comes to it looks further: a token bucket then moves it on by the
//! clock, up to the end of the overdraft. There is no timer and no task per payer.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The gate moves in steps: often enough for an even trickle, seldom enough that a flood of
/// datagrams isn't a flood of writes.
const STEP: Duration = Duration::from_millis(5);

/// Time that counts for one step at most: a payer that was silent has saved nothing.
const STEP_MAX: Duration = Duration::from_millis(100);

/// How a payer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Within the window.
    Open,
    /// In the overdraft: slowed down.
    Throttled,
    /// At the end of the overdraft.
    Stopped,
}

/// How far a payer may go, in bytes from the same start as its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Up to here at full speed.
    pub soft: u64,
    /// The end; never below `soft`.
    pub hard: u64,
    /// Bytes per second in between.
    pub floor_rate: u64,
}

/// One payer's account, shared by all workers: both directions of all of its sessions together.
#[derive(Debug)]
pub struct CreditLine {
    used: AtomicU64,
    /// Payload flows while less than this was used; from `soft` to `hard`.
    gate: AtomicU64,
    soft: AtomicU64,
    hard: AtomicU64,
    floor_rate: AtomicU64,
    /// Microseconds from `first` to when the gate was moved last.
    paced_us: AtomicU64,
    first: OnceLock<Instant>,
    /// The standing that was counted last.
    noted: AtomicU8,
    /// Transitions into each standing, by its number.
    turns: [AtomicU64; 3],
    sessions: AtomicU64,
}

impl Standing {
    /// All standings, from the best to the worst.
    pub const ALL: [Standing; 3] = [Standing::Open, Standing::Throttled, Standing::Stopped];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Standing::Open => "open",
            Standing::Throttled => "throttled",
            Standing::Stopped => "stopped",
        }
    }
}

impl CreditLine {
    /// A line with nothing used and without an overdraft. `u64::MAX` is no limit.
    pub fn new(limit_bytes: u64) -> Self {
        CreditLine {
            used: AtomicU64::new(0),
            gate: AtomicU64::new(limit_bytes),
            soft: AtomicU64::new(limit_bytes),
            hard: AtomicU64::new(limit_bytes),
            floor_rate: AtomicU64::new(0),
            paced_us: AtomicU64::new(0),
            first: OnceLock::new(),
            noted: AtomicU8::new(Standing::Open as u8),
            turns: Default::default(),
            sessions: AtomicU64::new(0),
        }
    }

    /// A line that is never exhausted.
    pub fn unlimited() -> Self {
        CreditLine::new(u64::MAX)
    }

    /// Continues at `bytes`, after a restart.
    pub fn set_used(&self, bytes: u64) {
        self.used.store(bytes, Ordering::Relaxed);
    }

    /// Adds what a worker forwarded in a turn.
    pub fn add_used(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Raises all limits, for more that was paid for.
    pub fn raise_limit(&self, bytes: u64) {
        for limit in [&self.hard, &self.soft, &self.gate] {
            let raise = |limit: u64| Some(limit.saturating_add(bytes));
            let _ = limit.fetch_update(Ordering::SeqCst, Ordering::SeqCst, raise);
        }
        self.note();
    }

    /// A limit without an overdraft; tell the workers with
    /// [`Command::CreditChanged`](crate::Command).
    pub fn set_limit(&self, bytes: u64) {
        self.allow(Allowed { soft: bytes, hard: bytes, floor_rate: 0 });
    }

    /// Moves the limits; tell the workers with [`Command::CreditChanged`](crate::Command). Whoever
    /// is within the new window is let go at once; whoever isn't has no more than before.
    pub fn allow(&self, allowed: Allowed) {
        let hard = allowed.hard.max(allowed.soft);
        self.floor_rate.store(allowed.floor_rate, Ordering::SeqCst);
        self.hard.store(hard, Ordering::SeqCst);
        self.soft.store(allowed.soft, Ordering::SeqCst);
        let used = self.used();
        // A burst beyond the gate stays a debt that the trickle has to make up for.
        let moved = |gate: u64| Some(gate.min(used).max(allowed.soft).min(hard));
        let _ = self.gate.fetch_update(Ordering::SeqCst, Ordering::SeqCst, moved);
        self.note();
    }

    /// The limits.
    pub fn allowed(&self) -> Allowed {
        let floor_rate = self.floor_rate.load(Ordering::Relaxed);
        Allowed { soft: self.soft_limit(), hard: self.limit(), floor_rate }
    }

    /// Bytes used.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Where it stops.
    pub fn limit(&self) -> u64 {
        self.hard.load(Ordering::Relaxed)
    }

    /// Where it becomes slow.
    pub fn soft_limit(&self) -> u64 {
        self.soft.load(Ordering::Relaxed)
    }

    /// Bytes before it stops.
    pub fn left(&self) -> u64 {
        self.limit().saturating_sub(self.used())
    }

    /// Bytes that may flow at this moment.
    pub fn open(&self) -> u64 {
        self.gate.load(Ordering::Relaxed).saturating_sub(self.used())
    }

    /// Whether nothing may flow at this moment: stopped, or waiting for the trickle.
    pub fn exhausted(&self) -> bool {
        self.open() == 0
    }

    /// How the payer stands.
    pub fn standing(&self) -> Standing {
        let used = self.used();
        if used >= self.limit() {
            Standing::Stopped
        } else if used >= self.soft_limit() {
            Standing::Throttled
        } else {
            Standing::Open
        }
    }

    /// Moves the gate by the time that went by, if the payer is in its overdraft. Only for lines
    /// that are [exhausted](Self::exhausted): the bucket fills only while somebody waits for it.
    pub fn pace(&self, now: Instant) -> Standing {
        let standing = self.note();
        if standing != Standing::Throttled {
            return standing;
        }
        let first = *self.first.get_or_init(|| now);
        let now_us = now.saturating_duration_since(first).as_micros() as u64;
        let last_us = self.paced_us.load(Ordering::SeqCst);
        let elapsed_us = now_us.saturating_sub(last_us);
        let mine = elapsed_us >= STEP.as_micros() as u64
            && self
                .paced_us
                .compare_exchange(last_us, now_us, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok();
        if mine {
            let elapsed_us = elapsed_us.min(STEP_MAX.as_micros() as u64);
            let rate = self.floor_rate.load(Ordering::SeqCst);
            let more = (u128::from(rate) * u128::from(elapsed_us) / 1_000_000) as u64;
            let hard = self.hard.load(Ordering::SeqCst);
            let moved = |gate: u64| Some(gate.saturating_add(more).min(hard));
            let _ = self.gate.fetch_update(Ordering::SeqCst, Ordering::SeqCst, moved);
        }
        standing
    }

    /// How often the payer came into a standing.
    pub fn turns_into(&self, standing: Standing) -> u64 {
        self.turns[standing as usize].load(Ordering::Relaxed)
    }

    /// Sessions open on this account.
    pub fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Counts a transition, if there was one since the last look.
    fn note(&self) -> Standing {
        let standing = self.standing();
        let number = standing as u8;
        if self.noted.load(Ordering::Relaxed) != number
            && self.noted.swap(number, Ordering::SeqCst) != number
        {
            self.turns[standing as usize].fetch_add(1, Ordering::Relaxed);
        }
        standing
    }
}

/// Counts as a session of an account for as long as it lives.
#[derive(Debug)]
pub(crate) struct Presence(Arc<CreditLine>);

impl Presence {
    pub(crate) fn new(line: &Arc<CreditLine>) -> Self {
        line.sessions.fetch_add(1, Ordering::Relaxed);
        Presence(Arc::clone(line))
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> CreditLine {
        let line = CreditLine::new(0);
        line.allow(Allowed { soft: 1_000, hard: 2_000, floor_rate: 10_000 });
        line
    }

    #[test]
    fn the_gate_trickles_from_the_window_to_the_end_of_the_overdraft() {
        let (line, start) = (line(), Instant::now());
        assert_eq!((line.open(), line.standing()), (1_000, Standing::Open));
        line.add_used(1_000);
        assert_eq!(line.pace(start), Standing::Throttled);
        assert!(line.exhausted());
        let mut flowed = 0;
        for ms in 1..=1_000 {
            line.pace(start + Duration::from_millis(ms));
            flowed += line.open();
            line.add_used(line.open());
            // 10 bytes per millisecond.
            assert!(flowed <= 10 * ms, "{flowed} after {ms} ms");
        }
        assert_eq!(flowed, 1_000);
        assert_eq!(line.pace(start + Duration::from_secs(9)), Standing::Stopped);
        assert!(line.exhausted());
        assert_eq!(line.turns_into(Standing::Throttled), 1);
        assert_eq!(line.turns_into(Standing::Stopped), 1);
    }

    #[test]
    fn silence_saves_nothing() {
        let (line, start) = (line(), Instant::now());
        line.add_used(1_000);
        line.pace(start);
        line.pace(start + Duration::from_secs(3_600));
        assert_eq!(line.open(), 1_000);
        let line = CreditLine::new(0);
        line.allow(Allowed { soft: 1_000, hard: 1 << 40, floor_rate: 10_000 });
        line.add_used(1_000);
        line.pace(start);
        line.pace(start + Duration::from_secs(3_600));
        assert_eq!(line.open(), 10_000 / 10, "no more than one step");
    }

    #[test]
    fn a_burst_is_a_debt_that_news_do_not_forgive() {
        let (line, start) = (line(), Instant::now());
        line.add_used(1_500);
        line.pace(start);
        let allowed = Allowed { soft: 1_100, hard: 2_100, floor_rate: 10_000 };
        for _ in 0..10 {
            line.allow(allowed);
        }
        // 400 bytes beyond the window take 40 ms.
        line.pace(start + Duration::from_millis(39));
        assert!(line.exhausted());
        line.pace(start + Duration::from_millis(50));
        assert_eq!(line.open(), 100);
        // A voucher for it lets go at once.
        line.allow(Allowed { soft: 2_500, hard: 3_500, floor_rate: 10_000 });
        assert_eq!((line.open(), line.standing()), (1_000, Standing::Open));
        assert_eq!(line.turns_into(Standing::Open), 1);
    }

    #[test]
    fn a_limit_that_falls_holds_at_once() {
        let line = line();
        line.add_used(500);
        line.set_limit(0);
        assert_eq!((line.open(), line.standing()), (0, Standing::Stopped));
    }
}
