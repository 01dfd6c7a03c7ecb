//! How long the gas money lasts.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::error;

use super::Driver;
use super::price::{CLAIM_GAS, ROW_GAS, SETTLE_GAS};
use crate::config::Policy;

/// Days of spending that are looked back on.
const DAYS: u64 = 7;
const DAY_MS: u64 = 86_400_000;
/// Gas of an anchor, rounded up from `deploy/contracts/GAS.md`.
const ANCHOR_GAS: u64 = 50_000;
/// A wallet that stays low is said again that often.
const SAY_AGAIN: Duration = Duration::from_secs(3600);

/// Wei spent on gas, by day; the last few days only.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Spending(BTreeMap<u64, u128>);

impl Spending {
    pub(super) fn add(&mut self, at_ms: u64, wei: u128) {
        let day = self.0.entry(at_ms / DAY_MS).or_default();
        *day = day.saturating_add(wei);
        while self.0.len() as u64 > DAYS + 1 {
            self.0.pop_first();
        }
    }

    /// Wei per day over the last days, today included.
    fn per_day(&self, now_ms: u64) -> u128 {
        let first = (now_ms / DAY_MS).saturating_sub(DAYS - 1);
        let (since, sum) = self.0.range(first..).fold((u64::MAX, 0u128), |(since, sum), (d, w)| {
            (since.min(*d), sum.saturating_add(*w))
        });
        let days = (now_ms / DAY_MS).saturating_sub(since).saturating_add(1).clamp(1, DAYS);
        sum / u128::from(days)
    }
}

/// Gas of a day by policy alone, with `lanes` lanes to claim for.
fn gas_per_day(policy: &Policy, lanes: usize) -> u128 {
    let times = |period: Duration| u128::from(86_400 / period.as_secs().clamp(1, 86_400));
    let batches = lanes.div_ceil(policy.claim_batch_max).max(1) as u128;
    let claim = batches * u128::from(CLAIM_GAS) + lanes as u128 * u128::from(ROW_GAS);
    claim * times(policy.claim_period)
        + u128::from(SETTLE_GAS) * times(policy.settle_period)
        + u128::from(ANCHOR_GAS) * times(policy.anchor_period)
}

impl Driver {
    /// Whole days that the wallet lasts: by what the last days cost or by what the policy will
    /// cost at today's price, whichever is more; at the ceiling's price if today's isn't known.
    pub(super) fn days_left(&self) -> Option<u64> {
        let wei = self.chain.wallet_wei?;
        let price = self.chain.fees.map_or(self.config.fee_ceiling_wei, |fees| fees.now());
        let lanes = self.channels.iter().map(|c| c.lanes.len()).sum();
        let planned = gas_per_day(&self.policy, lanes).saturating_mul(price);
        let per_day = self.past.spending.per_day(crate::now_ms()).max(planned).max(1);
        Some(u64::try_from(wei / per_day).unwrap_or(u64::MAX))
    }

    pub(super) fn wallet_is_low(&self) -> bool {
        let few = |days: u64| days < self.config.low_balance_days;
        self.chain.wallet_wei.is_some_and(|wei| wei < self.config.low_balance_wei)
            || self.days_left().is_some_and(few)
    }

    /// Says it when the wallet gets low, and now and then while it is.
    pub(super) fn watch_wallet(&mut self) {
        if !self.wallet_is_low() {
            self.wallet_said = None;
        } else if self.wallet_said.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
            error!(
                wallet = %self.address(),
                wei = self.chain.wallet_wei,
                days_left = self.days_left(),
                "the gas wallet is low; without gas nothing is claimed"
            );
            self.wallet_said = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spending_is_a_mean_over_the_days_there_were() {
        let mut spending = Spending::default();
        assert_eq!(spending.per_day(100 * DAY_MS), 0, "nothing is known");
        spending.add(100 * DAY_MS, 60);
        assert_eq!(spending.per_day(100 * DAY_MS + 1), 60, "the first day counts whole");
        spending.add(102 * DAY_MS, 30);
        assert_eq!(spending.per_day(102 * DAY_MS), 30);
        assert_eq!(spending.per_day(107 * DAY_MS), 5, "30 over six days, 60 is too old");
        (0..50).for_each(|day| spending.add(day * DAY_MS, 1));
        assert!(spending.0.len() as u64 <= DAYS + 1);
    }
}
