//! The wallet: a key that came from a file, and signs transactions.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use alloy::consensus::{SignableTransaction, TxEip1559};
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, B256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use weir_usage::{Digest, Signature};

use crate::error::Error;

/// No key file is near this size; what is larger is the wrong file.
const FILE_LEN_MAX: u64 = 64 * 1024;

/// Signs transactions. `Debug` shows the address only.
#[derive(Clone)]
pub struct Wallet(PrivateKeySigner);

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
        let fail = |reason: String| Error::Key { path: path.to_owned(), reason };
        let text = read_secret(path)?;
        if text.trim_start().starts_with('{') {
            let Some(password) = password else {
                return Err(fail("this is a keystore; set password_file".into()));
            };
            let password = read_secret(password)?;
            return PrivateKeySigner::decrypt_keystore(
                path,
                password.trim_end_matches(['\r', '\n']),
            )
            .map(Self)
            .map_err(|e| fail(format!("the keystore can't be opened: {e}")));
        }
        let bytes = decode_key(text.trim())
            .ok_or_else(|| fail("expected 64 hexadecimal digits or a keystore v3 file".into()))?;
        PrivateKeySigner::from_bytes(&bytes)
            .map(Self)
            .map_err(|_| fail("the number is not a secp256k1 private key".into()))
    }

    /// Who signs.
    pub fn address(&self) -> Address {
        self.0.address()
    }

    /// Signs a digest (EIP-712), as a payer or operator signs an agreement.
    ///
    /// # Errors
    /// [`Error::Transaction`] if the signature can't be made.
    pub fn sign_digest(&self, digest: &Digest) -> Result<Signature, Error> {
        let fail = |reason| Error::Transaction { action: "signing".into(), reason };
        let signature =
            self.0.sign_hash_sync(&B256::from(digest.0)).map_err(|e| fail(e.to_string()))?;
        // alloy's form is r, s, v = 27 or 28, with a low s.
        Ok(Signature(signature.as_bytes()))
    }

    /// Signs a transaction.
    ///
    /// # Errors
    /// [`Error::Transaction`] if the signature can't be made.
    pub fn sign(&self, tx: TxEip1559) -> Result<SignedTx, Error> {
        let signature = self
            .0
            .sign_hash_sync(&tx.signature_hash())
            .map_err(|e| Error::Transaction { action: "signing".into(), reason: e.to_string() })?;
        let signed = tx.into_signed(signature);
        Ok(SignedTx { hash: Digest(signed.hash().0), raw: signed.encoded_2718() })
    }
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wallet({})", self.0.address())
    }
}

/// Reads a file that nobody but its owner and group may read, and nobody but its owner may write.
fn read_secret(path: &Path) -> Result<String, Error> {
    let fail = |reason: String| Error::Key { path: path.to_owned(), reason };
    let mut file = File::open(path).map_err(Error::io("open the key file", path))?;
    let metadata = file.metadata().map_err(Error::io("look at the key file", path))?;
    if !metadata.is_file() {
        return Err(fail("not a regular file".into()));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o027 != 0 {
        return Err(fail(format!(
            "mode {mode:04o} lets others read or change it; chmod 0600 {}",
            path.display()
        )));
    }
    if metadata.len() > FILE_LEN_MAX {
        return Err(fail(format!("{} bytes are too many for a key", metadata.len())));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(|_| fail("not a text file".into()))?;
    Ok(text)
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
