//! The messages of the `OperatorBond` contract: what operators put behind their word.
//!
//! A stake ([`StakeTerms`]) answers for contradictions among [`StreamStatement`]s or
//! [`EpochStatement`]s, and for nothing else. An agreement ([`SlaTerms`]) has a bond of its own,
//! from which a [`Verdict`] on a period pays credits. All of it is EIP-712 of one [`BondDomain`];
//! `deploy/contracts/test/BondVectors.t.sol` holds these types and the contract equal.

mod agreement;
mod check;
mod period;
mod stake;
mod statement;
mod terms;
mod verdict;

pub use agreement::Agreement;
pub use period::Period;
pub use stake::{StakeTerms, report_commitment};
pub use statement::{EpochStatement, Signed, Statement, StreamStatement};
pub use terms::{CreditStep, SlaTerms};
pub use verdict::Verdict;

use crate::{Address, Digest, eip712};

/// The chain and contract for which terms, verdicts and statements are good (EIP-712 domain, name
/// "Weir OperatorBond", version "1").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct BondDomain {
    pub chain_id: u64,
    /// The `OperatorBond` contract.
    pub bond: Address,
}

impl BondDomain {
    /// The EIP-712 name of the domain.
    pub const NAME: &'static str = "Weir OperatorBond";
    /// The EIP-712 version of the domain.
    pub const VERSION: &'static str = eip712::VERSION;

    /// The EIP-712 domain separator.
    pub fn separator(&self) -> Digest {
        eip712::separator(BondDomain::NAME, self.chain_id, self.bond)
    }

    pub(crate) fn digest(&self, struct_hash: &Digest) -> Digest {
        eip712::digest(&self.separator(), struct_hash)
    }
}
