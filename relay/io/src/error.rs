//! What can go wrong in this crate, and whose fault it is.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::probe::Refusal;

/// All errors of this crate. All but [`Error::Ledger`] are the operator's or the host's to fix.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else listens there.
    #[error(
        "cannot listen on udp {address}: the address is in use; \
         `ss -ulpn` names the process that holds it"
    )]
    AddressInUse { address: SocketAddr },
    /// A client-facing socket could not be set up.
    #[error("cannot listen on udp {address}: {step}: {source}")]
    Listen { address: SocketAddr, step: &'static str, source: io::Error },
    /// The list of addresses to listen on makes no sense.
    #[error("cannot listen on {address}: {problem}")]
    ListenAddress { address: SocketAddr, problem: &'static str },
    /// io_uring was asked for and the host refuses it.
    #[error("io_uring is not usable here: {0}")]
    UringRefused(#[from] Refusal),
    /// Any other system call; `what` says which step failed.
    #[error("{what}: {source}")]
    Os { what: &'static str, source: io::Error },
    /// A steering program was refused by the kernel.
    #[error("cannot attach the {steerer} steering program: {source}")]
    Steer { steerer: &'static str, source: io::Error },
    /// The ledger file could not be created, opened or mapped.
    #[error("ledger {}: {step}: {source}", path.display())]
    LedgerIo { path: PathBuf, step: &'static str, source: io::Error },
    /// The ledger file is not what it should be. `offset` is in bytes.
    #[error("ledger {} is damaged at byte {offset}: {problem}", path.display())]
    Ledger { path: PathBuf, offset: u64, problem: String },
}

impl Error {
    /// The error of the last system call.
    pub(crate) fn last_os(what: &'static str) -> Error {
        Error::Os { what, source: io::Error::last_os_error() }
    }
}
