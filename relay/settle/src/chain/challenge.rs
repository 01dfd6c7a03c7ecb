//! Challenges of `UsageAnchor`: somebody pays to have a random leaf shown, and the exit shows it.
//!
//! Answering and expiring are wishes about the state and can be repeated (see [`super::bond`]). A
//! challenge can't: each call is another challenge with a fee of its own.

use std::time::Duration;

use alloy::primitives::{B256, U256};
use alloy::sol_types::{SolCall, SolEvent};
use serde::Serialize;
use weir_usage::merkle::Anchor;
use weir_usage::{Address, Digest};

use super::contracts::{IUsageAnchor, address};
use super::nodes::Nodes;
use super::once;
use crate::audit;
use crate::error::Error;
use crate::journal::entry::AnchorLeaves;
use crate::keys::Wallet;
pub use abi::IChallenges;

/// How long a transaction may take to be mined.
const PATIENCE: Duration = Duration::from_secs(300);

mod abi {
    use alloy::sol;

    sol! {
        #[derive(Debug)]
        interface IChallenges {
            struct Node {
                bytes32 hash;
                uint128 sum;
            }

            event LeafChallenged(
                uint256 indexed challengeId,
                address indexed exit,
                uint64 indexed epoch,
                address challenger,
                bytes32 seed,
                uint64 answerBy
            );

            function challengeLeaf(address exit, uint64 epoch) external payable returns (uint256);
            function answerLeaf(
                uint256 challengeId,
                bytes32 hash,
                uint128 sum,
                uint64 leaves,
                Node[] calldata siblings
            ) external;
            function expireChallenge(uint256 challengeId) external;
            function challenges(uint256 challengeId) external view returns (
                address exit,
                uint64 epoch,
                uint8 state,
                address challenger,
                uint64 answerBy,
                bytes32 seed,
                uint256 fee
            );
            function answerFee() external view returns (uint256);
            function challengeCount() external view returns (uint256);
            function records(address exit) external view returns (
                uint64 challenged,
                uint64 answered,
                uint64 unanswered
            );
            function owed(address account) external view returns (uint256);
            function payFees(address account) external returns (uint256 amount);
            function isAnchored(address exit, uint64 epoch, bytes32 root, uint128 total)
                external view returns (bool);
        }
    }
}

/// A challenge as the contract has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Challenge {
    /// Its number.
    pub id: u64,
    /// Who is to answer.
    pub exit: Address,
    /// About which accounting period.
    pub epoch: u64,
    /// `open`, `answered` or `unanswered`.
    pub state: &'static str,
    /// Unix time in seconds up to which an answer counts.
    pub answer_by: u64,
    /// The leaf to show is number seed mod leaves.
    pub seed: Digest,
    /// For the exit's gas, in wei.
    pub fee_wei: String,
}

/// The contract on a chain.
#[derive(Debug, Clone)]
pub struct Challenges {
    nodes: Nodes,
    contract: Address,
}

impl Challenges {
    /// The contract at this address.
    pub fn at(nodes: impl Into<Nodes>, contract: Address) -> Self {
        Self { nodes: nodes.into(), contract }
    }

    /// Whether `exit` has anchored exactly this.
    ///
    /// # Errors
    /// [`Error::Rpc`].
    pub async fn is_anchored(&self, exit: Address, anchor: &Anchor) -> Result<bool, Error> {
        let (root, total) = (B256::from(anchor.root.0), anchor.total);
        let (exit, epoch) = (address(exit), anchor.epoch);
        self.view(IChallenges::isAnchoredCall { exit, epoch, root, total }).await
    }

    /// Has `anchor` anchored by the wallet's account; the transaction, unless it was there before.
    /// What the sidecar anchors of its usage goes through its outbox instead.
    ///
    /// # Errors
    /// [`Error::Audit`] for an epoch that has another anchor; [`Error::Transaction`] or
    /// [`Error::Rpc`].
    pub async fn anchor(&self, wallet: &Wallet, anchor: &Anchor) -> Result<Option<String>, Error> {
        once::idle(&self.nodes, wallet, PATIENCE).await?;
        let (exit, epoch) = (wallet.address(), anchor.epoch);
        if self.is_anchored(Address(exit.into_array()), anchor).await? {
            return Ok(None);
        }
        let other = self.view(IUsageAnchor::commitmentsCall { exit, epoch }).await?;
        if other != B256::ZERO {
            let reason = format!("{exit} has anchored something else for epoch {epoch} already");
            return Err(Error::Audit(reason));
        }
        let (root, total) = (B256::from(anchor.root.0), anchor.total);
        let call = IUsageAnchor::anchorCall { epoch, root, total };
        Ok(Some(self.send(wallet, "anchoring a day", call).await?))
    }

    /// A challenge.
    ///
    /// # Errors
    /// [`Error::Audit`] if there is none of that number; [`Error::Rpc`].
    pub async fn challenge(&self, id: u64) -> Result<Challenge, Error> {
        let found = self.view(IChallenges::challengesCall { challengeId: U256::from(id) }).await?;
        let state = match found.state {
            1 => "open",
            2 => "answered",
            3 => "unanswered",
            _ => return Err(Error::Audit(format!("there is no challenge {id}"))),
        };
        Ok(Challenge {
            id,
            exit: Address(found.exit.into_array()),
            epoch: found.epoch,
            state,
            answer_by: found.answerBy,
            seed: Digest(found.seed.0),
            fee_wei: found.fee.to_string(),
        })
    }

    /// Has a leaf picked by chance. The fee is a quarter above the least, because the least rises
    /// with the block's; the exit gets it, or without an answer the challenger again.
    ///
    /// # Errors
    /// [`Error::Transaction`], as for an epoch that isn't anchored; [`Error::Rpc`].
    pub async fn open(&self, wallet: &Wallet, exit: Address, epoch: u64) -> Result<u64, Error> {
        const ACTION: &str = "challenging a leaf";
        once::idle(&self.nodes, wallet, PATIENCE).await?;
        let least = self.view(IChallenges::answerFeeCall {}).await?;
        let fee = least.saturating_add(least / U256::from(4));
        let call = IChallenges::challengeLeafCall { exit: address(exit), epoch };
        let (to, input) = (Some(address(self.contract)), call.abi_encode().into());
        let receipt = once::pay(&self.nodes, wallet, ACTION, to, input, fee, PATIENCE).await?;
        let event = receipt
            .logs()
            .iter()
            .filter(|log| log.address() == address(self.contract))
            .find_map(|log| IChallenges::LeafChallenged::decode_log(&log.inner).ok());
        let id = event.and_then(|event| u64::try_from(event.challengeId).ok());
        id.ok_or_else(|| Error::Transaction {
            action: ACTION.into(),
            reason: "the receipt names no challenge".into(),
        })
    }

    /// Has a challenge answered with the leaf it picked; with gas, anybody may.
    ///
    /// # Errors
    /// [`Error::Audit`] for leaves that aren't the challenged ones or a challenge that went
    /// unanswered; [`Error::Transaction`] past its time; [`Error::Rpc`].
    pub async fn answer(
        &self,
        wallet: &Wallet,
        id: u64,
        anchor: &AnchorLeaves,
    ) -> Result<Option<String>, Error> {
        once::idle(&self.nodes, wallet, PATIENCE).await?;
        let challenge = self.challenge(id).await?;
        match challenge.state {
            "answered" => return Ok(None),
            "open" => {}
            _ => return Err(Error::Audit(format!("challenge {id} went unanswered"))),
        }
        let held = Anchor { epoch: anchor.epoch, root: anchor.root, total: anchor.total };
        if challenge.epoch != anchor.epoch || !self.is_anchored(challenge.exit, &held).await? {
            let (exit, epoch) = (challenge.exit, challenge.epoch);
            let reason = format!("these aren't the leaves that {exit} anchored for epoch {epoch}");
            return Err(Error::Audit(reason));
        }
        let leaves = anchor.leaves.len() as u64;
        let (hash, sum, siblings) = if leaves == 0 {
            (B256::ZERO, 0, Vec::new())
        } else {
            let seed = U256::from_be_bytes(challenge.seed.0);
            let index: u64 = (seed % U256::from(leaves)).saturating_to();
            let (leaf, proof) = audit::leaf(anchor, index)?;
            let node = |one: &weir_usage::merkle::Node| IChallenges::Node {
                hash: B256::from(one.hash.0),
                sum: one.sum,
            };
            (B256::from(leaf.hash.0), leaf.sum, proof.siblings.iter().map(node).collect())
        };
        let challenge_id = U256::from(id);
        let call =
            IChallenges::answerLeafCall { challengeId: challenge_id, hash, sum, leaves, siblings };
        Ok(Some(self.send(wallet, "showing the leaf", call).await?))
    }

    /// Has it recorded that a challenge wasn't answered in time; anybody may.
    ///
    /// # Errors
    /// [`Error::Audit`] for a challenge that was answered; [`Error::Transaction`] before its time.
    pub async fn expire(&self, wallet: &Wallet, id: u64) -> Result<Option<String>, Error> {
        once::idle(&self.nodes, wallet, PATIENCE).await?;
        match self.challenge(id).await?.state {
            "unanswered" => Ok(None),
            "open" => {
                let call = IChallenges::expireChallengeCall { challengeId: U256::from(id) };
                Ok(Some(self.send(wallet, "expiring the challenge", call).await?))
            }
            _ => Err(Error::Audit(format!("challenge {id} was answered"))),
        }
    }

    async fn view<C: SolCall>(&self, call: C) -> Result<C::Return, Error> {
        self.nodes.view(address(self.contract), call).await
    }

    async fn send<C: SolCall>(
        &self,
        wallet: &Wallet,
        action: &str,
        call: C,
    ) -> Result<String, Error> {
        let (to, input) = (Some(address(self.contract)), call.abi_encode().into());
        let receipt = once::send(&self.nodes, wallet, action, to, input, PATIENCE).await?;
        Ok(receipt.transaction_hash.to_string())
    }
}
