//! Putting the contracts on a chain, and opening a channel as its payer.

use std::time::Duration;

use alloy::network::ReceiptResponse;
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::rpc::types::TransactionReceipt;
use alloy::sol_types::SolCall;
use serde::{Deserialize, Serialize};
use weir_usage::{ChannelTerms, Domain};

use super::contracts::{self, IERC20, IExitEscrow};
use super::nodes::Nodes;
use super::once;
use crate::error::Error;
use crate::keys::Wallet;

/// How long a transaction of the command line may take to be mined.
const PATIENCE: Duration = Duration::from_secs(300);

/// A contract that can be deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contract {
    /// Payers' deposits.
    ExitEscrow,
    /// Operators' stakes, and the bonds of agreements.
    OperatorBond,
    /// Usage roots.
    UsageAnchor,
    /// An ERC-20 that anybody can mint, for labs.
    TestToken,
}

#[derive(Deserialize)]
struct Artifact {
    bytecode: Bytes,
    #[serde(rename = "deployedBytecode")]
    deployed: Bytes,
}

/// A contract on chain.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Deployed {
    /// Where it is.
    pub address: String,
    /// Keccak-256 of its code, which is the code this program was built with.
    pub code_hash: String,
    /// The transaction that created it.
    pub tx: String,
    /// Gas it took.
    pub gas_used: u64,
}

/// A channel on chain.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Opened {
    /// Its id.
    pub channel: String,
    /// Who pays.
    pub payer: String,
    /// Whose vouchers count.
    pub signer: String,
    /// Who is paid.
    pub receiver: String,
    /// In which token.
    pub token: String,
    /// Seconds between the payer's two withdrawal steps.
    pub withdraw_delay_s: u64,
    /// What tells it apart.
    pub salt: String,
    /// Token units deposited.
    pub deposit: String,
    /// The transactions, oldest first.
    pub transactions: Vec<String>,
}

/// What is at an address.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Verified {
    /// The address.
    pub address: String,
    /// Which of the contracts it is; `None` if it is something else, or nothing.
    pub contract: Option<&'static str>,
    /// Keccak-256 of the code there; `None` if there is none.
    pub code_hash: Option<String>,
}

impl Contract {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::ExitEscrow, Self::UsageAnchor, Self::OperatorBond, Self::TestToken];

    /// Its name in Solidity.
    pub fn name(self) -> &'static str {
        match self {
            Self::ExitEscrow => "ExitEscrow",
            Self::OperatorBond => "OperatorBond",
            Self::UsageAnchor => "UsageAnchor",
            Self::TestToken => "TestToken",
        }
    }

    /// Keccak-256 of the code that this program was built with.
    pub fn code_hash(self) -> B256 {
        keccak256(self.artifact().deployed)
    }

    /// What creates it, as a transaction's input.
    pub fn creation(self) -> Bytes {
        self.artifact().bytecode
    }

    fn artifact(self) -> Artifact {
        let text = match self {
            Self::ExitEscrow => {
                include_str!("../../../../deploy/contracts/artifacts/ExitEscrow.json")
            }
            Self::OperatorBond => {
                include_str!("../../../../deploy/contracts/artifacts/OperatorBond.json")
            }
            Self::UsageAnchor => {
                include_str!("../../../../deploy/contracts/artifacts/UsageAnchor.json")
            }
            Self::TestToken => {
                include_str!("../../../../deploy/contracts/artifacts/TestToken.json")
            }
        };
        // Committed files, read at build time; a test reads them all.
        serde_json::from_str(text).expect("the committed contract artifacts are JSON")
    }
}

/// Says which contract is at an address, by the hash of its code.
///
/// # Errors
/// [`Error::Rpc`], [`Error::Unreachable`] or [`Error::Disagreement`].
pub async fn verify(nodes: &Nodes, at: Address) -> Result<Verified, Error> {
    let code = nodes.code(at).await?;
    let hash = keccak256(&code);
    let contract = Contract::ALL.into_iter().find(|c| c.code_hash() == hash);
    Ok(Verified {
        address: at.to_string(),
        contract: contract.map(Contract::name),
        code_hash: (!code.is_empty()).then(|| hash.to_string()),
    })
}

/// Deploys a contract, and checks that the code that is there is the code that was meant.
///
/// # Errors
/// [`Error::Transaction`], [`Error::NoContract`] or [`Error::Rpc`].
pub async fn deploy(
    nodes: impl Into<Nodes>,
    wallet: &Wallet,
    contract: Contract,
) -> Result<Deployed, Error> {
    let nodes = nodes.into();
    let artifact = contract.artifact();
    let action = format!("deploying {}", contract.name());
    let receipt = once::send(&nodes, wallet, &action, None, artifact.bytecode, PATIENCE).await?;
    let address = receipt.contract_address().ok_or_else(|| Error::Transaction {
        action: action.clone(),
        reason: "the receipt names no contract".into(),
    })?;
    let code = nodes.code(address).await?;
    if code != artifact.deployed {
        return Err(Error::NoContract {
            contract: contract.name(),
            address: address.to_string(),
            chain_id: nodes.chain_id().await?,
            reason: "the code there is not what was deployed".into(),
        });
    }
    Ok(Deployed {
        address: address.to_string(),
        code_hash: keccak256(&code).to_string(),
        tx: hash(&receipt),
        gas_used: receipt.gas_used,
    })
}

/// Opens a channel as its payer: mints (a test token only), approves, opens and deposits.
///
/// # Errors
/// [`Error::Transaction`] with the step that failed, or [`Error::Rpc`].
pub async fn open_channel(
    nodes: impl Into<Nodes>,
    payer: &Wallet,
    domain: &Domain,
    terms: &ChannelTerms,
    deposit: u128,
    mint: bool,
) -> Result<Opened, Error> {
    let nodes = &nodes.into();
    let token = contracts::address(terms.token);
    let escrow = contracts::address(domain.escrow);
    let mut transactions = Vec::new();
    if mint {
        let call = IERC20::mintCall { to: payer.address(), amount: U256::from(deposit) };
        transactions.push(call_once(nodes, payer, "minting", token, call).await?);
    }
    if deposit > 0 {
        let call = IERC20::approveCall { spender: escrow, amount: U256::from(deposit) };
        transactions.push(call_once(nodes, payer, "approving the deposit", token, call).await?);
    }
    let call = IExitEscrow::openChannelCall {
        signer: contracts::address(terms.signer),
        receiver: contracts::address(terms.receiver),
        token,
        withdrawDelay: terms.withdraw_delay_s,
        salt: B256::from(terms.salt),
        amount: deposit,
    };
    transactions.push(call_once(nodes, payer, "opening the channel", escrow, call).await?);
    let id = terms.id(domain);
    let found =
        nodes.view(escrow, IExitEscrow::channelsCall { channelId: B256::from(id.0) }).await?;
    if found.payer != payer.address() {
        return Err(Error::Transaction {
            action: "opening the channel".into(),
            reason: format!("the contract doesn't know {id}"),
        });
    }
    Ok(Opened {
        channel: id.to_string(),
        payer: terms.payer.to_string(),
        signer: terms.signer.to_string(),
        receiver: terms.receiver.to_string(),
        token: terms.token.to_string(),
        withdraw_delay_s: terms.withdraw_delay_s,
        salt: weir_usage::Digest(terms.salt).to_string(),
        deposit: deposit.to_string(),
        transactions,
    })
}

async fn call_once<C: SolCall>(
    nodes: &Nodes,
    wallet: &Wallet,
    action: &str,
    to: Address,
    call: C,
) -> Result<String, Error> {
    let input = call.abi_encode().into();
    Ok(hash(&once::send(nodes, wallet, action, Some(to), input, PATIENCE).await?))
}

fn hash(receipt: &TransactionReceipt) -> String {
    receipt.transaction_hash.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_are_readable() {
        use Contract::{ExitEscrow, OperatorBond, TestToken, UsageAnchor};
        for contract in [ExitEscrow, OperatorBond, UsageAnchor, TestToken] {
            let artifact = contract.artifact();
            assert!(artifact.bytecode.len() > artifact.deployed.len());
            assert!(artifact.bytecode.ends_with(&artifact.deployed), "no constructor arguments");
        }
    }
}
