use super::{BondDomain, SlaTerms};
use crate::{Error, Signature, SigningKey, SlaId};

/// An agreement as it goes from hand to hand: terms, where they are good, and who has signed so
/// far. With the feature `serde` it is a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Agreement {
    pub domain: BondDomain,
    pub terms: SlaTerms,
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub payer_signature: Option<Signature>,
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub operator_signature: Option<Signature>,
}

impl Agreement {
    /// Unsigned.
    ///
    /// # Errors
    /// [`Error::BadTerms`] for terms that the contract refuses.
    pub fn new(domain: BondDomain, terms: SlaTerms) -> Result<Agreement, Error> {
        terms.check()?;
        Ok(Agreement { domain, terms, payer_signature: None, operator_signature: None })
    }

    /// The agreement's name.
    pub fn id(&self) -> SlaId {
        self.terms.id(&self.domain)
    }

    /// Signs as the payer or the operator, whichever the key is.
    ///
    /// # Errors
    /// [`Error::BadTerms`], or [`Error::WrongSigner`] for the key of neither.
    pub fn sign(&mut self, key: &SigningKey) -> Result<(), Error> {
        self.put(self.terms.sign(&self.domain, key)).map(drop)
    }

    /// Takes a signature of the payer or the operator, and says whose it is.
    ///
    /// # Errors
    /// [`Error::BadTerms`], or [`Error::WrongSigner`] for a signature of neither.
    pub fn put(&mut self, signature: Signature) -> Result<&'static str, Error> {
        self.terms.check()?;
        let found = signature.recover(&self.terms.digest(&self.domain))?;
        if found == self.terms.payer {
            self.payer_signature = Some(signature);
            Ok("payer")
        } else if found == self.terms.operator {
            self.operator_signature = Some(signature);
            Ok("operator")
        } else {
            Err(Error::WrongSigner { expected: self.terms.operator, found })
        }
    }

    /// Both signatures, payer's first, if they are there and good and the terms make sense.
    ///
    /// # Errors
    /// [`Error::BadTerms`] for terms or a missing signature, or what is wrong with a signature.
    pub fn signatures(&self) -> Result<(Signature, Signature), Error> {
        self.terms.check()?;
        let why = "is missing";
        let missing = |term| Error::BadTerms { term, why };
        let payer = self.payer_signature.ok_or(missing("payer_signature"))?;
        let operator = self.operator_signature.ok_or(missing("operator_signature"))?;
        let digest = self.terms.digest(&self.domain);
        payer.verify(&digest, self.terms.payer)?;
        operator.verify(&digest, self.terms.operator)?;
        Ok((payer, operator))
    }
}
