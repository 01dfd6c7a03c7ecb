//! How far each payer may go before it has to sign the next voucher.
//!
//! The journal of the sidecar counts a lane's bytes over all processes, a credit line those of
//! this one. What others used is therefore subtracted from what is paid: `prior = used in the
//! journal - what it acknowledged of ours`, and `soft = paid + window - prior`, where a payer
//! becomes slow. It stops an overdraft further on.
//!
//! The window is a time at the committed rate of a lane that has one, but no more than the bytes
//! that hold for all others.
//!
//! Two things keep a killed relay from giving the window again. What a dead process left in its
//! ledger is subtracted whole until the sidecar has said that the news include it, however long
//! its journal stalls or it is away; and `prior` never falls, although an acknowledgement comes
//! before the news of the lane that includes it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use weir_core::credit::Allowed;
use weir_usage::{CreditState, Funding, NEWS_WITHIN};

use super::grants::{Accounts, Lane};
use crate::config::{CreditConfig, WINDOW_MIN};

/// From the acknowledgement of a dead process's records to the news of the lane that includes
/// them, with a sidecar of a release that doesn't say how far its news go. The sidecar's
/// configuration refuses a period of news that is longer than half of it.
const HOLD: Duration = NEWS_WITHIN;

/// What is known about the lanes, and the credit that follows from it.
#[derive(Debug)]
pub(crate) struct Credit {
    config: CreditConfig,
    grace: Duration,
    standings: HashMap<Lane, Standing>,
    /// What dead processes left and the news may not include.
    held: HashMap<Lane, Held>,
    /// The sidecar says how far its news go.
    says: bool,
    /// When the sidecar went away; `None` while it is there.
    away_since: Option<Instant>,
}

#[derive(Debug)]
struct Held {
    bytes: u64,
    /// The end of the journal when it was first known to hold them; `None` before that.
    acked_at: Option<u64>,
    /// When they count as included with a sidecar that doesn't say so.
    until: Instant,
}

#[derive(Debug)]
struct Standing {
    state: CreditState,
    /// Bytes in the journal that aren't of this process.
    prior_bytes: u64,
}

impl Credit {
    /// The sidecar counts as away until it answers.
    pub(crate) fn new(config: CreditConfig, grace: Duration, now: Instant) -> Self {
        Self {
            config,
            grace,
            standings: HashMap::new(),
            held: HashMap::new(),
            says: false,
            away_since: Some(now),
        }
    }

    /// The sidecar answered.
    pub(crate) fn connected(&mut self) {
        self.away_since = None;
    }

    /// The sidecar went away. The last limits hold for the time of grace.
    pub(crate) fn disconnected(&mut self, now: Instant) {
        self.away_since.get_or_insert(now);
    }

    /// The sidecar said how a lane stands; `acked` tells the bytes of a lane that this process
    /// exported and the journal holds, which is at least what `state` includes of them.
    pub(crate) fn learned(&mut self, state: CreditState, acked: &HashMap<Lane, u64>) {
        let lane = (state.channel.0, state.lane);
        let ours = acked.get(&lane).copied().unwrap_or(0);
        let mut prior_bytes = state.used_bytes.saturating_sub(ours);
        if let Some(before) = self.standings.get(&lane)
            // Otherwise the journal is another one, and what was known is of no use.
            && before.state.used_bytes <= state.used_bytes
        {
            prior_bytes = prior_bytes.max(before.prior_bytes);
        }
        self.standings.insert(lane, Standing { state, prior_bytes });
    }

    /// What dead processes left and the sidecar has not acknowledged, as of `now` and of a journal
    /// that ends before `next_seq`. Some of it may be in the journal already: until that is known,
    /// all of it counts.
    pub(crate) fn inherited(&mut self, unacked: &HashMap<Lane, u64>, next_seq: u64, now: Instant) {
        let waits = self.says || self.away_since.is_some();
        self.held.retain(|lane, held| {
            if !unacked.contains_key(lane) {
                held.acked_at.get_or_insert(next_seq);
            }
            waits || held.acked_at.is_none() || now < held.until
        });
        for (lane, &bytes) in unacked {
            let until = now + HOLD;
            let held = self.held.entry(*lane).or_insert(Held { bytes, acked_at: None, until });
            *held = Held { bytes: held.bytes.max(bytes), acked_at: None, until };
        }
    }

    /// The news that came before this include all records before `next_seq`.
    pub(crate) fn news_include(&mut self, next_seq: u64) {
        self.says = true;
        self.held.retain(|_, held| held.acked_at.is_none_or(|acked_at| next_seq < acked_at));
    }

    /// Sets the limits of all lanes. Returns whether a limit moved.
    pub(crate) fn apply(&self, accounts: &Accounts, now: Instant) -> bool {
        let expired = self.away_since.is_some_and(|since| now >= since + self.grace);
        let mut moved = false;
        for (lane, line, committed_kbps) in accounts.lanes() {
            let held = self.held.get(&lane).map_or(0, |held| held.bytes);
            let standing = self.standings.get(&lane).filter(|_| !expired);
            let allowed = standing
                .map_or(self.nothing(), |standing| self.allowed(standing, held, committed_kbps));
            if allowed != line.allowed() {
                moved = true;
                line.allow(allowed);
            }
        }
        moved
    }

    fn nothing(&self) -> Allowed {
        Allowed { soft: 0, hard: 0, floor_rate: bytes_per_s(self.config.throttle_kbps) }
    }

    fn allowed(&self, standing: &Standing, held: u64, committed_kbps: Option<u64>) -> Allowed {
        let Standing { state, prior_bytes } = standing;
        let window = match state.funding {
            Funding::Funded => self.window(committed_kbps),
            // What is paid is owed, and nothing is given beyond it.
            Funding::Unknown | Funding::Exhausted | Funding::Withdrawing | Funding::Missing => 0,
        };
        let overdraft = window / 100 * self.config.overdraft_percent;
        let limit = |credit: u64| {
            let paid = state.paid_bytes.saturating_add(credit);
            paid.saturating_sub(*prior_bytes).saturating_sub(held)
        };
        let floor_kbps = self.config.throttle_kbps.min(committed_kbps.unwrap_or(u64::MAX));
        Allowed {
            soft: limit(window),
            hard: limit(window + overdraft),
            floor_rate: bytes_per_s(floor_kbps),
        }
    }

    fn window(&self, committed_kbps: Option<u64>) -> u64 {
        let CreditConfig { window_bytes, window_time, .. } = self.config;
        committed_kbps.map_or(window_bytes, |kbps| {
            let bytes = bytes_per_s(kbps).saturating_mul(window_time.as_secs());
            bytes.max(WINDOW_MIN).min(window_bytes)
        })
    }
}

fn bytes_per_s(kbps: u64) -> u64 {
    kbps.saturating_mul(125)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_core::CreditLine;
    use weir_usage::ChannelId;

    use super::*;
    use crate::config::GrantConfig;

    const LANE: Lane = ([7; 32], 3);

    fn state(used_bytes: u64, paid_bytes: u64, funding: Funding) -> CreditState {
        CreditState { channel: ChannelId(LANE.0), lane: LANE.1, used_bytes, paid_bytes, funding }
    }

    fn credit(now: Instant) -> Credit {
        let config = CreditConfig {
            window_bytes: 1_000,
            window_time: Duration::from_secs(2),
            overdraft_percent: 10,
            throttle_kbps: 8,
        };
        Credit::new(config, Duration::from_secs(10), now)
    }

    fn accounts() -> Accounts {
        accounts_with(None)
    }

    fn accounts_with(committed_kbps: Option<u64>) -> Accounts {
        let accounts = Accounts::default();
        accounts.grants(
            &[GrantConfig {
                name: "alice".to_owned(),
                token_sha256: [1; 32],
                channel: Some(LANE.0),
                lane: LANE.1,
                committed_kbps,
                tunnels: None,
            }],
            None,
        );
        accounts
    }

    fn line(accounts: &Accounts) -> Arc<CreditLine> {
        let (lane, line, _) = accounts.lanes().remove(0);
        assert_eq!(lane, LANE);
        line
    }

    #[test]
    fn nothing_is_forwarded_before_the_sidecar_answers() {
        let accounts = accounts();
        assert!(line(&accounts).exhausted());
    }

    #[test]
    fn what_other_processes_used_is_subtracted() {
        let (accounts, now) = (accounts(), Instant::now());
        let mut credit = credit(now);
        credit.connected();
        // 2,000 of the 5,000 are ours: 3,000 are others'.
        credit.learned(state(5_000, 4_500, Funding::Funded), &HashMap::from([(LANE, 2_000)]));
        assert!(credit.apply(&accounts, now));
        assert_eq!(line(&accounts).soft_limit(), 4_500 + 1_000 - 3_000);
    }

    #[test]
    fn no_window_without_funds() {
        let (accounts, now) = (accounts(), Instant::now());
        let mut credit = credit(now);
        credit.connected();
        for funding in [Funding::Unknown, Funding::Exhausted, Funding::Withdrawing] {
            credit.learned(state(700, 700, funding), &HashMap::from([(LANE, 700)]));
            credit.apply(&accounts, now);
            assert_eq!(line(&accounts).soft_limit(), 700, "{funding:?}");
        }
    }

    #[test]
    fn credit_ends_with_the_time_of_grace() {
        let (accounts, now) = (accounts(), Instant::now());
        let mut credit = credit(now);
        credit.connected();
        credit.learned(state(0, 0, Funding::Funded), &HashMap::new());
        credit.apply(&accounts, now);
        credit.disconnected(now);
        credit.apply(&accounts, now + Duration::from_secs(9));
        assert_eq!(line(&accounts).soft_limit(), 1_000);
        credit.apply(&accounts, now + Duration::from_secs(10));
        assert_eq!(line(&accounts).soft_limit(), 0);
    }

    #[test]
    fn an_acknowledgement_ahead_of_the_news_gives_nothing_twice() {
        let (accounts, now) = (accounts(), Instant::now());
        let mut credit = credit(now);
        credit.connected();
        // A dead process used 500; this one uses the other 500, which are acknowledged first.
        credit.learned(state(500, 0, Funding::Funded), &HashMap::new());
        credit.learned(state(600, 0, Funding::Funded), &HashMap::from([(LANE, 500)]));
        credit.apply(&accounts, now);
        assert_eq!(line(&accounts).soft_limit(), 500);
        // A journal that begins anew knows of nothing.
        credit.learned(state(0, 0, Funding::Funded), &HashMap::new());
        credit.apply(&accounts, now);
        assert_eq!(line(&accounts).soft_limit(), 1_000);
    }

    #[test]
    fn what_a_dead_process_left_is_held_until_the_sidecar_has_counted_it() {
        let (accounts, now) = (accounts(), Instant::now());
        let mut credit = credit(now);
        credit.connected();
        credit.inherited(&HashMap::from([(LANE, 900)]), 0, now);
        credit.learned(state(0, 0, Funding::Funded), &HashMap::new());
        credit.apply(&accounts, now);
        assert_eq!(line(&accounts).soft_limit(), 100);
        // Acknowledged, and the news come after it.
        credit.inherited(&HashMap::new(), 1, now + HOLD / 2);
        credit.apply(&accounts, now);
        assert_eq!(line(&accounts).soft_limit(), 100);
        credit.learned(state(900, 0, Funding::Funded), &HashMap::new());
        credit.inherited(&HashMap::new(), 1, now + HOLD);
        credit.apply(&accounts, now);
        assert_eq!(line(&accounts).soft_limit(), 100);
    }

    #[test]
    fn a_journal_that_stalls_before_the_news_gives_no_second_window() {
        let (accounts, now) = (accounts(), Instant::now());
        let mut credit = credit(now);
        credit.connected();
        credit.inherited(&HashMap::from([(LANE, 900)]), 0, now);
        credit.learned(state(0, 0, Funding::Funded), &HashMap::new());
        // The sidecar's first news, from before this process spoke.
        credit.news_include(0);
        // Acknowledged; then the journal stalls, and older news come, and the sidecar restarts.
        for seconds in [1, 3, 60] {
            let then = now + Duration::from_secs(seconds);
            credit.inherited(&HashMap::new(), 2, then);
            credit.news_include(1);
            credit.apply(&accounts, then);
            assert_eq!(line(&accounts).soft_limit(), 100, "after {seconds} s");
        }
        credit.disconnected(now + Duration::from_secs(61));
        credit.inherited(&HashMap::new(), 2, now + Duration::from_secs(65));
        credit.apply(&accounts, now + Duration::from_secs(65));
        assert_eq!(line(&accounts).soft_limit(), 100, "away");
        credit.connected();
        credit.learned(state(900, 0, Funding::Funded), &HashMap::new());
        credit.news_include(2);
        credit.inherited(&HashMap::new(), 2, now + Duration::from_secs(66));
        credit.apply(&accounts, now + Duration::from_secs(66));
        assert_eq!(line(&accounts).soft_limit(), 100, "what is held is counted now, not twice");
        credit.learned(state(900, 900, Funding::Funded), &HashMap::new());
        credit.apply(&accounts, now + Duration::from_secs(66));
        assert_eq!(line(&accounts).soft_limit(), 1_000, "and paid for");
    }

    #[test]
    fn behind_the_window_is_an_overdraft_at_the_floor_rate() {
        let (accounts, now) = (accounts(), Instant::now());
        let mut credit = credit(now);
        credit.connected();
        credit.learned(state(5_000, 4_500, Funding::Funded), &HashMap::new());
        credit.inherited(&HashMap::from([(LANE, 200)]), 0, now);
        assert!(credit.apply(&accounts, now));
        let allowed = Allowed { soft: 300, hard: 400, floor_rate: 1_000 };
        assert_eq!(line(&accounts).allowed(), allowed);
        assert!(!credit.apply(&accounts, now), "no news");
    }

    #[test]
    fn a_committed_rate_makes_the_window_a_time() {
        let now = Instant::now();
        let window = |committed_kbps: u64| {
            let accounts = accounts_with(Some(committed_kbps));
            let mut credit = credit(now);
            credit.config.window_bytes = 64 << 20;
            credit.config.throttle_kbps = 8_000;
            credit.connected();
            credit.learned(state(0, 0, Funding::Funded), &HashMap::new());
            credit.apply(&accounts, now);
            let allowed = line(&accounts).allowed();
            (allowed.soft, allowed.floor_rate)
        };
        assert_eq!(window(100_000), (25_000_000, 1_000_000), "2 s at 100 Mbit/s");
        assert_eq!(window(80), (64 << 10, 10_000), "the least, and no faster than was agreed");
        assert_eq!(window(10_000_000), (64 << 20, 1_000_000), "the most");
    }
}
