//! How far each payer may go before it has to sign the next voucher.
//!
//! The journal of the sidecar counts a lane's bytes over all processes, a credit line those of
//! this one. What others used is therefore subtracted from what is paid: `prior = used in the
//! journal - what it acknowledged of ours`, and `limit = paid + window - prior`.
//!
//! Two things keep a killed relay from giving the window again. What a dead process left in its
//! ledger is subtracted whole until the sidecar has counted it; and `prior` never falls, although
//! an acknowledgement comes before the news of the lane that includes it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use weir_usage::{CreditState, Funding};

use super::grants::{Accounts, Lane};

/// From the acknowledgement of a dead process's records to the news of the lane that includes
/// them. The sidecar publishes several times a second; the rest is for a busy machine.
const HOLD: Duration = Duration::from_secs(2);

/// What is known about the lanes, and the credit that follows from it.
#[derive(Debug)]
pub(crate) struct Credit {
    window_bytes: u64,
    grace: Duration,
    standings: HashMap<Lane, Standing>,
    /// Bytes of dead processes that the sidecar may not have counted, and until when.
    held: HashMap<Lane, (u64, Instant)>,
    /// When the sidecar went away; `None` while it is there.
    away_since: Option<Instant>,
}

#[derive(Debug)]
struct Standing {
    state: CreditState,
    /// Bytes in the journal that aren't of this process.
    prior_bytes: u64,
}

impl Credit {
    /// The sidecar counts as away until it answers.
    pub(crate) fn new(window_bytes: u64, grace: Duration, now: Instant) -> Self {
        Self {
            window_bytes,
            grace,
            standings: HashMap::new(),
            held: HashMap::new(),
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

    /// What dead processes left and the sidecar has not acknowledged, as of `now`. Some of it may
    /// be in the journal already: until that is known, all of it counts.
    pub(crate) fn inherited(&mut self, unacked: &HashMap<Lane, u64>, now: Instant) {
        self.held.retain(|_, (_, until)| now < *until);
        for (lane, bytes) in unacked {
            let held = self.held.entry(*lane).or_insert((0, now));
            *held = (held.0.max(*bytes), now + HOLD);
        }
    }

    /// Sets the limits of all lanes. Returns whether a limit moved.
    pub(crate) fn apply(&self, accounts: &Accounts, now: Instant) -> bool {
        let expired = self.away_since.is_some_and(|since| now >= since + self.grace);
        let mut moved = false;
        for (lane, line) in accounts.lanes() {
            let limit = match self.standings.get(&lane) {
                Some(standing) if !expired => {
                    let held = self.held.get(&lane).map_or(0, |(bytes, _)| *bytes);
                    self.limit(standing).saturating_sub(held)
                }
                Some(_) | None => 0,
            };
            moved |= limit != line.limit();
            line.set_limit(limit);
        }
        moved
    }

    fn limit(&self, Standing { state, prior_bytes }: &Standing) -> u64 {
        let window = match state.funding {
            Funding::Funded => self.window_bytes,
            // What is paid is owed, and nothing is given beyond it.
            Funding::Unknown | Funding::Exhausted | Funding::Withdrawing | Funding::Missing => 0,
        };
        state.paid_bytes.saturating_add(window).saturating_sub(*prior_bytes)
    }
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

    fn accounts() -> Accounts {
        let accounts = Accounts::default();
        accounts.grants(
            &[GrantConfig {
                name: "alice".to_owned(),
                token_sha256: [1; 32],
                channel: Some(LANE.0),
                lane: LANE.1,
                tunnels: None,
            }],
            None,
        );
        accounts
    }

    fn line(accounts: &Accounts) -> Arc<CreditLine> {
        let (lane, line) = accounts.lanes().remove(0);
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
        let mut credit = Credit::new(1_000, Duration::from_secs(10), now);
        credit.connected();
        // 2,000 of the 5,000 are ours: 3,000 are others'.
        credit.learned(state(5_000, 4_500, Funding::Funded), &HashMap::from([(LANE, 2_000)]));
        assert!(credit.apply(&accounts, now));
        assert_eq!(line(&accounts).limit(), 4_500 + 1_000 - 3_000);
    }

    #[test]
    fn no_window_without_funds() {
        let (accounts, now) = (accounts(), Instant::now());
        let mut credit = Credit::new(1_000, Duration::from_secs(10), now);
        credit.connected();
        for funding in [Funding::Unknown, Funding::Exhausted, Funding::Withdrawing] {
            credit.learned(state(700, 700, funding), &HashMap::from([(LANE, 700)]));
            credit.apply(&accounts, now);
            assert_eq!(line(&accounts).limit(), 700, "{funding:?}");
        }
    }

    #[test]
    fn credit_ends_with_the_time_of_grace() {
        let (accounts, now) = (accounts(), Instant::now());
        let mut credit = Credit::new(1_000, Duration::from_secs(10), now);
        credit.connected();
        credit.learned(state(0, 0, Funding::Funded), &HashMap::new());
        credit.apply(&accounts, now);
        credit.disconnected(now);
        credit.apply(&accounts, now + Duration::from_secs(9));
        assert_eq!(line(&accounts).limit(), 1_000);
        credit.apply(&accounts, now + Duration::from_secs(10));
        assert_eq!(line(&accounts).limit(), 0);
    }

    #[test]
    fn an_acknowledgement_ahead_of_the_news_gives_nothing_twice() {
        let (accounts, now) = (accounts(), Instant::now());
        let mut credit = Credit::new(1_000, Duration::from_secs(10), now);
        credit.connected();
        // A dead process used 500; this one uses the other 500, which are acknowledged first.
        credit.learned(state(500, 0, Funding::Funded), &HashMap::new());
        credit.learned(state(600, 0, Funding::Funded), &HashMap::from([(LANE, 500)]));
        credit.apply(&accounts, now);
        assert_eq!(line(&accounts).limit(), 500);
        // A journal that begins anew knows of nothing.
        credit.learned(state(0, 0, Funding::Funded), &HashMap::new());
        credit.apply(&accounts, now);
        assert_eq!(line(&accounts).limit(), 1_000);
    }

    #[test]
    fn what_a_dead_process_left_is_held_until_the_sidecar_has_counted_it() {
        let (accounts, now) = (accounts(), Instant::now());
        let mut credit = Credit::new(1_000, Duration::from_secs(10), now);
        credit.connected();
        credit.inherited(&HashMap::from([(LANE, 900)]), now);
        credit.learned(state(0, 0, Funding::Funded), &HashMap::new());
        credit.apply(&accounts, now);
        assert_eq!(line(&accounts).limit(), 100);
        // Acknowledged, and the news come after it.
        credit.inherited(&HashMap::new(), now + HOLD / 2);
        credit.apply(&accounts, now);
        assert_eq!(line(&accounts).limit(), 100);
        credit.learned(state(900, 0, Funding::Funded), &HashMap::new());
        credit.inherited(&HashMap::new(), now + HOLD);
        credit.apply(&accounts, now);
        assert_eq!(line(&accounts).limit(), 100);
    }
}
