use super::{BondDomain, SlaTerms};
use crate::{Address, Digest, Error, Keccak, Signature, SigningKey, SlaId, keccak256};

const VERDICT_TYPE: &[u8] =
    b"Verdict(bytes32 slaId,uint32 period,uint32 good,uint32 bad,bytes32 evidence)";

/// How many intervals of a period were good and bad. The rest is unknown: a draw, for which nobody
/// owes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Verdict {
    pub sla: SlaId,
    pub period: u32,
    pub good: u32,
    pub bad: u32,
    /// Root of the samples and interval verdicts that it was computed from.
    pub evidence: Digest,
}

impl Verdict {
    /// The EIP-712 `hashStruct`.
    pub fn struct_hash(&self) -> Digest {
        Keccak::default()
            .update(&keccak256(VERDICT_TYPE).0)
            .update(&self.sla.0)
            .word(self.period.into())
            .word(self.good.into())
            .word(self.bad.into())
            .update(&self.evidence.0)
            .finish()
    }

    /// What those who judge a period sign (EIP-712): `OperatorBond.verdictDigest`.
    pub fn digest(&self, domain: &BondDomain) -> Digest {
        domain.digest(&self.struct_hash())
    }

    /// Signs the verdict, as a side, the arbiter or a measurer.
    pub fn sign(&self, domain: &BondDomain, key: &SigningKey) -> Signature {
        key.sign(&self.digest(domain))
    }

    /// What `OperatorBond.applyCredit` would pay for this verdict with these signatures, in token
    /// units, if the period is over and the bond holds that much.
    ///
    /// # Errors
    /// What the contract would refuse: another agreement or period, too many intervals, a signature
    /// that isn't one, [`Error::NotAgreed`].
    pub fn credit(
        &self,
        terms: &SlaTerms,
        domain: &BondDomain,
        signatures: &[Signature],
    ) -> Result<u128, Error> {
        let expected = terms.id(domain);
        if self.sla != expected {
            return Err(Error::OtherAgreement { expected, found: self.sla });
        }
        let intervals = terms.intervals(self.period)?;
        let judged = u64::from(self.good) + u64::from(self.bad);
        if judged > intervals {
            return Err(Error::TooManyIntervals { judged, intervals });
        }
        let signers = self.order(domain, signatures)?;
        let count = |one_of: &[Address]| {
            signers.iter().filter(|(signer, _)| one_of.contains(signer)).count()
        };
        let sides = count(&[terms.payer, terms.operator, terms.arbiter]);
        let measurers = count(&terms.measurers);
        let threshold = terms.threshold;
        if sides < 2 && (threshold == 0 || measurers < threshold as usize) {
            return Err(Error::NotAgreed { sides, measurers, threshold });
        }
        terms.credit(intervals, self.bad.into())
    }

    /// The signatures with their signers in ascending order and each signer once, as the contract
    /// wants them.
    ///
    /// # Errors
    /// What is wrong with the first flawed signature.
    pub fn order(
        &self,
        domain: &BondDomain,
        signatures: &[Signature],
    ) -> Result<Vec<(Address, Signature)>, Error> {
        let digest = self.digest(domain);
        let signed = |s: &Signature| Ok((s.recover(&digest)?, *s));
        let mut all = signatures.iter().map(signed).collect::<Result<Vec<_>, Error>>()?;
        all.sort_by_key(|(signer, _)| *signer);
        all.dedup_by_key(|(signer, _)| *signer);
        Ok(all)
    }
}
