//! Where a secret is: in a file, or in a credential that systemd decrypted for this service.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::Error;

/// No key or URL is near this size; what is larger is the wrong file.
const FILE_LEN_MAX: u64 = 64 * 1024;
/// Set by systemd for a service with `LoadCredential=` or `LoadCredentialEncrypted=`.
const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";
const PREFIX: &str = "credential:";

/// The place of a secret; the secret itself is never in a configuration or on a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// A file, mode 0600 or stricter.
    File(PathBuf),
    /// A name in `$CREDENTIALS_DIRECTORY` (systemd.exec(5)).
    Credential(String),
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(name) = text.strip_prefix(PREFIX) else {
            if text.is_empty() {
                return Err("must not be empty".into());
            }
            return Ok(Self::File(text.into()));
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
            return Err(format!("`{name}` is no name of a credential: letters, digits, - _ ."));
        }
        Ok(Self::Credential(name.into()))
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Credential(name) => write!(f, "{PREFIX}{name}"),
        }
    }
}

impl Secret {
    /// The file that holds it.
    ///
    /// # Errors
    /// [`Error::Key`] for a credential where there are none.
    pub fn path(&self) -> Result<PathBuf, Error> {
        match self {
            Self::File(path) => Ok(path.clone()),
            Self::Credential(name) => match std::env::var_os(DIRECTORY) {
                Some(directory) => Ok(PathBuf::from(directory).join(name)),
                None => Err(Error::Key {
                    path: self.to_string().into(),
                    reason: format!(
                        "${DIRECTORY} isn't set: start it by systemd, with \
                         LoadCredentialEncrypted={name}:..."
                    ),
                }),
            },
        }
    }

    /// Its text.
    ///
    /// # Errors
    /// [`Error::Key`] or [`Error::Io`]; no message holds any of it.
    pub fn read(&self) -> Result<String, Error> {
        read(&self.path()?)
    }
}

/// Reads a file that nobody but its owner and group may read, and nobody but its owner may write.
fn read(path: &Path) -> Result<String, Error> {
    let fail = |reason: String| Error::Key { path: path.to_owned(), reason };
    let mut file = File::open(path).map_err(Error::io("open the secret's file", path))?;
    let metadata = file.metadata().map_err(Error::io("look at the secret's file", path))?;
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
        return Err(fail(format!("{} bytes are too many for a secret", metadata.len())));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(|_| fail("not a text file".into()))?;
    Ok(text)
}
