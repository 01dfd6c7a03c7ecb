use std::io;
use std::path::PathBuf;

/// Why a measurer can't start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configuration with mistakes: all of them. The user's fault.
    #[error("measurer configuration: {}", problems.join("; "))]
    Config { problems: Vec<String> },

    /// A file can't be read, written or understood.
    #[error("{purpose} {}: {problem}", path.display())]
    File { purpose: &'static str, path: PathBuf, problem: String },

    /// The client library, which buys the service.
    #[error(transparent)]
    Client(#[from] weir_client::Error),

    /// The local proxy of the own client doesn't answer.
    #[error("the measurer's own proxy: {0}")]
    Proxy(#[from] io::Error),
}

impl Error {
    pub(crate) fn file(
        purpose: &'static str,
        path: impl Into<PathBuf>,
        problem: impl ToString,
    ) -> Error {
        Error::File { purpose, path: path.into(), problem: problem.to_string() }
    }

    /// Whether the one who runs the measurer has to change something before it can work.
    pub fn is_configuration(&self) -> bool {
        use weir_client::Error as Client;
        match self {
            Error::Config { .. } | Error::File { .. } => true,
            Error::Client(Client::Unreachable { .. } | Client::Relay { .. }) => false,
            Error::Client(_) => true,
            Error::Proxy(_) => false,
        }
    }
}
