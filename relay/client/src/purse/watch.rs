//! Does the exit bill for more than arrives? Nothing beyond the own counts is paid in any case;
//! this is about noticing, saying so, and being through with it.
//!
//! An honest exit is ahead too: by what is under way, by UDP datagrams that were lost on the last
//! hop, by what was in its buffers when a download was broken off, and, after a crash of this
//! client, by what the client forgot. Only what goes beyond that, and stays, is called
//! over-billing.

use std::fmt;
use std::time::{Duration, Instant};

/// How far an exit's counts may be ahead of the own ones before it is called over-billing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// Bytes may be under way for so long.
    pub in_flight: Duration,
    /// Per direction, in bytes.
    pub bytes: u64,
    /// Per direction, of what is asked for, in thousandths; beside `bytes`.
    pub permille: u64,
    /// Asks in a row beyond it after which the client is through with the exit; 0 for never.
    pub asks_max: u32,
}

impl Default for Tolerance {
    /// 5 s, which is far above any path's delay, queues included. A connection's flow control
    /// window (32 MiB) for what is broken off, and one percent for what is lost, as much as an exit
    /// leaves unpaid without stopping a payer. A minute of asks while bytes move.
    fn default() -> Tolerance {
        let in_flight = Duration::from_secs(5);
        Tolerance { in_flight, bytes: 32 << 20, permille: 10, asks_max: 60 }
    }
}

/// An exit claims more than was ever received, beyond the tolerance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overbilling {
    /// The exit's cumulative counts (up, down), in bytes.
    pub asked: (u64, u64),
    /// The own ones.
    pub own: (u64, u64),
    /// For how many asks in a row.
    pub asks: u32,
}

/// Compares ask after ask with the own counts.
#[derive(Debug)]
pub(crate) struct Watch {
    tolerance: Tolerance,
    /// Until when the exit may still report what moved before a crash of this client.
    settling: Settling,
    /// What it was ahead by then: lost with the crash, never paid, and nobody's lie.
    forgotten: (u64, u64),
    /// The oldest claim that the own counts have not reached.
    claim: Option<(Instant, (u64, u64))>,
    overbilling: Option<Overbilling>,
    asks: u64,
}

#[derive(Clone, Copy, Debug)]
enum Settling {
    FromFirstAsk,
    Until(Instant),
    Over,
}

/// The connection that died with a client goes on at the exit for as long as it would idle.
const SETTLING: Duration = Duration::from_secs(60);

impl Watch {
    pub(crate) fn new(tolerance: Tolerance, is_clean: bool) -> Watch {
        Watch {
            tolerance,
            settling: if is_clean { Settling::Over } else { Settling::FromFirstAsk },
            forgotten: (0, 0),
            claim: None,
            overbilling: None,
            asks: 0,
        }
    }

    pub(crate) fn overbilling(&self) -> Option<&Overbilling> {
        self.overbilling.as_ref()
    }

    /// Asks beyond the tolerance so far.
    pub(crate) fn asks(&self) -> u64 {
        self.asks
    }

    /// Bytes (up, down) that a crash of this client made unknown, and that stay unpaid.
    pub(crate) fn forgotten(&self) -> (u64, u64) {
        self.forgotten
    }

    /// Whether it was so often that it is no accident.
    pub(crate) fn is_through(&self) -> bool {
        let max = self.tolerance.asks_max;
        max > 0 && self.overbilling.is_some_and(|overbilling| overbilling.asks >= max)
    }

    pub(crate) fn compare(&mut self, asked: (u64, u64), own: (u64, u64), now: Instant) {
        if let Settling::FromFirstAsk = self.settling {
            self.settling = Settling::Until(now + SETTLING);
        }
        match self.settling {
            Settling::Until(end) if now <= end => {
                let ahead = (asked.0.saturating_sub(own.0), asked.1.saturating_sub(own.1));
                let known = self.forgotten;
                self.forgotten = (known.0.max(ahead.0), known.1.max(ahead.1));
            }
            _ => self.settling = Settling::Over,
        }
        if self.claim.is_some_and(|(_, claimed)| self.reached(claimed, own)) {
            self.claim = None;
            self.overbilling = None;
        }
        match self.claim {
            None if !self.reached(asked, own) => self.claim = Some((now, asked)),
            Some((since, _)) if now.duration_since(since) > self.tolerance.in_flight => {
                let asks = self.overbilling.map_or(0, |overbilling| overbilling.asks) + 1;
                self.overbilling = Some(Overbilling { asked, own, asks });
                self.asks += 1;
            }
            _ => {}
        }
    }

    fn reached(&self, claimed: (u64, u64), own: (u64, u64)) -> bool {
        let reached = |claimed: u64, own: u64, forgotten: u64| {
            let share = u128::from(claimed) * u128::from(self.tolerance.permille) / 1_000;
            let share = u64::try_from(share).unwrap_or(u64::MAX);
            let allowed = share.saturating_add(self.tolerance.bytes).saturating_add(forgotten);
            own.saturating_add(allowed) >= claimed
        };
        reached(claimed.0, own.0, self.forgotten.0) && reached(claimed.1, own.1, self.forgotten.1)
    }
}

impl fmt::Display for Overbilling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "it bills more than this client can confirm: asked for {} bytes up and {} down, own \
             counts are {} and {}; {} asks in a row; only the own counts are paid",
            self.asked.0, self.asked.1, self.own.0, self.own.1, self.asks
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Tolerance =
        Tolerance { in_flight: Duration::from_secs(5), bytes: 0, permille: 0, asks_max: 3 };

    #[test]
    fn over_billing_is_reported_only_when_it_lasts() {
        let (mut watch, start) = (Watch::new(STRICT, true), Instant::now());
        watch.compare((100, 100), (100, 95), start);
        watch.compare((100, 100), (100, 95), start + STRICT.in_flight);
        assert_eq!(watch.overbilling(), None, "may be under way");
        let late = start + STRICT.in_flight + Duration::from_millis(1);
        for asks in 1..=3 {
            watch.compare((100, 110), (100, 95), late);
            let found = watch.overbilling().copied();
            let expected = Overbilling { asked: (100, 110), own: (100, 95), asks };
            assert_eq!((found, watch.is_through()), (Some(expected), asks == 3));
        }
        watch.compare((100, 110), (100, 110), late);
        assert_eq!((watch.overbilling(), watch.is_through()), (None, false), "they came after all");
        assert_eq!(watch.asks(), 3);
    }

    #[test]
    fn what_is_lost_or_broken_off_is_within_the_tolerance() {
        let tolerance = Tolerance { bytes: 1_000, permille: 10, ..STRICT };
        let late = Duration::from_secs(6);
        for (asked, own, is_over) in [
            (1_000, 0, false),
            (1_011, 0, true),
            (1_000_000, 989_000, false),
            (1_000_000, 988_999, true),
            (u64::MAX, u64::MAX / 1_000 * 990, false),
        ] {
            let (mut watch, start) = (Watch::new(tolerance, true), Instant::now());
            watch.compare((0, asked), (0, own), start);
            watch.compare((0, asked), (0, own), start + late);
            assert_eq!(watch.overbilling().is_some(), is_over, "{asked} {own}");
        }
    }

    #[test]
    fn what_a_crash_of_the_client_forgot_is_not_held_against_the_exit() {
        let (mut watch, start) = (Watch::new(STRICT, false), Instant::now());
        watch.compare((0, 500), (0, 100), start);
        // The old connection times out, and its last bytes are reported.
        watch.compare((0, 700), (0, 100), start + SETTLING);
        assert_eq!(watch.forgotten(), (0, 600));
        let later = start + SETTLING * 2;
        watch.compare((0, 1_700), (0, 1_100), later);
        watch.compare((0, 1_700), (0, 1_100), later + SETTLING);
        assert_eq!(watch.overbilling(), None);
        watch.compare((0, 1_701), (0, 1_100), later + SETTLING);
        watch.compare((0, 1_701), (0, 1_100), later + SETTLING * 2);
        assert!(watch.overbilling().is_some());
    }
}
