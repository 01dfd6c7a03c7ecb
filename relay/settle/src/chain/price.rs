//! What a transaction may cost: the gas ceiling, the one that holds when a deposit is about to
//! leave, and whether what it brings in is worth the gas.

use std::time::Duration;

use weir_usage::ChannelId;

use super::rpc::Fees;
use crate::config::{ChainConfig, Policy};

/// Gas of a claim without its rows, and of a row in the worst case (a channel and a lane of its
/// own), rounded up from `deploy/contracts/GAS.md`.
pub(super) const CLAIM_GAS: u64 = 40_000;
pub(super) const ROW_GAS: u64 = 25_000;
/// Gas of a settlement, for a receiver that never had the token.
pub(super) const SETTLE_GAS: u64 = 60_000;

/// What is known of prices at the moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prices<'a> {
    pub(super) chain: &'a ChainConfig,
    pub(super) policy: &'a Policy,
    /// What the chain wants; `None` if it wasn't asked yet.
    pub(super) fees: Option<Fees>,
}

impl Prices<'_> {
    /// The most that may be offered per gas, in wei, for a deposit that may leave in `left`.
    pub(super) fn ceiling(&self, left: Option<Duration>) -> u128 {
        if left.is_some_and(|left| left <= self.policy.deadline) {
            return self.chain.deadline_fee_ceiling_wei.max(self.chain.fee_ceiling_wei);
        }
        self.chain.fee_ceiling_wei
    }

    /// Why gas is too expensive now, if it is.
    pub(super) fn too_expensive(&self, left: Option<Duration>) -> Option<String> {
        let price = self.fees?.now();
        let ceiling = self.ceiling(left);
        (price > ceiling).then(|| {
            let later = match left {
                Some(left) if left > self.policy.deadline => format!(
                    "; the payer can take its deposit in {} s, and {} s before that up to {} wei \
                     are paid",
                    left.as_secs(),
                    self.policy.deadline.as_secs(),
                    self.ceiling(Some(Duration::ZERO))
                ),
                _ => String::new(),
            };
            format!("gas is at {price} wei, the ceiling is {ceiling}{later}")
        })
    }

    /// Why a row that brings in `units` waits.
    pub(super) fn row_is_uneconomic(&self, units: u128) -> Option<String> {
        self.uneconomic(units, ROW_GAS)
    }

    /// Why a claim of `rows` rows that brings in `units` waits.
    pub(super) fn claim_is_uneconomic(&self, units: u128, rows: usize) -> Option<String> {
        self.uneconomic(units, CLAIM_GAS + ROW_GAS * rows as u64)
    }

    /// Why a settlement of `units` waits.
    pub(super) fn settle_is_uneconomic(&self, units: u128) -> Option<String> {
        self.uneconomic(units, SETTLE_GAS)
    }

    fn uneconomic(&self, units: u128, gas: u64) -> Option<String> {
        if self.policy.wei_per_million_units == 0 {
            return None;
        }
        let cost = self.fees?.now().saturating_mul(gas.into());
        // Divided first only where the product would not fit.
        let worth = match units.checked_mul(self.policy.wei_per_million_units) {
            Some(product) => product / 1_000_000,
            None => (units / 1_000_000).saturating_mul(self.policy.wei_per_million_units),
        };
        (cost > worth).then(|| {
            format!("its gas costs about {cost} wei, and {units} units are worth {worth} wei")
        })
    }
}

/// Something that is due and is not done, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Waiting {
    /// claim, settle, anchor, day, answer or fees.
    pub kind: &'static str,
    /// Of which channel, if of one.
    pub channel: Option<String>,
    /// expensive, uneconomic or wallet.
    pub reason: &'static str,
    /// The reason in words.
    pub words: String,
}

impl Waiting {
    pub(super) fn expensive(kind: &'static str, words: String) -> Self {
        Self { kind, channel: None, reason: "expensive", words }
    }

    pub(super) fn uneconomic(kind: &'static str, words: String) -> Self {
        Self { kind, channel: None, reason: "uneconomic", words }
    }

    pub(super) fn of(self, channel: &ChannelId) -> Self {
        Self { channel: Some(channel.to_string()), ..self }
    }
}
