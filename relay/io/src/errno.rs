//! From `errno` to what the engine knows.

use std::io;

use weir_core::port::EgressError;

/// The engine's name of an error.
pub(crate) fn egress_error(errno: i32) -> EgressError {
    match errno {
        libc::ECONNREFUSED => EgressError::Refused,
        libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EHOSTDOWN | libc::ENETDOWN => {
            EgressError::Unreachable
        }
        libc::ETIMEDOUT => EgressError::TimedOut,
        libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED => EgressError::Reset,
        libc::EMSGSIZE => EgressError::TooBig,
        libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EAGAIN => {
            EgressError::NoResources
        }
        libc::EADDRINUSE | libc::EADDRNOTAVAIL => EgressError::AddrInUse,
        other => EgressError::Other(other),
    }
}

/// The same for an error of the standard library; one without a number is out of resources.
pub(crate) fn from_io(error: &io::Error) -> EgressError {
    error.raw_os_error().map_or(EgressError::NoResources, egress_error)
}
