//! The issuer's public key, in the one encoding that token type 0x0002 has (RFC 9578 section 6.5):
//! a SubjectPublicKeyInfo with the OID of RSASSA-PSS and its parameters, SHA-384 and 48 bytes of
//! salt.

use std::fmt;

use ring::signature::{RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};

use crate::{Error, Token, base64url_decode, base64url_encode, sha256};

/// Bytes of the modulus.
pub const MODULUS_BYTES: usize = 256;

/// Everything before the modulus: DER fixes it for a 2048-bit key with a 24-bit exponent.
const PREFIX: [u8; 81] = *b"\x30\x82\x01\x52\x30\x3d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\
    \x30\x30\xa0\x0d\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\xa1\x1a\x30\x18\x06\x09\
    \x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\xa2\
    \x03\x02\x01\x30\x03\x82\x01\x0f\x00\x30\x82\x01\x0a\x02\x82\x01\x01\x00";

/// The exponent, 65537.
const SUFFIX: [u8; 5] = [2, 3, 1, 0, 1];

/// Where the RSAPublicKey begins, which is what ring reads.
const RSA_PUBLIC_KEY: usize = 72;

/// Bytes of the encoded key.
pub const KEY_BYTES: usize = PREFIX.len() + MODULUS_BYTES + SUFFIX.len();

/// A public key that tokens are verified with.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuerKey {
    spki: Vec<u8>,
    id: [u8; 32],
}

impl IssuerKey {
    /// Reads a key in the encoding of RFC 9578 section 6.5.
    ///
    /// # Errors
    /// Any other encoding (plain `rsaEncryption` included: it would have another key id), another
    /// size than 2048 bits or another exponent than 65537.
    pub fn from_spki(spki: &[u8]) -> Result<Self, Error> {
        let wrong = |why| Error::malformed("issuer key", why);
        if spki.len() != KEY_BYTES {
            return Err(wrong("it is not an RSASSA-PSS key of 2048 bits with the exponent 65537"));
        }
        if !spki.starts_with(&PREFIX) {
            return Err(wrong("it is not RSASSA-PSS with SHA-384 and 48 bytes of salt"));
        }
        if !spki.ends_with(&SUFFIX) {
            return Err(wrong("its exponent is not 65537"));
        }
        let modulus = &spki[PREFIX.len()..PREFIX.len() + MODULUS_BYTES];
        if modulus[0] & 0x80 == 0 || modulus[MODULUS_BYTES - 1] & 1 == 0 {
            return Err(wrong("its modulus is even or has fewer than 2048 bits"));
        }
        Ok(IssuerKey { spki: spki.to_vec(), id: sha256(&[spki]) })
    }

    /// Makes a key of its modulus (big-endian, 256 bytes); the exponent is 65537.
    ///
    /// # Errors
    /// A modulus that is even or too small.
    pub fn from_modulus(modulus: &[u8; MODULUS_BYTES]) -> Result<Self, Error> {
        Self::from_spki(&[&PREFIX[..], &modulus[..], &SUFFIX].concat())
    }

    /// Reads what [`IssuerKey::to_base64url`] wrote.
    ///
    /// # Errors
    /// As [`IssuerKey::from_spki`], or what isn't base64url.
    pub fn from_base64url(text: &str) -> Result<Self, Error> {
        let spki = base64url_decode(text.trim());
        Self::from_spki(&spki.ok_or(Error::malformed("issuer key", "it is not base64url"))?)
    }

    /// The key as it stands in `token-key` and in issuer directories.
    pub fn to_base64url(&self) -> String {
        base64url_encode(&self.spki)
    }

    /// The encoded key.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// SHA-256 of the encoded key: what tokens call it by.
    pub fn id(&self) -> &[u8; 32] {
        &self.id
    }

    /// The last byte of the id: what token requests call it by (RFC 9578 section 6.1).
    pub fn truncated_id(&self) -> u8 {
        self.id[31]
    }

    /// Checks the signature of a token, and that it names this key. It doesn't look at what the
    /// token is bound to, nor whether it was spent.
    ///
    /// # Errors
    /// [`Error::Signature`].
    pub fn verify(&self, token: &Token) -> Result<(), Error> {
        if token.key_id != self.id {
            return Err(Error::Signature);
        }
        // ring takes a salt of exactly the digest's length, which is the 48 bytes wanted.
        UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, &self.spki[RSA_PUBLIC_KEY..])
            .verify(&token.input(), &token.authenticator)
            .map_err(|_| Error::Signature)
    }
}

impl fmt::Debug for IssuerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, .., last] = self.id;
        write!(f, "IssuerKey({first:02x}{second:02x}..{last:02x})")
    }
}
