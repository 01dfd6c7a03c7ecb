//! Transactions of the command line (`deploy`, `channel open`): sent once, waited for, not in the
//! outbox. A human sees the outcome and decides what to do next. What is believed meanwhile is what
//! [`Nodes`] agree on.

use std::time::{Duration, Instant};

use alloy::consensus::TxEip1559;
use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use alloy::rpc::types::TransactionReceipt;

use super::nodes::Nodes;
use super::rpc::{self, Fees, Sent};
use crate::error::Error;
use crate::keys::Wallet;

/// Between two looks for a receipt.
const POLL: Duration = Duration::from_millis(200);

/// More than any chain of value ever asked for long: 5,000 gwei. The sidecar has the
/// configuration's ceiling; here an endpoint that lies would otherwise have the wallet given away
/// as a tip.
const MAX_FEE_WEI: u128 = 5_000_000_000_000;

/// Waits until no transaction of the key is under way: one of an earlier command that was killed,
/// say. What is read from the chain after this includes all that the key has done.
///
/// # Errors
/// [`Error::Transaction`] if they aren't mined in `patience`.
pub async fn idle(
    nodes: impl Into<Nodes>,
    wallet: &Wallet,
    patience: Duration,
) -> Result<(), Error> {
    let (nodes, of) = (nodes.into(), wallet.address());
    let deadline = Instant::now() + patience;
    loop {
        let mined = nodes.mined(of).await?;
        let (known, by) = nodes.known(of).await?;
        if known <= mined {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::Transaction {
                action: format!("waiting for transactions of {of}"),
                reason: format!(
                    "{} aren't mined after {} s, says {by}; is it the key of a running sidecar? Use \
                     another",
                    known - mined,
                    patience.as_secs()
                ),
            });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Sends one transaction (`to` = `None` creates a contract) and waits until it is mined.
///
/// # Errors
/// [`Error::Transaction`] if it would revert, reverts, is refused, or isn't mined in `patience`;
/// [`Error::DryRun`] in place of sending, if the wallet is for that.
pub async fn send(
    nodes: impl Into<Nodes>,
    wallet: &Wallet,
    action: &str,
    to: Option<Address>,
    input: Bytes,
    patience: Duration,
) -> Result<TransactionReceipt, Error> {
    pay(nodes, wallet, action, to, input, U256::ZERO, patience).await
}

/// As [`send`], with `value` wei.
///
/// # Errors
/// As [`send`].
pub async fn pay(
    nodes: impl Into<Nodes>,
    wallet: &Wallet,
    action: &str,
    to: Option<Address>,
    input: Bytes,
    value: U256,
    patience: Duration,
) -> Result<TransactionReceipt, Error> {
    let fail = |reason: String| Error::Transaction { action: action.into(), reason };
    let nodes = nodes.into();
    if nodes.are_several() {
        // Only what is mined can be agreed on, so nothing may wait before it.
        idle(&nodes, wallet, patience).await?;
    }
    let gas = nodes
        .estimate(rpc::request(wallet.address(), to, input.clone()).with_value(value))
        .await
        .map_err(|e| match e {
            Error::Transaction { reason, .. } => fail(reason),
            other => other,
        })?;
    let fees = nodes.fees().await?;
    if fees.now() > MAX_FEE_WEI {
        return Err(fail(format!(
            "{} asks for {} wei per gas, more than the {MAX_FEE_WEI} that are ever paid; nothing was \
             sent: try later, or ask another endpoint",
            nodes.shown(),
            fees.now()
        )));
    }
    if wallet.is_dry() {
        return Err(Error::DryRun {
            action: action.into(),
            to: to.map_or("a new contract".into(), |to| to.to_string()),
            value_wei: value.to_string(),
            gas,
            cost_wei: fees.now().saturating_mul(gas.into()),
        });
    }
    let fees = Fees { max_fee: fees.max_fee.min(MAX_FEE_WEI), tip: fees.tip };
    let tx = TxEip1559 {
        chain_id: nodes.chain_id().await?,
        nonce: nodes.next_nonce(wallet.address()).await?,
        gas_limit: gas.saturating_add(gas / 5),
        max_fee_per_gas: fees.max_fee,
        max_priority_fee_per_gas: fees.tip.min(fees.max_fee),
        to: to.map_or(TxKind::Create, TxKind::Call),
        value,
        access_list: Default::default(),
        input,
    };
    let signed = wallet.sign(tx)?;
    match nodes.send_raw(&signed.raw).await {
        Ok(Sent::Taken) => {}
        Ok(Sent::Refused(reason)) => return Err(fail(reason)),
        // It may have arrived, with only the answer lost.
        Err(e) => {
            return Err(fail(format!(
                "{e}; transaction {} may be under way all the same, look for it before trying again",
                signed.hash
            )));
        }
    }
    let deadline = Instant::now() + patience;
    loop {
        // It is sent: an endpoint that fails now and then must not end this without the hash.
        let trouble = match nodes.receipt(B256::from(signed.hash.0)).await {
            Ok(Some(receipt)) if receipt.status() => return Ok(receipt),
            Ok(Some(_)) => return Err(fail(format!("transaction {} reverted", signed.hash))),
            Ok(None) => String::new(),
            Err(e) => format!(" ({e})"),
        };
        if Instant::now() >= deadline {
            return Err(fail(format!(
                "transaction {} isn't seen mined after {} s{trouble}; look for it before trying again",
                signed.hash,
                patience.as_secs()
            )));
        }
        tokio::time::sleep(POLL).await;
    }
}
