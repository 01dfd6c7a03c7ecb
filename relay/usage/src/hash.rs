use sha3::{Digest as _, Keccak256};

use crate::Digest;

/// Keccak-256 of `bytes`, as the EVM computes it (not SHA3-256).
pub fn keccak256(bytes: &[u8]) -> Digest {
    Digest(Keccak256::digest(bytes).into())
}

/// Keccak-256 over pieces, without joining them first.
#[derive(Clone, Debug, Default)]
pub struct Keccak(Keccak256);

impl Keccak {
    /// Appends `bytes`.
    pub fn update(mut self, bytes: &[u8]) -> Keccak {
        self.0.update(bytes);
        self
    }

    /// The hash of everything appended.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }

    /// Appends an unsigned integer as the 32-byte word that `abi.encode` makes of it.
    pub(crate) fn word(self, value: u128) -> Keccak {
        self.update(&[0; 16]).update(&value.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hashes() {
        // The empty hash appears in every Ethereum account without code.
        assert_eq!(
            keccak256(b"").to_string(),
            "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
        );
        assert_eq!(
            Keccak::default().update(b"a").update(b"bc").finish(),
            keccak256(b"abc"),
            "pieces and the whole must hash alike"
        );
    }
}
