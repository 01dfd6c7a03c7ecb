use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use k256::ecdsa;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, Secp256k1, VerifyOnly};

use crate::ids::{parse_hex, write_hex};
use crate::{Address, Digest, Error, keccak256};

/// Bytes of a signature: r (32), s (32), v (1).
pub const SIGNATURE_BYTES: usize = 65;

/// Bytes of an uncompressed point: a tag, x and y.
const POINT_BYTES: usize = 65;

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
    ///
    /// By libsecp256k1, in a quarter of the time that k256 takes: every voucher goes through here.
    pub fn recover(&self, digest: &Digest) -> Result<Address, Error> {
        let recovery = match self.0[64] {
            27 => RecoveryId::Zero,
            28 => RecoveryId::One,
            v => return Err(Error::RecoveryByte { v }),
        };
        let (scalars, _) = self.0.split_at(64);
        // It takes zeros for numbers, and refuses them only when it recovers.
        if scalars.chunks(32).any(|scalar| scalar == [0; 32]) {
            return Err(Error::ScalarRange);
        }
        let signature = RecoverableSignature::from_compact(scalars, recovery)
            .map_err(|_| Error::ScalarRange)?;
        let mut low = signature.to_standard();
        low.normalize_s();
        if low != signature.to_standard() {
            return Err(Error::HighS);
        }
        let key = curve()
            .recover_ecdsa(Message::from_digest(digest.0), &signature)
            .map_err(|_| Error::NotRecoverable)?;
        Ok(address_of(&key.serialize_uncompressed()))
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
        let point = self.0.verifying_key().to_encoded_point(false);
        let mut bytes = [0; POINT_BYTES];
        bytes.copy_from_slice(point.as_bytes());
        address_of(&bytes)
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

/// What libsecp256k1 keeps of its own; nothing in it is secret.
fn curve() -> &'static Secp256k1<VerifyOnly> {
    static CURVE: OnceLock<Secp256k1<VerifyOnly>> = OnceLock::new();
    CURVE.get_or_init(Secp256k1::verification_only)
}

/// The address of an uncompressed point.
fn address_of(point: &[u8; POINT_BYTES]) -> Address {
    // The first byte is its tag (SEC 1, section 2.3.3).
    let hash = keccak256(&point[1..]);
    let mut address = [0; 20];
    address.copy_from_slice(&hash.0[12..]);
    Address(address)
}
