//! Token (RFC 9577 section 2.2).

use std::fmt;

use crate::{Error, TOKEN_TYPE, sha256};

/// Bytes of the signature: those of the modulus.
pub const AUTHENTICATOR_BYTES: usize = 256;

/// Bytes that are signed: all but the authenticator.
pub const INPUT_BYTES: usize = 2 + 3 * 32;

/// Bytes of a token.
pub const TOKEN_BYTES: usize = INPUT_BYTES + AUTHENTICATOR_BYTES;

/// A token as it is shown to an exit. Debug output leaves out what makes it worth something.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Chosen by the client, at random.
    pub nonce: [u8; 32],
    /// SHA-256 of the TokenChallenge.
    pub challenge_digest: [u8; 32],
    /// SHA-256 of the issuer's public key ([`crate::IssuerKey::id`]).
    pub key_id: [u8; 32],
    /// The issuer's signature over all of it.
    pub authenticator: [u8; AUTHENTICATOR_BYTES],
}

impl Token {
    /// Reads a token; it has to be all of `bytes`.
    ///
    /// # Errors
    /// Another length or another token type.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let wrong = |why| Error::malformed("Token", why);
        if bytes.len() != TOKEN_BYTES {
            return Err(wrong("it has not 354 bytes"));
        }
        let (token_type, rest) = bytes.split_at(2);
        if token_type != TOKEN_TYPE.to_be_bytes() {
            return Err(wrong("the token type is not 0x0002"));
        }
        let mut token = Token {
            nonce: [0; 32],
            challenge_digest: [0; 32],
            key_id: [0; 32],
            authenticator: [0; AUTHENTICATOR_BYTES],
        };
        let (nonce, rest) = rest.split_at(32);
        let (digest, rest) = rest.split_at(32);
        let (key_id, authenticator) = rest.split_at(32);
        token.nonce.copy_from_slice(nonce);
        token.challenge_digest.copy_from_slice(digest);
        token.key_id.copy_from_slice(key_id);
        token.authenticator.copy_from_slice(authenticator);
        Ok(token)
    }

    /// The structure as bytes.
    pub fn to_bytes(&self) -> [u8; TOKEN_BYTES] {
        let mut bytes = [0; TOKEN_BYTES];
        bytes[..INPUT_BYTES].copy_from_slice(&self.input());
        bytes[INPUT_BYTES..].copy_from_slice(&self.authenticator);
        bytes
    }

    /// What is signed (RFC 9578 section 6.3).
    pub fn input(&self) -> [u8; INPUT_BYTES] {
        let mut input = [0; INPUT_BYTES];
        input[..2].copy_from_slice(&TOKEN_TYPE.to_be_bytes());
        input[2..34].copy_from_slice(&self.nonce);
        input[34..66].copy_from_slice(&self.challenge_digest);
        input[66..].copy_from_slice(&self.key_id);
        input
    }

    /// What is remembered of a spent token.
    pub fn nullifier(&self) -> Nullifier {
        let mut short = [0; 16];
        short.copy_from_slice(&sha256(&[&self.input()])[..16]);
        Nullifier(short)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(secret)")
    }
}

/// The first 16 bytes of the SHA-256 of what a token's issuer signed. Not of the signature: PSS is
/// randomised, and an issuer that signs the same input twice makes one token, not two. Two tokens
/// with the same nullifier can be made by nobody but one client, at its own loss (2^64 hashes), and
/// none for a given other token (2^128).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nullifier(pub [u8; 16]);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_read_is_written_alike(mut bytes in proptest::collection::vec(any::<u8>(), TOKEN_BYTES)) {
            prop_assert!(bytes[..2] == [0, 2] || Token::parse(&bytes).is_err());
            bytes[..2].copy_from_slice(&[0, 2]);
            let token = Token::parse(&bytes).unwrap();
            prop_assert_eq!(&token.to_bytes()[..], &bytes[..]);
            // The signature doesn't make another token, everything else does.
            let nullifier = token.nullifier();
            for at in 2..TOKEN_BYTES {
                let mut other = bytes.clone();
                other[at] ^= 0x40;
                let same = Token::parse(&other).unwrap().nullifier() == nullifier;
                prop_assert_eq!(same, at >= INPUT_BYTES);
            }
        }

        #[test]
        fn other_lengths_are_refused(bytes: Vec<u8>) {
            prop_assert!(Token::parse(&bytes).is_err());
        }
    }
}
