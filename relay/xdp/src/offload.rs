//! Generic receive offload, and other settings, of the interfaces that the programs run on.

use std::io;

use crate::sys::offload;

/// Whether GRO is on. Needs no privilege; the interface is of the caller's network namespace.
///
/// # Errors
/// What the kernel says, for example that there is no such interface.
pub fn gro(interface: &str) -> io::Result<bool> {
    offload::gro(interface)
}

/// Turns GRO on or off for good. Needs CAP_NET_ADMIN in the interface's network namespace.
///
/// # Errors
/// What the kernel says.
pub fn set_gro(interface: &str, on: bool) -> io::Result<()> {
    offload::set_gro(interface, on)
}

/// Longest IP packet of an interface, in bytes.
///
/// # Errors
/// What the kernel says, for example that there is no such interface.
pub fn mtu(interface: &str) -> io::Result<u32> {
    offload::mtu(interface)
}

/// GRO that was off and is on as long as this lives.
#[derive(Debug)]
pub(crate) struct GroTurnedOn {
    interface: String,
}

impl GroTurnedOn {
    /// Turns GRO on; `None` if it was on already.
    pub(crate) fn on(interface: &str) -> io::Result<Option<Self>> {
        if offload::gro(interface)? {
            return Ok(None);
        }
        offload::set_gro(interface, true)?;
        Ok(Some(Self { interface: interface.to_owned() }))
    }
}

impl Drop for GroTurnedOn {
    fn drop(&mut self) {
        // The interface may be gone, or the capability; there is nobody left to tell.
        let _ = offload::set_gro(&self.interface, false);
    }
}
