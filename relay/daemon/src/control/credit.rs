//! How far each payer may go before it has to sign the next voucher.
//!
//! The journal of the sidecar counts a lane's bytes over all processes, a credit line those of
//! this one. What others used is therefore subtracted from what is paid: `prior = used in the
//! journal - what it acknowledged of ours`, and `limit = paid + window - prior`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use weir_usage::{CreditState, Funding};

use super::grants::{Accounts, Lane};

/// What is known about the lanes, and the credit that follows from it.
#[derive(Debug)]
pub(crate) struct Credit {
    window_bytes: u64,
    grace: Duration,
    states: HashMap<Lane, CreditState>,
    /// When the sidecar went away; `None` while it is there.
    away_since: Option<Instant>,
}

impl Credit {
    /// The sidecar counts as away until it answers.
    pub(crate) fn new(window_bytes: u64, grace: Duration, now: Instant) -> Self {
        Self { window_bytes, grace, states: HashMap::new(), away_since: Some(now) }
    }

    /// The sidecar answered.
    pub(crate) fn connected(&mut self) {
        self.away_since = None;
    }

    /// The sidecar went away. The last limits hold for the time of grace.
    pub(crate) fn disconnected(&mut self, now: Instant) {
        self.away_since.get_or_insert(now);
    }

    /// The sidecar said how a lane stands.
    pub(crate) fn learned(&mut self, state: CreditState) {
        self.states.insert((state.channel.0, state.lane), state);
    }

    /// Sets the limits of all lanes; `acked` tells the bytes of a lane that this process exported
    /// and the journal holds. Returns whether a limit moved.
    pub(crate) fn apply(
        &self,
        accounts: &Accounts,
        acked: &HashMap<Lane, u64>,
        now: Instant,
    ) -> bool {
        let expired = self.away_since.is_some_and(|since| now >= since + self.grace);
        let mut moved = false;
        for (lane, line) in accounts.lanes() {
            let limit = match self.states.get(&lane) {
                Some(_) if expired => 0,
                None => 0,
                Some(state) => {
                    let ours = acked.get(&lane).copied().unwrap_or(0);
                    self.limit(state, ours)
                }
            };
            moved |= limit != line.limit();
            line.set_limit(limit);
        }
        moved
    }

    fn limit(&self, state: &CreditState, acked_bytes: u64) -> u64 {
        let window = match state.funding {
            Funding::Funded => self.window_bytes,
            // What is paid is owed, and nothing is given beyond it.
            Funding::Unknown | Funding::Exhausted | Funding::Withdrawing | Funding::Missing => 0,
        };
        let prior = state.used_bytes.saturating_sub(acked_bytes);
        state.paid_bytes.saturating_add(window).saturating_sub(prior)
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
        credit.learned(state(5_000, 4_500, Funding::Funded));
        // 2,000 of the 5,000 are ours: 3,000 are others'.
        assert!(credit.apply(&accounts, &HashMap::from([(LANE, 2_000)]), now));
        assert_eq!(line(&accounts).limit(), 4_500 + 1_000 - 3_000);
    }

    #[test]
    fn no_window_without_funds() {
        let (accounts, now) = (accounts(), Instant::now());
        let mut credit = Credit::new(1_000, Duration::from_secs(10), now);
        credit.connected();
        for funding in [Funding::Unknown, Funding::Exhausted, Funding::Withdrawing] {
            credit.learned(state(700, 700, funding));
            credit.apply(&accounts, &HashMap::from([(LANE, 700)]), now);
            assert_eq!(line(&accounts).limit(), 700, "{funding:?}");
        }
    }

    #[test]
    fn credit_ends_with_the_time_of_grace() {
        let (accounts, now) = (accounts(), Instant::now());
        let mut credit = Credit::new(1_000, Duration::from_secs(10), now);
        credit.connected();
        credit.learned(state(0, 0, Funding::Funded));
        credit.apply(&accounts, &HashMap::new(), now);
        credit.disconnected(now);
        credit.apply(&accounts, &HashMap::new(), now + Duration::from_secs(9));
        assert_eq!(line(&accounts).limit(), 1_000);
        credit.apply(&accounts, &HashMap::new(), now + Duration::from_secs(10));
        assert_eq!(line(&accounts).limit(), 0);
    }
}
