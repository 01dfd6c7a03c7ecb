//! The issuer's key and its signature (RFC 9474 section 4.3).

use std::path::Path;

use rsa::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, LineEnding};
use rsa::rand_core::OsRng;
use rsa::traits::PublicKeyParts as _;
use rsa::{BigUint, RsaPrivateKey};
use weir_blind::{IssuerKey, MODULUS_BYTES, TOKEN_TYPE};

use crate::blind::fixed;
use crate::{Error, REQUEST_BYTES, write_secret};

/// A private key, and its public half as exits know it.
///
/// Signatures are computed on values that are blinded once more here, so that the time they take
/// says little about the key; whoever may time the issuer closely should not be its customer.
pub struct Issuer {
    private: RsaPrivateKey,
    key: IssuerKey,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Issuer {
    /// Makes a key of 2048 bits.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate() -> Result<Self, Error> {
        let made = RsaPrivateKey::new(&mut OsRng, 8 * MODULUS_BYTES);
        Self::new(made.map_err(|error| Error::Rsa(error.to_string()))?)
    }

    /// Reads a PKCS #8 PEM.
    ///
    /// # Errors
    /// What isn't one, or has another size or exponent.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        let read = RsaPrivateKey::from_pkcs8_pem(pem);
        Self::new(read.map_err(|error| Error::malformed("private key", error))?)
    }

    /// Reads a file with one.
    ///
    /// # Errors
    /// As [`Issuer::from_pem`], or what the file system says.
    pub fn load(path: &Path) -> Result<Self, Error> {
        Self::from_pem(&std::fs::read_to_string(path).map_err(Error::file(path))?)
    }

    /// Writes the key to a new file that only its owner may read.
    ///
    /// # Errors
    /// A file that exists already: tokens of its key would be worth nothing.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        if path.exists() {
            let exists = std::io::ErrorKind::AlreadyExists.into();
            return Err(Error::file(path)(exists));
        }
        let pem = self.private.to_pkcs8_pem(LineEnding::LF);
        write_secret(path, &pem.map_err(|error| Error::malformed("private key", error))?)
    }

    /// The public key.
    pub fn key(&self) -> &IssuerKey {
        &self.key
    }

    /// Whether a TokenRequest can be signed.
    ///
    /// # Errors
    /// A request that is malformed or for another key.
    pub fn check(&self, request: &[u8]) -> Result<(), Error> {
        self.message(request).map(drop)
    }

    /// Signs a TokenRequest without seeing the token: 256 bytes of TokenResponse.
    ///
    /// # Errors
    /// As [`Issuer::check`].
    pub fn sign(&self, request: &[u8]) -> Result<[u8; MODULUS_BYTES], Error> {
        let message = self.message(request)?;
        // It verifies what it computed: a fault in a signature would give the key away.
        rsa::hazmat::rsa_decrypt_and_check(&self.private, Some(&mut OsRng), &message)
            .map(|signed| fixed(&signed))
            .map_err(|error| Error::Rsa(error.to_string()))
    }

    fn message(&self, request: &[u8]) -> Result<BigUint, Error> {
        let wrong = |why| Error::malformed("TokenRequest", why);
        if request.len() != REQUEST_BYTES {
            return Err(wrong("it has not 259 bytes"));
        }
        if request[..2] != TOKEN_TYPE.to_be_bytes() {
            return Err(wrong("the token type is not 0x0002"));
        }
        if request[2] != self.key.truncated_id() {
            return Err(Error::OtherKey);
        }
        let message = BigUint::from_bytes_be(&request[3..]);
        if message >= *self.private.n() {
            return Err(wrong("the blinded message is not below the modulus"));
        }
        Ok(message)
    }

    fn new(private: RsaPrivateKey) -> Result<Self, Error> {
        if *private.e() != BigUint::from(65_537u32) || private.size() != MODULUS_BYTES {
            return Err(Error::malformed("private key", "it is not 2048 bits with 65537"));
        }
        let key = IssuerKey::from_modulus(&fixed(private.n()))?;
        Ok(Issuer { private, key })
    }
}
