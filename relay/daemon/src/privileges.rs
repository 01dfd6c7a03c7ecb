//! Gives privileges back once everything that needs them is open.
//!
//! Capabilities belong to threads: each worker drops its own, the control thread last.

use caps::{CapSet, Capability, CapsHashSet};

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Nothing,
    /// Reading, writing and at the end detaching the kernel programs and their maps.
    KernelPrograms,
}

impl Keep {
    fn capabilities(self) -> CapsHashSet {
        match self {
            Keep::Nothing => CapsHashSet::new(),
            Keep::KernelPrograms => {
                [Capability::CAP_NET_ADMIN, Capability::CAP_BPF].into_iter().collect()
            }
        }
    }

    /// For the log.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Keep::Nothing => "none",
            Keep::KernelPrograms => "CAP_NET_ADMIN, CAP_BPF",
        }
    }
}

/// Drops all capabilities of the calling thread but those that are kept, for good.
///
/// # Errors
/// When the kernel refuses, which it does only to a seccomp profile.
pub(crate) fn drop_all_but(keep: Keep) -> Result<(), caps::errors::CapsError> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = keep.capabilities().intersection(&permitted).copied().collect();
    caps::clear(None, CapSet::Ambient)?;
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new())?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)
}

/// No program that this process might start gets more than it has. Threads inherit it, so it comes
/// before they start.
pub(crate) fn forbid_new() {
    if let Err(error) = rustix::thread::set_no_new_privs(true) {
        tracing::warn!("no_new_privs can't be set: {error}");
    }
}

/// Whether the calling thread may use a capability now.
pub(crate) fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}
