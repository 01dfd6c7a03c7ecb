//! The same random numbers on every run.

use weir_usage::{Address, Digest, Keccak, SigningKey};

/// Keccak in counter mode.
pub(crate) struct Random(Digest, u64);

impl Random {
    pub(crate) fn new(seed: Digest) -> Random {
        Random(seed, 0)
    }

    pub(crate) fn word(&mut self) -> Digest {
        self.1 += 1;
        Keccak::default().update(&self.0.0).update(&self.1.to_be_bytes()).finish()
    }

    pub(crate) fn u128(&mut self) -> u128 {
        let word = self.word().0;
        u128::from_be_bytes(word[..16].try_into().expect("16 of 32 bytes"))
    }

    pub(crate) fn u32(&mut self) -> u32 {
        (self.u128() >> 96) as u32
    }

    pub(crate) fn u64(&mut self) -> u64 {
        (self.u128() >> 64) as u64
    }

    pub(crate) fn address(&mut self) -> Address {
        let word = self.word().0;
        Address(word[..20].try_into().expect("20 of 32 bytes"))
    }

    pub(crate) fn key(&mut self) -> SigningKey {
        SigningKey::from_bytes(&self.word().0).expect("only 2^-128 of all words are no key")
    }
}
