use crate::{Address, ChannelId, Digest, Error, Keccak, Signature, SigningKey, eip712, keccak256};

const VOUCHER_TYPE: &[u8] =
    b"Voucher(bytes32 channelId,uint32 lane,uint128 cumulativeAmount,uint64 seq,bytes32 usageHead)";

/// The chain and contract for which a voucher is good (EIP-712 domain, name "Weir ExitEscrow",
/// version "1").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Domain {
    pub chain_id: u64,
    /// The `ExitEscrow` contract.
    pub escrow: Address,
}

impl Domain {
    /// The EIP-712 name of the domain.
    pub const NAME: &'static str = "Weir ExitEscrow";
    /// The EIP-712 version of the domain.
    pub const VERSION: &'static str = eip712::VERSION;

    /// The EIP-712 domain separator.
    pub fn separator(&self) -> Digest {
        eip712::separator(Domain::NAME, self.chain_id, self.escrow)
    }
}

/// "So much, in total, is owed on this lane": the payer's word, worth money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Voucher {
    pub channel: ChannelId,
    /// Lanes of a channel are paid for independently: one per device or connection of the payer.
    pub lane: u32,
    /// Everything owed on the lane since the channel was opened, in token units. It never falls.
    pub amount: u128,
    /// Rises with every voucher of the lane.
    pub seq: u64,
    /// Commits to the usage that is paid for: [`crate::usage_head`].
    pub usage_head: Digest,
}

impl Voucher {
    /// The EIP-712 `hashStruct`.
    pub fn struct_hash(&self) -> Digest {
        Keccak::default()
            .update(&keccak256(VOUCHER_TYPE).0)
            .update(&self.channel.0)
            .word(self.lane.into())
            .word(self.amount)
            .word(self.seq.into())
            .update(&self.usage_head.0)
            .finish()
    }

    /// What is signed: `keccak256(0x1901 || domain separator || struct hash)`.
    pub fn digest(&self, domain: &Domain) -> Digest {
        eip712::digest(&domain.separator(), &self.struct_hash())
    }

    /// Signs the voucher.
    pub fn sign(self, domain: &Domain, key: &SigningKey) -> SignedVoucher {
        SignedVoucher { voucher: self, signature: key.sign(&self.digest(domain)) }
    }
}

/// A voucher and its signature, not necessarily a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignedVoucher {
    pub voucher: Voucher,
    pub signature: Signature,
}

impl SignedVoucher {
    /// Who signed it.
    pub fn recover(&self, domain: &Domain) -> Result<Address, Error> {
        self.signature.recover(&self.voucher.digest(domain))
    }

    /// Checks that `signer` signed it for this chain and contract.
    pub fn verify(&self, domain: &Domain, signer: Address) -> Result<(), Error> {
        self.signature.verify(&self.voucher.digest(domain), signer)
    }
}
