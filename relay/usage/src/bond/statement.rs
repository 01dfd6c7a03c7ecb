//! What an operator's usage key vouches for. Two signed statements with one subject and different
//! contents are an equivocation, the only thing that a stake is slashed for.

use super::BondDomain;
use crate::merkle::Anchor;
use crate::{Address, Digest, Error, Keccak, Signature, SigningKey, keccak256};

const STREAM_TYPE: &[u8] = b"StreamStatement(bytes32 stream,uint64 seq,bytes32 content)";
const EPOCH_TYPE: &[u8] = b"EpochStatement(uint64 epoch,bytes32 root,uint128 total)";

/// Something that a usage key signs.
pub trait Statement: Copy + PartialEq {
    /// The EIP-712 `hashStruct`.
    fn struct_hash(&self) -> Digest;

    /// What both of two contradicting statements are about, as `OperatorBond.subjectOf` or
    /// `subjectOfEpoch` has it.
    fn subject(&self) -> Digest;

    /// What is signed (EIP-712).
    fn digest(&self, domain: &BondDomain) -> Digest {
        domain.digest(&self.struct_hash())
    }

    /// Signs the statement with the operator's usage key.
    fn sign(self, domain: &BondDomain, key: &SigningKey) -> Signed<Self> {
        Signed { statement: self, signature: key.sign(&self.digest(domain)) }
    }
}

/// Record `seq` of `stream` has this content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct StreamStatement {
    /// Which sequence of records, for example one session of one exit.
    pub stream: Digest,
    pub seq: u64,
    /// Hash of the record.
    pub content: Digest,
}

/// This is the usage of the epoch: what the exit's anchor of it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct EpochStatement {
    pub epoch: u64,
    pub root: Digest,
    #[cfg_attr(feature = "serde", serde(with = "crate::text::amount"))]
    pub total: u128,
}

impl From<Anchor> for EpochStatement {
    fn from(anchor: Anchor) -> EpochStatement {
        EpochStatement { epoch: anchor.epoch, root: anchor.root, total: anchor.total }
    }
}

impl Statement for StreamStatement {
    fn struct_hash(&self) -> Digest {
        self.begin().update(&self.content.0).finish()
    }

    fn subject(&self) -> Digest {
        self.begin().finish()
    }
}

impl StreamStatement {
    fn begin(&self) -> Keccak {
        let kind = Keccak::default().update(&keccak256(STREAM_TYPE).0);
        kind.update(&self.stream.0).word(self.seq.into())
    }
}

impl Statement for EpochStatement {
    fn struct_hash(&self) -> Digest {
        self.begin().update(&self.root.0).word(self.total).finish()
    }

    fn subject(&self) -> Digest {
        self.begin().finish()
    }
}

impl EpochStatement {
    fn begin(&self) -> Keccak {
        Keccak::default().update(&keccak256(EPOCH_TYPE).0).word(self.epoch.into())
    }
}

/// A statement and its signature, not necessarily a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Signed<S> {
    pub statement: S,
    pub signature: Signature,
}

impl<S: Statement> Signed<S> {
    /// Who signed it.
    pub fn recover(&self, domain: &BondDomain) -> Result<Address, Error> {
        self.signature.recover(&self.statement.digest(domain))
    }

    /// Checks that `signer` signed it for this chain and contract.
    pub fn verify(&self, domain: &BondDomain, signer: Address) -> Result<(), Error> {
        self.signature.verify(&self.statement.digest(domain), signer)
    }

    /// Who contradicts himself with these two.
    ///
    /// # Errors
    /// [`Error::NoContradiction`] if they are about different things, say the same, or are of
    /// different signers; or what is wrong with a signature.
    pub fn contradicts(&self, other: &Signed<S>, domain: &BondDomain) -> Result<Address, Error> {
        let no = |why| Err(Error::NoContradiction { why });
        if self.statement.subject() != other.statement.subject() {
            return no("the statements are about different things");
        }
        if self.statement == other.statement {
            return no("the statements say the same");
        }
        let (one, two) = (self.recover(domain)?, other.recover(domain)?);
        if one != two {
            return no("the statements are signed by different keys, or for another contract");
        }
        Ok(one)
    }
}
