//! When memory that a burst needed goes back.

use std::time::{Duration, Instant};

use crate::config::TURN_BYTES;

/// How long traffic is watched before it is judged; also how long an idle worker keeps what its
/// last packets needed.
const PERIOD: Duration = Duration::from_secs(1);

/// What a period was like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tide {
    /// More than a turn's worth was received: keep what was in use.
    Busy,
    /// Next to nothing was.
    Calm,
}

/// Judges periods, as long as something is received. An idle worker is woken once for it.
#[derive(Debug, Default)]
pub(crate) struct Ebb {
    /// Bytes received in all before the period began.
    before: u64,
    ends: Option<Instant>,
}

impl Ebb {
    /// When the worker has to turn again for this.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.ends
    }

    /// A turn ended with `received` bytes in all. Says what a period was like that is over.
    pub(crate) fn turned(&mut self, now: Instant, received: u64) -> Option<Tide> {
        match self.ends {
            None => {
                if received != self.before {
                    self.ends = Some(now + PERIOD);
                }
                None
            }
            Some(end) if now < end => None,
            Some(_) => {
                let bytes = received - std::mem::replace(&mut self.before, received);
                let is_busy = bytes > TURN_BYTES as u64;
                self.ends = is_busy.then(|| now + PERIOD);
                Some(if is_busy { Tide::Busy } else { Tide::Calm })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_judged_busy_then_calm_and_then_not_at_all() {
        let mut ebb = Ebb::default();
        let start = Instant::now();
        assert_eq!(ebb.turned(start, 0), None);
        assert_eq!(ebb.due(), None, "an idle worker isn't woken");
        assert_eq!(ebb.turned(start, 1 << 30), None);
        assert_eq!(ebb.due(), Some(start + PERIOD));
        assert_eq!(ebb.turned(start + PERIOD, 1 << 30), Some(Tide::Busy));
        assert_eq!(ebb.turned(start + PERIOD * 3 / 2, (1 << 30) + 9), None);
        assert_eq!(ebb.turned(start + 2 * PERIOD, (1 << 30) + 9), Some(Tide::Calm));
        assert_eq!(ebb.due(), None);
        assert_eq!(ebb.turned(start + 9 * PERIOD, (1 << 30) + 9), None);
    }
}
