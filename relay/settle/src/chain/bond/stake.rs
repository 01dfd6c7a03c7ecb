//! Opening, raising and leaving a stake.

use alloy::primitives::B256;
use serde::Serialize;
use weir_usage::StakeId;
use weir_usage::bond::StakeTerms;

use super::abi::{self, IOperatorBond};
use super::{Bond, Done, PATIENCE};
use crate::chain::once;
use crate::error::Error;
use crate::keys::Wallet;

/// A stake as the contract has it. Amounts in token units, as decimal strings in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StakeView {
    /// Its name.
    pub id: StakeId,
    /// What it was opened with.
    pub terms: StakeTerms,
    /// Bonded.
    #[serde(serialize_with = "decimal")]
    pub active: u128,
    /// On its way out, and still slashable.
    #[serde(serialize_with = "decimal")]
    pub unbonding: u128,
    /// Everything ever bonded.
    #[serde(serialize_with = "decimal")]
    pub deposited: u128,
    /// Everything ever slashed.
    #[serde(serialize_with = "decimal")]
    pub slashed: u128,
    /// Unix time in seconds from which what is unbonding can be released; 0 while nothing is.
    pub release_at: u64,
    /// How often the operator was caught.
    pub equivocations: u32,
}

impl Bond {
    /// A stake; `None` if there is none of that name.
    ///
    /// # Errors
    /// [`Error::Rpc`].
    pub async fn stake(&self, id: StakeId) -> Result<Option<StakeView>, Error> {
        let found = self.view(IOperatorBond::stakesCall { stakeId: B256::from(id.0) }).await?;
        if found.terms.operator.is_zero() {
            return Ok(None);
        }
        Ok(Some(StakeView {
            id,
            terms: abi::from_stake_terms(&found.terms),
            active: found.active,
            unbonding: found.unbonding,
            deposited: found.deposited,
            slashed: found.slashed,
            release_at: found.releaseAt,
            equivocations: found.equivocations,
        }))
    }

    /// Has a stake with these terms and `active` units bonded: opens it, or adds what is missing.
    ///
    /// # Errors
    /// Terms that make no sense, another operator's key, too few tokens, [`Error::Rpc`].
    pub async fn open_stake(
        &self,
        operator: &Wallet,
        terms: &StakeTerms,
        active: u128,
        mint: bool,
    ) -> Result<Done, Error> {
        terms.check()?;
        must_be(operator, terms)?;
        once::idle(&self.nodes, operator, PATIENCE).await?;
        let id = terms.id(&self.domain);
        if self.stake(id).await?.is_some() {
            return self.raise_stake(operator, id, active, mint).await;
        }
        let mut done = Done::default();
        self.allow(operator, terms.token, active, mint, &mut done).await?;
        let call = IOperatorBond::stakeCall { terms: abi::stake_terms(terms), amount: active };
        done.transactions.push(self.send(operator, "opening the stake", call).await?);
        Ok(done)
    }

    /// Has `active` units bonded in an existing stake; anybody may. Never takes any out.
    ///
    /// # Errors
    /// No such stake, too few tokens, [`Error::Rpc`].
    pub async fn raise_stake(
        &self,
        wallet: &Wallet,
        id: StakeId,
        active: u128,
        mint: bool,
    ) -> Result<Done, Error> {
        once::idle(&self.nodes, wallet, PATIENCE).await?;
        let stake = self.existing(id).await?;
        let missing = active.saturating_sub(stake.active);
        let mut done = Done::default();
        if missing > 0 {
            self.allow(wallet, stake.terms.token, missing, mint, &mut done).await?;
            let call = IOperatorBond::bondCall { stakeId: B256::from(id.0), amount: missing };
            done.transactions.push(self.send(wallet, "bonding", call).await?);
        }
        Ok(done)
    }

    /// Starts the delay for all that is bonded above `leave` units. What was unbonding before waits
    /// anew with it.
    ///
    /// # Errors
    /// No such stake, another operator's key, [`Error::Rpc`].
    pub async fn unbond(&self, operator: &Wallet, id: StakeId, leave: u128) -> Result<Done, Error> {
        once::idle(&self.nodes, operator, PATIENCE).await?;
        let stake = self.existing(id).await?;
        must_be(operator, &stake.terms)?;
        let amount = stake.active.saturating_sub(leave);
        if amount == 0 {
            return Ok(Done::default());
        }
        let call = IOperatorBond::unbondCall { stakeId: B256::from(id.0), amount };
        Ok(Done { transactions: vec![self.send(operator, "unbonding", call).await?] })
    }

    /// Bonds again whatever is unbonding.
    ///
    /// # Errors
    /// As [`Bond::unbond`].
    pub async fn rebond(&self, operator: &Wallet, id: StakeId) -> Result<Done, Error> {
        once::idle(&self.nodes, operator, PATIENCE).await?;
        let stake = self.existing(id).await?;
        must_be(operator, &stake.terms)?;
        if stake.unbonding == 0 {
            return Ok(Done::default());
        }
        let call = IOperatorBond::rebondCall { stakeId: B256::from(id.0) };
        Ok(Done { transactions: vec![self.send(operator, "bonding again", call).await?] })
    }

    /// Releases what has been unbonding for the delay, and has it paid to the stake's payout
    /// address; anybody may.
    ///
    /// # Errors
    /// [`Error::Transaction`] with the time from which it can be done; [`Error::Rpc`].
    pub async fn release(&self, wallet: &Wallet, id: StakeId) -> Result<Done, Error> {
        once::idle(&self.nodes, wallet, PATIENCE).await?;
        let stake = self.existing(id).await?;
        let mut done = Done::default();
        if stake.unbonding > 0 {
            let call = IOperatorBond::releaseCall { stakeId: B256::from(id.0) };
            done.transactions.push(self.send(wallet, "releasing", call).await?);
        }
        let paid = self.pay_out(wallet, stake.terms.payout, stake.terms.token).await?;
        done.transactions.extend(paid.transactions);
        Ok(done)
    }

    pub(super) async fn existing(&self, id: StakeId) -> Result<StakeView, Error> {
        self.stake(id).await?.ok_or_else(|| Error::Transaction {
            action: "looking for the stake".into(),
            reason: format!("{} on chain {} has no {id}", self.domain.bond, self.domain.chain_id),
        })
    }
}

fn must_be(wallet: &Wallet, terms: &StakeTerms) -> Result<(), Error> {
    let found = abi::own(wallet.address());
    if found != terms.operator {
        return Err(weir_usage::Error::WrongSigner { expected: terms.operator, found }.into());
    }
    Ok(())
}

pub(super) fn decimal<S: serde::Serializer>(amount: &u128, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(amount)
}
