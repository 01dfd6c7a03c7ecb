/// Why something isn't what it should be. All of it is the fault of whoever sent it, but for
/// [`Error::Storage`] and [`Error::Damaged`], which are the operator's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes that don't follow the format.
    #[error("malformed {what}: {why}")]
    Malformed { what: &'static str, why: &'static str },
    /// The signature doesn't belong to the token and the key.
    #[error("the token's signature is wrong")]
    Signature,
    /// The directory of spent tokens can't be read or written.
    #[error("spent tokens: can't {doing} {name}: {source}")]
    Storage { doing: &'static str, name: String, source: std::io::Error },
    /// A file of spent tokens is damaged where no crash can have damaged it. Its epoch is closed:
    /// a token that can't be looked up can't be accepted.
    #[error("spent tokens: {name} is damaged at byte {offset}; no token of its epoch is accepted")]
    Damaged { name: String, offset: usize },
}

impl Error {
    pub(crate) const fn malformed(what: &'static str, why: &'static str) -> Self {
        Error::Malformed { what, why }
    }
}
