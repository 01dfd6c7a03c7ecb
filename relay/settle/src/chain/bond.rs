//! `OperatorBond` from the command line: stakes, agreements, credits and reports.
//!
//! Every operation is a wish about the state ("have so much bonded", "have this agreement open"),
//! not a step. It first waits until the key has no transaction under way, then reads the contract,
//! then sends what is missing, each transaction after the one before is mined. After a kill -9 at
//! any point, doing it again does the rest, and what is done already isn't done twice.
//!
//! The key must not be the one with which a running sidecar claims: two programs that count nonces
//! of one key push out each other's transactions. The operator of a stake is therefore a key of its
//! own; tokens and gas come from its account.

pub mod abi;
mod report;
mod sla;
mod stake;
mod words;

use std::time::Duration;

use alloy::primitives::{Address, U256};
use alloy::sol_types::SolCall;
use serde::Serialize;
use weir_usage::bond::BondDomain;

use super::contracts::{self, IERC20};
use super::nodes::Nodes;
use super::once;
use crate::error::Error;
use crate::keys::Wallet;
use abi::{IAllowance, IOperatorBond};

pub use report::{Commitment, Evidence, Pair, Reported};
pub use sla::{Credited, SlaView};
pub use stake::StakeView;

/// How long a transaction may take to be mined, and how long to wait for earlier ones.
const PATIENCE: Duration = Duration::from_secs(300);

/// The contract on a chain.
#[derive(Debug, Clone)]
pub struct Bond {
    nodes: Nodes,
    domain: BondDomain,
}

/// What was done; without transactions, because it was done before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Done {
    /// Their hashes, oldest first.
    pub transactions: Vec<String>,
}

impl Bond {
    /// The contract at this address, if it is one.
    ///
    /// # Errors
    /// [`Error::NoContract`], [`Error::Rpc`] or [`Error::Disagreement`].
    pub async fn at(nodes: impl Into<Nodes>, contract: weir_usage::Address) -> Result<Self, Error> {
        let nodes = nodes.into();
        let domain = BondDomain { chain_id: nodes.chain_id().await?, bond: contract };
        let at = contracts::address(contract);
        let missing = |reason: String| Error::NoContract {
            contract: "OperatorBond",
            address: at.to_string(),
            chain_id: domain.chain_id,
            reason,
        };
        if nodes.code(at).await?.is_empty() {
            return Err(missing("there is no code".into()));
        }
        let separator =
            nodes.view(at, IOperatorBond::domainSeparatorCall {}).await.map_err(|e| match e {
                e @ Error::Rpc { .. } => missing(e.to_string()),
                other => other,
            })?;
        if separator.0 != domain.separator().0 {
            return Err(missing("its EIP-712 domain is another one".into()));
        }
        Ok(Self { nodes, domain })
    }

    /// As [`Bond::at`], and it must be the domain that a file names.
    ///
    /// # Errors
    /// [`Error::WrongChain`], and as [`Bond::at`].
    pub async fn of(nodes: impl Into<Nodes>, domain: BondDomain) -> Result<Self, Error> {
        let nodes = nodes.into();
        let found = nodes.chain_id().await?;
        if found != domain.chain_id {
            let expected = domain.chain_id;
            return Err(Error::WrongChain { rpc: nodes.shown(), found, expected });
        }
        Self::at(nodes, domain.bond).await
    }

    /// Chain and contract, for which messages are signed.
    pub fn domain(&self) -> BondDomain {
        self.domain
    }

    /// Fetches what the contract owes to `account`, in `token`; anybody may.
    ///
    /// # Errors
    /// [`Error::Transaction`] or [`Error::Rpc`].
    pub async fn pay_out(
        &self,
        wallet: &Wallet,
        account: weir_usage::Address,
        token: weir_usage::Address,
    ) -> Result<Done, Error> {
        once::idle(&self.nodes, wallet, PATIENCE).await?;
        let (account, token) = (contracts::address(account), contracts::address(token));
        if self.view(IOperatorBond::owedCall { account, token }).await?.is_zero() {
            return Ok(Done::default());
        }
        let call = IOperatorBond::payOutCall { account, token };
        Ok(Done { transactions: vec![self.send(wallet, "paying out", call).await?] })
    }

    async fn view<C: SolCall>(&self, call: C) -> Result<C::Return, Error> {
        self.nodes.view(self.contract(), call).await
    }

    async fn send<C: SolCall>(
        &self,
        wallet: &Wallet,
        action: &str,
        call: C,
    ) -> Result<String, Error> {
        self.send_to(wallet, action, self.contract(), call).await
    }

    async fn send_to<C: SolCall>(
        &self,
        wallet: &Wallet,
        action: &str,
        to: Address,
        call: C,
    ) -> Result<String, Error> {
        let input = call.abi_encode().into();
        match once::send(&self.nodes, wallet, action, Some(to), input, PATIENCE).await {
            Ok(receipt) => Ok(receipt.transaction_hash.to_string()),
            Err(Error::Transaction { action, reason }) => {
                Err(Error::Transaction { action, reason: words::explain(&reason) })
            }
            Err(other) => Err(other),
        }
    }

    /// Lets the contract take `amount` of the wallet's tokens; minted first on request, which works
    /// with the test token only.
    async fn allow(
        &self,
        wallet: &Wallet,
        token: weir_usage::Address,
        amount: u128,
        mint: bool,
        done: &mut Done,
    ) -> Result<(), Error> {
        let (token, owner, spender) =
            (contracts::address(token), wallet.address(), self.contract());
        let amount = U256::from(amount);
        let held = self.nodes.view(token, IERC20::balanceOfCall { owner }).await?;
        if held < amount {
            if !mint {
                return Err(Error::Transaction {
                    action: "bonding".into(),
                    reason: format!("{owner} has {held} of the {amount} token units needed"),
                });
            }
            let call = IERC20::mintCall { to: owner, amount: amount - held };
            done.transactions.push(self.send_to(wallet, "minting", token, call).await?);
        }
        let allowed = self.nodes.view(token, IAllowance::allowanceCall { owner, spender }).await?;
        // What an interrupted run allowed; some tokens refuse to change an allowance but to 0.
        let steps = match allowed {
            enough if enough == amount => vec![],
            none if none.is_zero() => vec![amount],
            _ => vec![U256::ZERO, amount],
        };
        for amount in steps {
            let call = IERC20::approveCall { spender, amount };
            done.transactions.push(self.send_to(wallet, "approving the bond", token, call).await?);
        }
        Ok(())
    }

    fn contract(&self) -> Address {
        contracts::address(self.domain.bond)
    }
}
