//! The other side of blind access: what signs tokens, and what asks for them. A crate of its own,
//! so that no relay links arithmetic with private RSA keys.
//!
//! Requests and responses are those of RFC 9578 section 6, carried as files, one per line in
//! base64url, or over HTTP ([`serve`]). The signature scheme is RSABSSA-SHA384-PSS-Deterministic
//! (RFC 9474).
//!
//! An issuer doesn't see which exit and epoch a token is for. It therefore uses a key of its own
//! for each exit: what is spent there then never exceeds what was signed with that key.

#![forbid(unsafe_code)]

mod blind;
mod issuer;
mod ledger;
mod pending;
mod pss;
pub mod serve;

pub use blind::{Blinded, blind};
pub use issuer::Issuer;
pub use ledger::Ledger;
pub use pending::Pending;

/// Bytes of a TokenRequest: type, truncated key id, blinded message.
pub const REQUEST_BYTES: usize = 2 + 1 + weir_blind::MODULUS_BYTES;

/// Why a token can't be asked for or signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Blind(#[from] weir_blind::Error),
    /// A file that isn't what it should be.
    #[error("{what}: {why}")]
    Malformed { what: &'static str, why: String },
    #[error("{file}: {source}")]
    File { file: String, source: std::io::Error },
    /// The request is for another key than the issuer's.
    #[error("a request is for another key")]
    OtherKey,
    /// The customer has had as many tokens as it may.
    #[error("{customer} has had {issued} of {quota} tokens, and asks for {wanted} more")]
    Quota { customer: String, issued: u64, quota: u64, wanted: u64 },
    /// The key or the random generator failed.
    #[error("RSA: {0}")]
    Rsa(String),
}

impl Error {
    pub(crate) fn malformed(what: &'static str, why: impl ToString) -> Self {
        Error::Malformed { what, why: why.to_string() }
    }

    pub(crate) fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Error {
        let file = path.display().to_string();
        move |source| Error::File { file, source }
    }
}

/// Writes a file that only its owner may read, whole or not at all.
pub(crate) fn write_secret(path: &std::path::Path, text: &str) -> Result<(), Error> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut options = std::fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(&new).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        std::fs::File::open(parent.unwrap_or(std::path::Path::new(".")))?.sync_all()
    });
    written.map_err(Error::file(path))
}
