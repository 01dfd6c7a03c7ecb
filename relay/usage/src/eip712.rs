//! What all EIP-712 messages have in common: the domain and the prefix.

use crate::{Address, Digest, Keccak, keccak256};

const DOMAIN_TYPE: &[u8] =
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
/// The EIP-712 version of every domain here.
pub(crate) const VERSION: &str = "1";

/// The domain separator of the contract called `name`.
pub(crate) fn separator(name: &str, chain_id: u64, contract: Address) -> Digest {
    Keccak::default()
        .update(&keccak256(DOMAIN_TYPE).0)
        .update(&keccak256(name.as_bytes()).0)
        .update(&keccak256(VERSION.as_bytes()).0)
        .word(chain_id.into())
        .update(&contract.word())
        .finish()
}

/// What is signed: `keccak256(0x1901 || domain separator || struct hash)`.
pub(crate) fn digest(separator: &Digest, struct_hash: &Digest) -> Digest {
    Keccak::default().update(&[0x19, 0x01]).update(&separator.0).update(&struct_hash.0).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The type hash of a domain with these four fields, as every EIP-712 contract has it.
    #[test]
    fn the_domain_type_is_the_usual_one() {
        assert_eq!(
            keccak256(DOMAIN_TYPE).to_string(),
            "0x8b73c3c69bb8fe3d512ecc4cf759cc79239f7b179b0ffacaa9a75d522b39400f"
        );
    }
}
