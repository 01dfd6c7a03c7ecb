use std::fmt;
use std::str::FromStr;

use k256::ecdsa::{self, RecoveryId, VerifyingKey};

use crate::ids::{parse_hex, write_hex};
use crate::{Address, Digest, Error, keccak256};

/// Bytes of a signature: r (32), s (32), v (1).
pub const SIGNATURE_BYTES: usize = 65;

/// A recoverable secp256k1 signature in the form that contracts take: r, s, and v = 27 or 28.
///
/// The bytes are kept as they came. [`Signature::recover`] accepts exactly what the `ExitEscrow`
/// contract accepts: one signature per key and message nonce, never its malleable twin.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature(pub [u8; SIGNATURE_BYTES]);

impl Signature {
    /// Takes 65 bytes; any other length is [`Error::SignatureLength`].
    pub fn from_slice(bytes: &[u8]) -> Result<Signature, Error> {
        let length = bytes.len();
        bytes.try_into().map(Signature).map_err(|_| Error::SignatureLength { length })
    }

    /// The address that signed `digest`.
    pub fn recover(&self, digest: &Digest) -> Result<Address, Error> {
        let v = self.0[64];
        let parity = v.checked_sub(27).filter(|&p| p <= 1).ok_or(Error::RecoveryByte { v })?;
        let recovery = RecoveryId::new(parity == 1, false);
        let scalars =
            ecdsa::Signature::from_slice(&self.0[..64]).map_err(|_| Error::ScalarRange)?;
        if scalars.normalize_s().is_some() {
            return Err(Error::HighS);
        }
        let key = VerifyingKey::recover_from_prehash(&digest.0, &scalars, recovery)
            .map_err(|_| Error::NotRecoverable)?;
        Ok(address_of(&key))
    }

    /// Checks that `expected` signed `digest`.
    pub fn verify(&self, digest: &Digest, expected: Address) -> Result<(), Error> {
        let found = self.recover(digest)?;
        if found != expected {
            return Err(Error::WrongSigner { expected, found });
        }
        Ok(())
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl FromStr for Signature {
    type Err = Error;

    fn from_str(text: &str) -> Result<Signature, Error> {
        parse_hex(text).map(Signature).ok_or(Error::BadHex { what: "signature", digits: 130 })
    }
}

/// A private key. Its bytes are never shown; `Debug` prints the address. They are wiped on drop.
#[derive(Clone)]
pub struct SigningKey(ecdsa::SigningKey);

impl SigningKey {
    /// The key with these 32 bytes, which the caller took from a random source or a key file.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<SigningKey, Error> {
        ecdsa::SigningKey::from_slice(bytes).map(SigningKey).map_err(|_| Error::BadKey)
    }

    /// The address that this key signs as.
    pub fn address(&self) -> Address {
        address_of(self.0.verifying_key())
    }

    /// Signs a digest: deterministic (RFC 6979), low s.
    pub fn sign(&self, digest: &Digest) -> Signature {
        // RFC 6979 finds a nonce for every digest; r = 0 would take a broken hash function.
        let (scalars, recovery) = self
            .0
            .sign_prehash_recoverable(&digest.0)
            .expect("a 32-byte digest can always be signed");
        let mut bytes = [0; SIGNATURE_BYTES];
        bytes[..64].copy_from_slice(&scalars.to_bytes());
        bytes[64] = 27 + u8::from(recovery.is_y_odd());
        Signature(bytes)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.address())
    }
}

fn address_of(key: &VerifyingKey) -> Address {
    let point = key.to_encoded_point(false);
    // The first byte of an uncompressed point is its tag (SEC 1, section 2.3.3).
    let hash = keccak256(&point.as_bytes()[1..]);
    let mut address = [0; 20];
    address.copy_from_slice(&hash.0[12..]);
    Address(address)
}
