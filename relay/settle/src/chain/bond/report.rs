//! Reporting a contradiction: announced first, shown a block later, so that nobody who reads the
//! mempool can take the reward.
//!
//! The salt of the announcement is a signature of the reporter's key, so it needs no file: a report
//! that was killed between its two transactions goes on where it was.

use std::time::Instant;

use alloy::primitives::{B256, U256};
use serde::Serialize;
use weir_usage::bond::{EpochStatement, Signed, Statement, StreamStatement, report_commitment};
use weir_usage::{Address, Digest, StakeId, keccak256};

use super::abi::{self, IOperatorBond};
use super::stake::decimal;
use super::{Bond, Done, PATIENCE};
use crate::chain::once;
use crate::error::Error;
use crate::keys::Wallet;

/// Between two looks for the next block.
const POLL: std::time::Duration = std::time::Duration::from_millis(500);
const ACTION: &str = "reporting";

/// Two statements that contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pair {
    /// Two contents of one record.
    Records(Signed<StreamStatement>, Signed<StreamStatement>),
    /// Two roots or totals of one epoch.
    Epochs(Signed<EpochStatement>, Signed<EpochStatement>),
}

/// A contradiction and who is caught in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The usage key that signed both.
    pub signer: Address,
    /// What it signed.
    pub pair: Pair,
}

/// An announced report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Commitment {
    /// What was announced.
    pub commitment: Digest,
    /// The block of the announcement; the report is good from the next one on.
    pub block: u64,
    /// The transaction; none if it was announced before.
    pub done: Done,
}

/// What a report brought, in token units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reported {
    /// Everything the stake has lost so far, to this report and to others.
    #[serde(serialize_with = "decimal")]
    pub slashed: u128,
    /// What is still bonded.
    #[serde(serialize_with = "decimal")]
    pub active: u128,
    /// How often the operator was caught.
    pub equivocations: u32,
    /// The transactions; none if the stake was slashed for these statements before.
    pub done: Done,
}

impl Pair {
    /// Who contradicts himself.
    ///
    /// # Errors
    /// [`weir_usage::Error::NoContradiction`], or what is wrong with a signature.
    pub fn signer(&self, bond: &Bond) -> Result<Address, Error> {
        Ok(match self {
            Self::Records(a, b) => a.contradicts(b, &bond.domain)?,
            Self::Epochs(a, b) => a.contradicts(b, &bond.domain)?,
        })
    }

    fn subject(&self) -> Digest {
        match self {
            Self::Records(a, _) => a.statement.subject(),
            Self::Epochs(a, _) => a.statement.subject(),
        }
    }

    fn hashes(&self) -> [Digest; 2] {
        match self {
            Self::Records(a, b) => [a.statement.struct_hash(), b.statement.struct_hash()],
            Self::Epochs(a, b) => [a.statement.struct_hash(), b.statement.struct_hash()],
        }
    }
}

impl Bond {
    /// Announces a report on a stake. Shows nothing of it.
    ///
    /// # Errors
    /// No contradiction, one of another key than the stake's, [`Error::Rpc`].
    pub async fn commit_report(
        &self,
        reporter: &Wallet,
        id: StakeId,
        pair: &Pair,
    ) -> Result<Commitment, Error> {
        once::idle(&self.nodes, reporter, PATIENCE).await?;
        self.must_concern(id, pair).await?;
        let (_, commitment) = self.commitment(reporter, id, pair)?;
        let mut done = Done::default();
        let mut block = self.committed_at(commitment).await?;
        if block == 0 {
            let call = IOperatorBond::commitReportCall { commitment: abi::word(commitment) };
            done.transactions.push(self.send(reporter, "announcing the report", call).await?);
            block = self.committed_at(commitment).await?;
        }
        Ok(Commitment { commitment, block, done })
    }

    /// Reports a contradiction: announces it if that wasn't done, waits for the next block, has the
    /// stake slashed, and fetches the reward.
    ///
    /// # Errors
    /// As [`Bond::commit_report`]; no block within five minutes.
    pub async fn report(
        &self,
        reporter: &Wallet,
        id: StakeId,
        pair: &Pair,
    ) -> Result<Reported, Error> {
        let stake = self.existing(id).await?;
        let mut done = Done::default();
        if !self.is_known(id, pair).await? {
            let announced = self.commit_report(reporter, id, pair).await?;
            done.transactions.extend(announced.done.transactions);
            self.wait_for_block_after(announced.block).await?;
            done.transactions.push(self.slash(reporter, id, pair).await?);
        }
        let own = abi::own(reporter.address());
        let fetched = self.pay_out(reporter, own, stake.terms.token).await?;
        done.transactions.extend(fetched.transactions);
        let stake = self.existing(id).await?;
        let (slashed, active) = (stake.slashed, stake.active);
        Ok(Reported { slashed, active, equivocations: stake.equivocations, done })
    }

    async fn slash(&self, reporter: &Wallet, id: StakeId, pair: &Pair) -> Result<String, Error> {
        let (salt, _) = self.commitment(reporter, id, pair)?;
        let (stake, salt) = (B256::from(id.0), abi::word(salt));
        match pair {
            Pair::Records(a, b) => {
                let [a, b] = [a, b].map(|one| IOperatorBond::SignedStreamStatement {
                    statement: IOperatorBond::StreamStatement {
                        stream: abi::word(one.statement.stream),
                        seq: one.statement.seq,
                        content: abi::word(one.statement.content),
                    },
                    signature: abi::bytes(&one.signature),
                });
                let call =
                    IOperatorBond::slashStreamEquivocationCall { stakeId: stake, a, b, salt };
                self.send(reporter, ACTION, call).await
            }
            Pair::Epochs(a, b) => {
                let [a, b] = [a, b].map(|one| IOperatorBond::SignedEpochStatement {
                    statement: IOperatorBond::EpochStatement {
                        epoch: one.statement.epoch,
                        root: abi::word(one.statement.root),
                        total: one.statement.total,
                    },
                    signature: abi::bytes(&one.signature),
                });
                let call = IOperatorBond::slashEpochEquivocationCall { stakeId: stake, a, b, salt };
                self.send(reporter, ACTION, call).await
            }
        }
    }

    async fn must_concern(&self, id: StakeId, pair: &Pair) -> Result<(), Error> {
        let found = pair.signer(self)?;
        let expected = self.existing(id).await?.terms.signer;
        if found != expected {
            return Err(weir_usage::Error::WrongSigner { expected, found }.into());
        }
        Ok(())
    }

    /// Whether the stake was slashed for both statements.
    async fn is_known(&self, id: StakeId, pair: &Pair) -> Result<bool, Error> {
        for hash in pair.hashes() {
            let (stake, statement) = (B256::from(id.0), abi::word(hash));
            let call = IOperatorBond::slashedForCall { stakeId: stake, statement };
            if !self.view(call).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn committed_at(&self, commitment: Digest) -> Result<u64, Error> {
        let call = IOperatorBond::committedAtCall { commitment: abi::word(commitment) };
        let block: U256 = self.view(call).await?;
        Ok(block.saturating_to())
    }

    async fn wait_for_block_after(&self, block: u64) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        while self.nodes.block_number().await? <= block {
            if Instant::now() >= deadline {
                let reason = format!("no block after {block}; repeat it later");
                return Err(Error::Transaction { action: ACTION.into(), reason });
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// The salt and the commitment of this reporter for this subject.
    fn commitment(
        &self,
        reporter: &Wallet,
        id: StakeId,
        pair: &Pair,
    ) -> Result<(Digest, Digest), Error> {
        let subject = pair.subject();
        let mut seed = b"Weir report salt".to_vec();
        seed.extend_from_slice(&self.domain.separator().0);
        seed.extend_from_slice(&id.0);
        seed.extend_from_slice(&subject.0);
        // A signature is the same every time (RFC 6979), and a secret of the key.
        let salt = keccak256(&reporter.sign_digest(&keccak256(&seed))?.0);
        let own = abi::own(reporter.address());
        Ok((salt, report_commitment(own, id, &subject, &salt.0)))
    }
}
