//! Three things that are not the same: the claim key, which pays for gas and sends transactions;
//! the usage key, which signs statements about usage; and the payout address, whose key is
//! elsewhere.
//!
//! What is earned goes to the receiver that each channel was opened with, by whomever it is claimed
//! and settled: who steals the claim key gets the gas money and nothing else.

mod secret;

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::Read;
use std::path::Path;

use alloy::consensus::{SignableTransaction, TxEip1559};
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, B256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use tracing::warn;
use weir_usage::{Digest, Signature, SigningKey};

pub use secret::Secret;

use crate::config::{Config, KeyConfig};
use crate::error::Error;
use crate::lock::Lock;

/// The keys of a configuration.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Signs transactions and pays for gas.
    pub claim: Wallet,
    /// Signs statements about usage, if one is configured.
    pub usage: Option<SigningKey>,
}

impl Keys {
    /// Opens what a configuration names, and refuses keys that are not apart.
    ///
    /// # Errors
    /// [`Error::Key`] or [`Error::KeysAreOne`].
    pub fn open(config: &Config) -> Result<Self, Error> {
        let claim = Wallet::open(&config.chain.key)?;
        let usage = config.usage_key.as_ref().map(Wallet::open).transpose()?;
        let same =
            |what, address: Address| Err(Error::KeysAreOne { what, address: address.to_string() });
        if usage.as_ref().is_some_and(|key| key.address() == claim.address()) {
            return same("the usage key and the claim key", claim.address());
        }
        let payout = config.payout.map(|address| Address::from(address.0));
        if payout == Some(claim.address()) {
            return same("the payout address and the claim key", claim.address());
        }
        if let Some(key) = usage.as_ref().filter(|key| payout == Some(key.address())) {
            return same("the payout address and the usage key", key.address());
        }
        if config.channels.iter().any(|c| c.terms.receiver.0 == claim.address().into_array()) {
            warn!(
                address = %claim.address(),
                "a channel pays out to the claim key's own address: who steals it takes all"
            );
        }
        let usage = usage.map(|key| key.signing_key()).transpose()?;
        Ok(Self { claim, usage })
    }
}

/// Holds a usage key's file for as long as the value lives: two sidecars that
/// sign with one key contradict each other. The lock is on the file itself, so another copy of it,
/// such as the credential of another unit, is another lock.
///
/// # Errors
/// [`Error::KeyInUse`] if another process holds it; [`Error::Io`].
pub(crate) fn hold(key: &Secret) -> Result<Option<Lock>, Error> {
    let path = key.path()?;
    let file = File::open(&path).map_err(Error::io("open the secret's file", &path))?;
    match Lock::take(file) {
        Ok(lock) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Err(Error::KeyInUse { path }),
        // Some network filesystems lock no file that is open for reading only.
        Err(TryLockError::Error(e)) => {
            warn!(
                path = %path.display(),
                "the usage key's file can't be locked, so a second sidecar with it isn't \
                 noticed: {e}"
            );
            Ok(None)
        }
    }
}

/// Signs transactions. `Debug` shows the address only.
#[derive(Clone)]
pub struct Wallet {
    key: PrivateKeySigner,
    /// Only asks what would be sent.
    dry: bool,
}

impl From<PrivateKeySigner> for Wallet {
    fn from(key: PrivateKeySigner) -> Self {
        Self { key, dry: false }
    }
}

/// A signed transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedTx {
    /// Its hash.
    pub hash: Digest,
    /// Its EIP-2718 encoding, to be sent as it is.
    pub raw: Vec<u8>,
}

impl Wallet {
    /// Reads a key: 64 hexadecimal digits, or a keystore v3 file with its password file.
    ///
    /// # Errors
    /// [`Error::Key`]; no message holds any of the key.
    pub fn load(path: &Path, password: Option<&Path>) -> Result<Self, Error> {
        let file = |path: &Path| Secret::File(path.to_owned());
        Self::open(&KeyConfig { key: file(path), password: password.map(file) })
    }

    /// The same for a key that may be a credential.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn open(config: &KeyConfig) -> Result<Self, Error> {
        let path = config.key.path()?;
        let fail = |reason: String| Error::Key { path: path.clone(), reason };
        let text = config.key.read()?;
        if text.trim_start().starts_with('{') {
            let Some(password) = &config.password else {
                return Err(fail("this is a keystore; set password or password_file".into()));
            };
            let password = password.read()?;
            return PrivateKeySigner::decrypt_keystore(
                &path,
                password.trim_end_matches(['\r', '\n']),
            )
            .map(Self::from)
            .map_err(|e| fail(format!("the keystore can't be opened: {e}")));
        }
        let bytes = decode_key(text.trim())
            .ok_or_else(|| fail("expected 64 hexadecimal digits or a keystore v3 file".into()))?;
        PrivateKeySigner::from_bytes(&bytes)
            .map(Self::from)
            .map_err(|_| fail("the number is not a secp256k1 private key".into()))
    }

    /// The same key for messages that are no transactions.
    fn signing_key(&self) -> Result<SigningKey, Error> {
        Ok(SigningKey::from_bytes(&self.key.to_bytes().0)?)
    }

    /// The same key for a dry run: with it `chain::once` stops before the first transaction.
    #[must_use]
    pub fn for_dry_run(self) -> Self {
        Self { dry: true, ..self }
    }

    /// Whether nothing may be sent.
    pub fn is_dry(&self) -> bool {
        self.dry
    }

    /// Who signs.
    pub fn address(&self) -> Address {
        self.key.address()
    }

    /// Signs a digest (EIP-712), as a payer or operator signs an agreement.
    ///
    /// # Errors
    /// [`Error::Transaction`] if the signature can't be made.
    pub fn sign_digest(&self, digest: &Digest) -> Result<Signature, Error> {
        let fail = |reason| Error::Transaction { action: "signing".into(), reason };
        let signature =
            self.key.sign_hash_sync(&B256::from(digest.0)).map_err(|e| fail(e.to_string()))?;
        // alloy's form is r, s, v = 27 or 28, with a low s.
        Ok(Signature(signature.as_bytes()))
    }

    /// Signs a transaction.
    ///
    /// # Errors
    /// [`Error::Transaction`] if the signature can't be made.
    pub fn sign(&self, tx: TxEip1559) -> Result<SignedTx, Error> {
        let signature = self
            .key
            .sign_hash_sync(&tx.signature_hash())
            .map_err(|e| Error::Transaction { action: "signing".into(), reason: e.to_string() })?;
        let signed = tx.into_signed(signature);
        Ok(SignedTx { hash: Digest(signed.hash().0), raw: signed.encoded_2718() })
    }
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wallet({})", self.key.address())
    }
}

fn decode_key(text: &str) -> Option<B256> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if digits.len() != 64 {
        return None;
    }
    digits.parse().ok()
}

/// Random bytes from the kernel.
///
/// # Errors
/// [`Error::Io`] where there is no `/dev/urandom`.
pub fn random32() -> Result<[u8; 32], Error> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 32];
    File::open(path).and_then(|mut f| f.read_exact(&mut bytes)).map_err(Error::io("read", path))?;
    Ok(bytes)
}
