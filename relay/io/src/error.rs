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
    /// An AF_XDP socket could not be set up.
    #[error("AF_XDP on {interface} queue {queue}: {step}: {source}{}", xsk_hint(source))]
    Xsk { interface: String, queue: u32, step: &'static str, source: io::Error },
    /// Its memory can't be locked.
    #[error(
        "AF_XDP needs {wanted_bytes} bytes of locked memory per queue and RLIMIT_MEMLOCK is \
         {limit_bytes}; raise it (LimitMEMLOCK= in systemd) or grant CAP_IPC_LOCK"
    )]
    XskMemory { wanted_bytes: u64, limit_bytes: u64 },
    /// Its frames are too long.
    #[error(
        "AF_XDP on {interface}: MTU {mtu} doesn't fit a frame of 4096 bytes; set it to 3822 or \
         less (`ip link set {interface} mtu 1500`), or use io.backend = \"uring\""
    )]
    XskMtu { interface: String, mtu: u32 },
    /// The interface can't serve.
    #[error("AF_XDP on interface {interface}: {problem}")]
    XskInterface { interface: String, problem: String },
    /// The configuration of the AF_XDP backend is missing or can't work.
    #[error("AF_XDP: {0}")]
    XskConfig(String),
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

/// What to do about the usual errors of AF_XDP sockets.
fn xsk_hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "; it needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF: run as root or give them in the \
             unit"
        }
        Some(libc::EBUSY) => "; another AF_XDP socket has this queue",
        Some(libc::EOPNOTSUPP | libc::EPROTONOSUPPORT) => {
            "; the driver can't do this: io.xsk.zero_copy = \"auto\" or \"off\" copies"
        }
        Some(libc::EAFNOSUPPORT) => "; this kernel has no AF_XDP (CONFIG_XDP_SOCKETS)",
        Some(libc::EINVAL) => "; the interface may have fewer queues, see `ethtool -l`",
        _ => "",
    }
}
