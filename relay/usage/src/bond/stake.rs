use super::BondDomain;
use crate::{Address, Digest, Error, Keccak, StakeId};

/// As `OperatorBond.MIN_UNBOND_DELAY`.
const MIN_UNBOND_DELAY_S: u64 = 86_400;
/// As `OperatorBond.MAX_UNBOND_DELAY`.
const MAX_UNBOND_DELAY_S: u64 = 365 * 86_400;

/// What an operator stands for: the argument of `OperatorBond.stake`. The terms are the stake's
/// name: other terms, another stake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct StakeTerms {
    /// Unbonds.
    pub operator: Address,
    /// Whose statements are bound by the stake: the operator's usage key.
    pub signer: Address,
    /// Who gets back what is unbonded.
    pub payout: Address,
    pub token: Address,
    /// Seconds between unbond and release, during which evidence still counts.
    pub unbond_delay_s: u64,
    pub committed_kbps: u64,
    /// Parts per million of all minutes.
    pub availability_ppm: u32,
    #[cfg_attr(feature = "serde", serde(default))]
    pub salt: Digest,
}

impl StakeTerms {
    /// The stake's name: `keccak256(abi.encode(terms, chainid, contract))`, as
    /// `OperatorBond.stakeIdOf` computes it.
    pub fn id(&self, domain: &BondDomain) -> StakeId {
        let hash = Keccak::default()
            .update(&self.operator.word())
            .update(&self.signer.word())
            .update(&self.payout.word())
            .update(&self.token.word())
            .word(self.unbond_delay_s.into())
            .word(self.committed_kbps.into())
            .word(self.availability_ppm.into())
            .update(&self.salt.0)
            .word(domain.chain_id.into())
            .update(&domain.bond.word())
            .finish();
        StakeId(hash.0)
    }

    /// Checks what the contract checks and what needs no chain.
    pub fn check(&self) -> Result<(), Error> {
        let must = |holds, term, why| match holds {
            true => Ok(()),
            false => Err(Error::BadTerms { term, why }),
        };
        must(!self.operator.is_zero(), "operator", "is nobody")?;
        must(!self.signer.is_zero(), "signer", "is nobody")?;
        must(!self.payout.is_zero(), "payout", "is nobody")?;
        must(!self.token.is_zero(), "token", "is no contract")?;
        must(self.availability_ppm <= 1_000_000, "availability_ppm", "is over 1,000,000")?;
        let delay = (MIN_UNBOND_DELAY_S..=MAX_UNBOND_DELAY_S).contains(&self.unbond_delay_s);
        must(delay, "unbond_delay_s", "is not between a day and 365 days")
    }
}

/// What `OperatorBond.commitReport` takes: the announcement of a report that shows nothing of it.
/// `subject` is [`super::Statement::subject`], `salt` is random and secret until the report.
pub fn report_commitment(
    reporter: Address,
    stake: StakeId,
    subject: &Digest,
    salt: &[u8; 32],
) -> Digest {
    let hash = Keccak::default().update(&reporter.word()).update(&stake.0);
    hash.update(&subject.0).update(salt).finish()
}
