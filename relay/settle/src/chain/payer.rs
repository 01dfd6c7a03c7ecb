//! A payer leaves: two steps with the channel's delay between them, which is the exit's time to
//! claim what was signed for.

use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes};
use alloy::sol_types::{SolCall, SolEvent};
use serde::Serialize;
use weir_usage::ChannelId;

use super::contracts::IExitEscrow;
use super::nodes::Nodes;
use super::once;
use super::rpc;
use crate::error::Error;
use crate::keys::Wallet;

const PATIENCE: Duration = Duration::from_secs(300);

/// What a call of [`withdraw`] came to. Each call takes the step that is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum Withdrawal {
    /// The delay has begun.
    Initiated {
        /// The transaction.
        tx: String,
        /// Unix time from which the rest can be taken.
        ready_at: u64,
    },
    /// The delay isn't over.
    Waiting {
        /// Unix time from which the rest can be taken.
        ready_at: u64,
        /// Until then, by the chain's clock.
        seconds_left: u64,
    },
    /// The rest is with the payer.
    Finalized {
        /// The transaction.
        tx: String,
        /// How many token units that is.
        units: String,
    },
    /// A dry run: what would be sent.
    Would {
        /// initiateWithdraw or finalizeWithdraw.
        call: &'static str,
        /// Token units in the channel.
        units: String,
        /// Gas by the node's estimate.
        gas: u64,
        /// Its price, in wei.
        cost_wei: String,
    },
    /// There is nothing in the channel.
    Empty,
}

/// Takes the next step of the payer's withdrawal from its channel; safe to repeat.
///
/// # Errors
/// [`Error::Transaction`] if the wallet isn't the payer's, or the step fails; [`Error::Rpc`],
/// [`Error::Unreachable`] or [`Error::Disagreement`].
pub async fn withdraw(
    nodes: &Nodes,
    wallet: &Wallet,
    escrow: Address,
    channel: ChannelId,
    dry_run: bool,
) -> Result<Withdrawal, Error> {
    let id = B256::from(channel.0);
    let found = nodes.view(escrow, IExitEscrow::channelsCall { channelId: id }).await?;
    let fail = |reason: String| Error::Transaction {
        action: format!("withdrawing from {channel}"),
        reason,
    };
    if found.payer.is_zero() {
        return Err(fail(format!("the contract {escrow} has no such channel")));
    }
    if found.payer != wallet.address() {
        return Err(fail(format!(
            "its payer is {}, the key is of {}",
            found.payer,
            wallet.address()
        )));
    }
    if found.balance == 0 {
        return Ok(Withdrawal::Empty);
    }
    let now = nodes.time().await?;
    let ready_at = found.withdrawAt;
    if ready_at > now {
        return Ok(Withdrawal::Waiting { ready_at, seconds_left: ready_at - now });
    }
    let (call, input): (_, Bytes) = if ready_at == 0 {
        let call = IExitEscrow::initiateWithdrawCall { channelId: id };
        ("initiateWithdraw", call.abi_encode().into())
    } else {
        let call = IExitEscrow::finalizeWithdrawCall { channelId: id };
        ("finalizeWithdraw", call.abi_encode().into())
    };
    if dry_run {
        let request = rpc::request(wallet.address(), Some(escrow), input);
        let gas = nodes.estimate(request).await?;
        let cost_wei = nodes.fees().await?.now().saturating_mul(gas.into()).to_string();
        return Ok(Withdrawal::Would { call, units: found.balance.to_string(), gas, cost_wei });
    }
    let receipt = once::send(nodes, wallet, call, Some(escrow), input, PATIENCE).await?;
    let tx = receipt.transaction_hash.to_string();
    for log in receipt.inner.logs() {
        if let Ok(event) = IExitEscrow::WithdrawInitiated::decode_log(&log.inner) {
            return Ok(Withdrawal::Initiated { tx, ready_at: event.withdrawAt });
        }
        if let Ok(event) = IExitEscrow::Withdrawn::decode_log(&log.inner) {
            return Ok(Withdrawal::Finalized { tx, units: event.amount.to_string() });
        }
    }
    Err(fail(format!("{tx} was mined, but says nothing of a withdrawal")))
}
