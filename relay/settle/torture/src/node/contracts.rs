//! `ExitEscrow`, as `deploy/contracts` has it; of what payers do only that they may leave.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, Bytes, LogData, U256};
use alloy::sol_types::{SolCall, SolEvent};
use weir_settle::chain::contracts::IExitEscrow;
use weir_usage::{ChannelId, Digest, Domain, Signature, SignedVoucher, Voucher};

use super::anchor::UsageAnchor;

/// A channel as it was opened.
#[derive(Debug, Clone)]
pub struct Deposit {
    /// Its id.
    pub channel: ChannelId,
    /// Who paid it in.
    pub payer: weir_usage::Address,
    /// Whose vouchers count.
    pub signer: weir_usage::Address,
    /// Who is paid.
    pub receiver: weir_usage::Address,
    /// In which token.
    pub token: weir_usage::Address,
    /// Token units.
    pub amount: u128,
}

#[derive(Debug, Clone)]
struct Channel {
    terms: Deposit,
    balance: u128,
    /// When its payer can take the rest, Unix seconds; 0 while it stays.
    withdraw_at: u64,
}

/// The state of all accounts and contracts.
#[derive(Debug, Clone)]
pub struct World {
    /// By account.
    pub nonces: BTreeMap<Address, u64>,
    channels: BTreeMap<[u8; 32], Channel>,
    claimed: BTreeMap<([u8; 32], u32), u128>,
    earned: BTreeMap<(Address, Address), u128>,
    paid_out: BTreeMap<(Address, Address), u128>,
    /// Anchors and challenges.
    pub usage: UsageAnchor,
}

/// Why a row was skipped; the contract's `Skip`.
mod skip {
    pub(super) const UNKNOWN_CHANNEL: u8 = 1;
    pub(super) const WRONG_SIGNER: u8 = 5;
    pub(super) const NOTHING_OWED: u8 = 6;
    pub(super) const NO_BALANCE: u8 = 7;
}

impl World {
    pub(super) fn new(deposits: Vec<Deposit>) -> Self {
        let open = |terms: Deposit| {
            (terms.channel.0, Channel { balance: terms.amount, withdraw_at: 0, terms })
        };
        Self {
            nonces: BTreeMap::new(),
            channels: deposits.into_iter().map(open).collect(),
            claimed: BTreeMap::new(),
            earned: BTreeMap::new(),
            paid_out: BTreeMap::new(),
            usage: UsageAnchor::default(),
        }
    }

    /// Token units credited on a lane.
    pub fn claimed(&self, channel: ChannelId, lane: u32) -> u128 {
        self.claimed.get(&(channel.0, lane)).copied().unwrap_or(0)
    }

    /// Token units that the receiver got.
    pub fn received(&self, receiver: weir_usage::Address, token: weir_usage::Address) -> u128 {
        let pair = (Address::from(receiver.0), Address::from(token.0));
        self.paid_out.get(&pair).copied().unwrap_or(0)
    }

    /// Token units left in a channel.
    pub fn balance(&self, channel: ChannelId) -> u128 {
        self.channels.get(&channel.0).map_or(0, |c| c.balance)
    }

    /// Runs a transaction of the escrow; `None` if it reverts.
    pub(super) fn escrow(&mut self, domain: &Domain, input: &[u8]) -> Option<Vec<LogData>> {
        if let Ok(call) = IExitEscrow::claimCall::abi_decode(input) {
            let rows = call.rows.into_iter().enumerate();
            return Some(rows.map(|(index, row)| self.claim(domain, index, &row)).collect());
        }
        let call = IExitEscrow::settleCall::abi_decode(input).ok()?;
        let pair = (call.receiver, call.token);
        let amount = self.earned.remove(&pair).unwrap_or(0);
        *self.paid_out.entry(pair).or_default() += amount;
        let (receiver, token) = pair;
        Some(vec![
            IExitEscrow::Settled { receiver, token, amount: U256::from(amount) }.encode_log_data(),
        ])
    }

    fn claim(
        &mut self,
        domain: &Domain,
        index: usize,
        row: &IExitEscrow::SignedVoucher,
    ) -> LogData {
        let voucher = &row.voucher;
        let skipped = |reason: u8| {
            IExitEscrow::ClaimSkipped {
                channelId: voucher.channelId,
                lane: voucher.lane,
                seq: voucher.seq,
                row: U256::from(index),
                reason,
            }
            .encode_log_data()
        };
        let Some(channel) = self.channels.get_mut(&voucher.channelId.0) else {
            return skipped(skip::UNKNOWN_CHANNEL);
        };
        let Ok(signature) = <[u8; 65]>::try_from(&row.signature[..]) else {
            return skipped(skip::WRONG_SIGNER);
        };
        let signed = SignedVoucher {
            voucher: Voucher {
                channel: ChannelId(voucher.channelId.0),
                lane: voucher.lane,
                amount: voucher.cumulativeAmount,
                seq: voucher.seq,
                usage_head: Digest(voucher.usageHead.0),
            },
            signature: Signature(signature),
        };
        if signed.verify(domain, channel.terms.signer).is_err() {
            return skipped(skip::WRONG_SIGNER);
        }
        let claimed = self.claimed.entry((voucher.channelId.0, voucher.lane)).or_default();
        let owed = voucher.cumulativeAmount.saturating_sub(*claimed);
        if owed == 0 {
            return skipped(skip::NOTHING_OWED);
        }
        let paid = owed.min(channel.balance);
        if paid == 0 {
            return skipped(skip::NO_BALANCE);
        }
        *claimed += paid;
        channel.balance -= paid;
        let receiver = Address::from(channel.terms.receiver.0);
        let token = Address::from(channel.terms.token.0);
        *self.earned.entry((receiver, token)).or_default() += paid;
        IExitEscrow::Claimed {
            channelId: voucher.channelId,
            lane: voucher.lane,
            receiver,
            paid,
            claimed: *claimed,
            cumulativeAmount: voucher.cumulativeAmount,
            seq: voucher.seq,
            usageHead: voucher.usageHead,
        }
        .encode_log_data()
    }

    /// From `at` on, Unix seconds, the payer can take what is left.
    pub(super) fn leave(&mut self, channel: ChannelId, at: u64) {
        if let Some(channel) = self.channels.get_mut(&channel.0) {
            channel.withdraw_at = at;
        }
    }

    /// Answers a call that only reads; `None` if it reverts.
    pub(super) fn read(&self, domain: &Domain, input: &[u8]) -> Option<Bytes> {
        let selector: [u8; 4] = *input.first_chunk()?;
        let bytes = match selector {
            IExitEscrow::channelsCall::SELECTOR => {
                let call = IExitEscrow::channelsCall::abi_decode(input).ok()?;
                let found = self.channels.get(&call.channelId.0);
                let terms = |pick: fn(&Deposit) -> weir_usage::Address| {
                    found.map_or(Address::ZERO, |c| Address::from(pick(&c.terms).0))
                };
                IExitEscrow::channelsCall::abi_encode_returns(&IExitEscrow::channelsReturn {
                    payer: terms(|t| t.payer),
                    withdrawDelay: 3600,
                    signer: terms(|t| t.signer),
                    withdrawAt: found.map_or(0, |c| c.withdraw_at),
                    receiver: terms(|t| t.receiver),
                    token: terms(|t| t.token),
                    balance: found.map_or(0, |c| c.balance),
                })
            }
            IExitEscrow::claimedCall::SELECTOR => {
                let call = IExitEscrow::claimedCall::abi_decode(input).ok()?;
                let claimed = self.claimed(ChannelId(call.channelId.0), call.lane);
                IExitEscrow::claimedCall::abi_encode_returns(&claimed)
            }
            IExitEscrow::earnedCall::SELECTOR => {
                let call = IExitEscrow::earnedCall::abi_decode(input).ok()?;
                let earned = self.earned.get(&(call.receiver, call.token)).copied().unwrap_or(0);
                IExitEscrow::earnedCall::abi_encode_returns(&U256::from(earned))
            }
            IExitEscrow::domainSeparatorCall::SELECTOR => {
                let separator = B256::from(domain.separator().0);
                IExitEscrow::domainSeparatorCall::abi_encode_returns(&separator)
            }
            _ => self.usage.read(input)?,
        };
        Some(bytes.into())
    }
}
