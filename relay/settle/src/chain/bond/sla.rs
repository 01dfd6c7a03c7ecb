//! Opening and closing agreements, and having credits paid from their bonds.

use alloy::primitives::B256;
use serde::Serialize;
use weir_usage::bond::{Agreement, SlaTerms, Verdict};
use weir_usage::{Signature, SlaId};

use super::abi::{self, IOperatorBond};
use super::stake::decimal;
use super::{Bond, Done, PATIENCE};
use crate::chain::once;
use crate::error::Error;
use crate::keys::Wallet;

/// `ServiceLevels.State`.
const OPEN: u8 = 1;
/// `ServiceLevels.State`.
const CLOSED: u8 = 2;

/// An agreement as the contract has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SlaView {
    /// Its name.
    pub id: SlaId,
    /// `none`, `open` or `closed`.
    pub state: &'static str,
    /// What is left for credits, in token units.
    #[serde(serialize_with = "decimal")]
    pub balance: u128,
}

/// What a verdict brought, in token units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Credited {
    /// What the period is worth to the payer.
    #[serde(serialize_with = "decimal")]
    pub credit: u128,
    /// Of that, what the bond has paid so far; the rest stays payable after `terms fund`.
    #[serde(serialize_with = "decimal")]
    pub paid: u128,
    /// The transactions; none if everything was paid before.
    pub done: Done,
}

impl Bond {
    /// The state of an agreement.
    ///
    /// # Errors
    /// [`Error::Rpc`].
    pub async fn sla(&self, id: SlaId) -> Result<SlaView, Error> {
        let found = self.view(IOperatorBond::slasCall { slaId: B256::from(id.0) }).await?;
        let state = match found.state {
            OPEN => "open",
            CLOSED => "closed",
            _ => "none",
        };
        Ok(SlaView { id, state, balance: found.balance })
    }

    /// Has an agreement open that both sides signed; the wallet brings the bond.
    ///
    /// # Errors
    /// A missing or wrong signature, terms that the contract refuses, an agreement that was closed,
    /// too few tokens, [`Error::Rpc`].
    pub async fn open_sla(
        &self,
        wallet: &Wallet,
        agreement: &Agreement,
        mint: bool,
    ) -> Result<Done, Error> {
        let (payer, operator) = agreement.signatures()?;
        once::idle(&self.nodes, wallet, PATIENCE).await?;
        let terms = &agreement.terms;
        let sla = self.sla(terms.id(&self.domain)).await?;
        let mut done = Done::default();
        match sla.state {
            "open" => return Ok(done),
            "closed" => return Err(refused("opening the agreement", "it was closed")),
            _ => {}
        }
        self.allow(wallet, terms.token, terms.bond, mint, &mut done).await?;
        let call = IOperatorBond::openSlaCall {
            terms: abi::sla_terms(terms),
            payerSignature: abi::bytes(&payer),
            operatorSignature: abi::bytes(&operator),
        };
        done.transactions.push(self.send(wallet, "opening the agreement", call).await?);
        Ok(done)
    }

    /// Has `balance` units in the bond of an open agreement; anybody may. Never takes any out.
    ///
    /// # Errors
    /// An agreement that isn't open, too few tokens, [`Error::Rpc`].
    pub async fn fund_sla(
        &self,
        wallet: &Wallet,
        terms: &SlaTerms,
        balance: u128,
        mint: bool,
    ) -> Result<Done, Error> {
        once::idle(&self.nodes, wallet, PATIENCE).await?;
        let sla = self.must_be_open("funding the agreement", terms).await?;
        let missing = balance.saturating_sub(sla.balance);
        let mut done = Done::default();
        if missing > 0 {
            self.allow(wallet, terms.token, missing, mint, &mut done).await?;
            let call = IOperatorBond::fundSlaCall { terms: abi::sla_terms(terms), amount: missing };
            done.transactions.push(self.send(wallet, "funding the agreement", call).await?);
        }
        Ok(done)
    }

    /// Brings a verdict on a period that is over, and has the credit that follows from it paid to
    /// the payer (`applyCredit`, then `payOut`). Anybody may, with gas and nothing else. The first
    /// verdict of a period stands. Signatures may come in any order; for a verdict that was brought
    /// before none are needed, and what the bond was short of is paid.
    ///
    /// # Errors
    /// What the contract would refuse, with the reason: see [`Verdict::credit`]; a period that
    /// runs; another verdict on it; [`Error::Rpc`].
    pub async fn apply_credit(
        &self,
        wallet: &Wallet,
        terms: &SlaTerms,
        verdict: &Verdict,
        signatures: &[Signature],
    ) -> Result<Credited, Error> {
        const ACTION: &str = "applying the credit";
        once::idle(&self.nodes, wallet, PATIENCE).await?;
        let sla = self.must_be_open(ACTION, terms).await?;
        if verdict.sla != sla.id {
            let (expected, found) = (sla.id, verdict.sla);
            return Err(weir_usage::Error::OtherAgreement { expected, found }.into());
        }
        let judged = self.judgement(verdict).await?;
        let credit = if !judged.made {
            verdict.credit(terms, &self.domain, signatures)?
        } else if (judged.good, judged.bad) == (verdict.good, verdict.bad) {
            terms.credit(terms.intervals(verdict.period)?, verdict.bad.into())?
        } else {
            let reason = format!("period {} is judged already, otherwise", verdict.period);
            return Err(refused(ACTION, &reason));
        };
        let mut done = Done::default();
        if !judged.made || (judged.paid < credit && sla.balance > 0) {
            let ordered = verdict.order(&self.domain, signatures)?;
            let call = IOperatorBond::applyCreditCall {
                terms: abi::sla_terms(terms),
                verdict: abi::verdict(verdict),
                signatures: ordered.iter().map(|(_, signature)| abi::bytes(signature)).collect(),
            };
            done.transactions.push(self.send(wallet, ACTION, call).await?);
        }
        let paid = self.judgement(verdict).await?.paid;
        let fetched = self.pay_out(wallet, terms.payer, terms.token).await?;
        done.transactions.extend(fetched.transactions);
        Ok(Credited { credit, paid, done })
    }

    /// Has an agreement closed, and what is left of its bond paid to the payout address.
    ///
    /// # Errors
    /// [`Error::Transaction`] with the time until which verdicts are taken; [`Error::Rpc`].
    pub async fn close_sla(&self, wallet: &Wallet, terms: &SlaTerms) -> Result<Done, Error> {
        once::idle(&self.nodes, wallet, PATIENCE).await?;
        let mut done = Done::default();
        let sla = self.sla(terms.id(&self.domain)).await?;
        match sla.state {
            "open" => {
                let call = IOperatorBond::closeSlaCall { terms: abi::sla_terms(terms) };
                done.transactions.push(self.send(wallet, "closing the agreement", call).await?);
            }
            "closed" => {}
            _ => return Err(refused("closing the agreement", "it was never opened")),
        }
        let fetched = self.pay_out(wallet, terms.payout, terms.token).await?;
        done.transactions.extend(fetched.transactions);
        Ok(done)
    }

    async fn must_be_open(&self, action: &str, terms: &SlaTerms) -> Result<SlaView, Error> {
        let sla = self.sla(terms.id(&self.domain)).await?;
        if sla.state != "open" {
            return Err(refused(action, &format!("agreement {} isn't open", sla.id)));
        }
        Ok(sla)
    }

    async fn judgement(&self, verdict: &Verdict) -> Result<IOperatorBond::judgementsReturn, Error> {
        let (sla, period) = (B256::from(verdict.sla.0), verdict.period);
        self.view(IOperatorBond::judgementsCall { slaId: sla, period }).await
    }
}

fn refused(action: &str, reason: &str) -> Error {
    Error::Transaction { action: action.into(), reason: reason.into() }
}
