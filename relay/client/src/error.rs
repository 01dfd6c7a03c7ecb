//! The crate's error: what happened, where, whose fault it is, and what to do.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What can go wrong in the client as a whole. A single tunnel's failure is a
/// [`Refusal`](crate::Refusal) and ends only that tunnel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configured value can't be used. The user's fault.
    #[error("client configuration: {key}: {problem}")]
    Config {
        /// The setting.
        key: &'static str,
        /// What is wrong with it and what it should look like.
        problem: String,
    },

    /// A local port could not be opened.
    #[error("cannot listen on {address} for {purpose}: {source}{}", listen_hint(source))]
    Listen {
        /// What would be served there.
        purpose: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },

    /// A file could not be read or written.
    #[error("{purpose} {}: {problem}", path.display())]
    File {
        /// What the file is.
        purpose: &'static str,
        /// Which file.
        path: PathBuf,
        /// The system's answer, or what is wrong with the contents.
        problem: String,
    },

    /// No connection to the relay could be made.
    #[error("cannot reach relay {relay}: {problem}")]
    Unreachable {
        /// The relay's URL.
        relay: String,
        /// Cause and remedy.
        problem: String,
    },

    /// The relay's certificate was refused by [`Trust`](crate::Trust).
    #[error(
        "relay {relay} showed a certificate that is not trusted: {problem}. If you run this relay \
         yourself, pin its certificate: `weir client --pin-sha256 <hex>`, with the hex that the \
         relay printed at start or that `openssl x509 -in cert.pem -outform der | sha256sum` prints"
    )]
    Untrusted {
        /// The relay's URL.
        relay: String,
        /// What TLS found wrong.
        problem: String,
    },

    /// The relay answered something that it should not. The relay's fault.
    #[error("relay {relay} broke the protocol: {problem}")]
    Relay {
        /// The relay's URL.
        relay: String,
        /// What was wrong.
        problem: String,
    },

    /// The relay wants something else than what was agreed. Nothing was sent through it.
    #[error("relay {relay}: {problem}")]
    Terms {
        /// The relay's URL.
        relay: String,
        /// What it wants, what was agreed, and what to do.
        problem: String,
    },

    /// The relay billed for more than arrived, time after time; the client is through with it. What
    /// did arrive is paid.
    #[error(
        "through with relay {relay}: {problem}. Try another exit, or, if lost datagrams and \
         downloads that were broken off explain it, raise the tolerance"
    )]
    Overbilled {
        /// The relay's URL.
        relay: String,
        /// How much, beside the own counts.
        problem: String,
    },

    /// The admin endpoint of a running client could not be asked.
    #[error("cannot ask the client at {address}: {problem}")]
    Admin {
        /// Its admin address.
        address: SocketAddr,
        /// What went wrong.
        problem: String,
    },
}

impl Error {
    pub(crate) fn config(key: &'static str, problem: impl Into<String>) -> Error {
        Error::Config { key, problem: problem.into() }
    }

    pub(crate) fn file(
        purpose: &'static str,
        path: impl Into<PathBuf>,
        problem: impl ToString,
    ) -> Error {
        Error::File { purpose, path: path.into(), problem: problem.to_string() }
    }
}

fn listen_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            " (another program, perhaps another weir client, has this port; stop it or choose another)"
        }
        io::ErrorKind::AddrNotAvailable => " (this host does not have that address)",
        io::ErrorKind::PermissionDenied => {
            " (ports below 1024 need privileges; choose a higher one)"
        }
        _ => "",
    }
}
