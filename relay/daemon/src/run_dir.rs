//! The run directory: one relay per directory, its ledgers and its keys.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use weir_core::EndpointKeys;

use crate::failure::Failure;
use crate::random;

/// A run directory that belongs to this process.
#[derive(Debug)]
pub(crate) struct RunDir {
    /// Where the ledger files are.
    pub ledgers: PathBuf,
    /// Keys of stateless resets and address tokens. They outlive the process, so that clients of
    /// one that crashed learn at once that their connection is gone.
    pub keys: EndpointKeys,
    /// The kernel drops the lock with the process.
    _lock: File,
}

impl RunDir {
    /// Creates what is missing and takes the directory for this process.
    ///
    /// # Errors
    /// When another relay has it, or it can't be written.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let ledgers = path.join("ledger");
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&ledgers).map_err(|error| at(&ledgers, &error))?;
        let lock_path = path.join("lock");
        let lock = File::create(&lock_path).map_err(|error| at(&lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::Unavailable(format!(
                    "another relay runs with relay.run_dir {}; give each its own",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(at(&lock_path, &error)),
        }
        let keys_path = path.join("endpoint.key");
        let keys = keys(&keys_path).map_err(|error| at(&keys_path, &error))?;
        Ok(Self { ledgers, keys, _lock: lock })
    }
}

fn keys(path: &Path) -> io::Result<EndpointKeys> {
    let bytes: [u8; 128] = match fs::read(path).ok().and_then(|read| read.try_into().ok()) {
        Some(kept) => kept,
        None => {
            let fresh = random::bytes();
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            options.open(path)?.write_all(&fresh)?;
            fresh
        }
    };
    let mut keys = EndpointKeys { reset: [0; 64], token: [0; 64] };
    keys.reset.copy_from_slice(&bytes[..64]);
    keys.token.copy_from_slice(&bytes[64..]);
    Ok(keys)
}

fn at(path: &Path, error: &io::Error) -> Failure {
    let text = format!("relay.run_dir: {}: {error}", path.display());
    if error.kind() == io::ErrorKind::PermissionDenied {
        Failure::Privilege(text)
    } else {
        Failure::Unavailable(text)
    }
}
