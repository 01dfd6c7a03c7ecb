//! What the chain says about channels, earnings and the wallet.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use alloy::primitives::B256;
use tokio::time::Instant;
use weir_usage::{Address, ChannelId, Funding};

use super::Driver;
use super::contracts::{self, IExitEscrow};
use super::rpc::Fees;
use crate::book::LaneKey;
use crate::clerk::{ChainNews, LaneNews, View};
use crate::config::Channel;
use crate::error::Error;

/// Polls between two looks at all channels, unless a transaction became final in between. A
/// withdrawal takes at least the channel's delay, which is hours.
const POLLS_PER_REFRESH: u32 = 5;

/// The last look.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) channels: HashMap<ChannelId, OnChain>,
    pub(super) claimed: BTreeMap<LaneKey, u128>,
    /// By receiver and token.
    pub(super) earned: BTreeMap<(Address, Address), u128>,
    pub(super) wallet_wei: Option<u128>,
    /// What the chain wants per gas.
    pub(super) fees: Option<Fees>,
    /// The chain's own clock, Unix seconds: withdrawals go by it, whatever this host's says.
    pub(super) time: u64,
}

/// A channel as the escrow has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OnChain {
    pub(super) exists: bool,
    /// When the payer can take the rest, Unix seconds by the chain's clock; 0 if it doesn't leave.
    pub(super) withdraw_at: u64,
    pub(super) balance: u128,
}

impl Known {
    /// How long what a channel's payer owes can still be claimed, if it leaves.
    pub(super) fn left(&self, channel: &ChannelId) -> Option<Duration> {
        let found = self.channels.get(channel).filter(|c| c.withdraw_at != 0)?;
        Some(Duration::from_secs(found.withdraw_at.saturating_sub(self.time)))
    }
}

impl Driver {
    /// Looks at everything, if it is time, and tells the clerk.
    pub(super) async fn refresh(&mut self, _head: u64) -> Result<(), Error> {
        let due =
            self.refreshed.is_none_or(|at| at.elapsed() >= self.config.poll * POLLS_PER_REFRESH);
        if !due {
            return Ok(());
        }
        let escrow = contracts::address(self.config.domain.escrow);
        let mut known = Known::default();
        let mut pairs = BTreeSet::new();
        for channel in &self.channels {
            pairs.insert((channel.terms.receiver, channel.terms.token));
            let id = B256::from(channel.id.0);
            let found = self.rpc.view(escrow, IExitEscrow::channelsCall { channelId: id }).await?;
            known.channels.insert(
                channel.id,
                OnChain {
                    exists: !found.payer.is_zero(),
                    withdraw_at: found.withdrawAt,
                    balance: found.balance,
                },
            );
            for lane in &channel.lanes {
                let call = IExitEscrow::claimedCall { channelId: id, lane: *lane };
                let claimed = self.rpc.view(escrow, call).await?;
                known.claimed.insert(LaneKey { channel: channel.id, lane: *lane }, claimed);
            }
        }
        for (receiver, token) in pairs {
            let call = IExitEscrow::earnedCall {
                receiver: contracts::address(receiver),
                token: contracts::address(token),
            };
            let earned = self.rpc.view(escrow, call).await?;
            known.earned.insert((receiver, token), u128::try_from(earned).unwrap_or(u128::MAX));
        }
        let wei = self.rpc.balance(self.address()).await?;
        known.wallet_wei = Some(wei);
        known.fees = Some(self.rpc.fees().await?);
        known.time = self.rpc.time().await?;
        self.chain = known;
        self.watch_wallet();
        self.watch_challenges().await?;
        self.refreshed = Some(Instant::now());
        let view = self.clerk.view().await?;
        let lanes = self.channels.iter().flat_map(|channel| self.news(channel, &view)).collect();
        self.clerk.chain(ChainNews { lanes }).await
    }

    fn news(&self, channel: &Channel, view: &View) -> Vec<LaneNews> {
        let Some(found) = self.chain.channels.get(&channel.id) else { return Vec::new() };
        let keys = || channel.lanes.iter().map(|lane| LaneKey { channel: channel.id, lane: *lane });
        let claimed = |key: &LaneKey| self.chain.claimed.get(key).copied().unwrap_or(0);
        // What other lanes may still take out of the same deposit.
        let signed = |key: &LaneKey| {
            view.lanes.get(key).map_or(0, |l| l.vouchered.saturating_sub(claimed(key)))
        };
        let owed = |key: &LaneKey| {
            view.lanes.get(key).map_or(0, |l| l.used.max(l.vouchered).saturating_sub(claimed(key)))
        };
        let all_signed: u128 = keys().map(|k| signed(&k)).fold(0, u128::saturating_add);
        let all_owed: u128 = keys().map(|k| owed(&k)).fold(0, u128::saturating_add);
        let funding = match found {
            OnChain { exists: false, .. } => Funding::Missing,
            OnChain { withdraw_at: 1.., .. } => Funding::Withdrawing,
            OnChain { balance, .. } if *balance <= all_owed => Funding::Exhausted,
            _ => Funding::Funded,
        };
        keys()
            .map(|key| {
                let others = all_signed.saturating_sub(signed(&key));
                let left = found.balance.saturating_sub(others);
                let spendable = claimed(&key).saturating_add(left);
                LaneNews { key, funding, spendable: Some(spendable), claimed: claimed(&key) }
            })
            .collect()
    }
}
