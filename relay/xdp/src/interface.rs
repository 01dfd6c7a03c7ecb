//! A network interface of the caller's network namespace.

use std::ffi::CString;
use std::fs;

use aya::programs::loaded_programs;

use crate::error::{Result, XdpError};
use crate::sys::rtnetlink::{self, XdpState};

/// linux/if_arp.h: both carry an Ethernet header.
const ETHERNET: u32 = 1;
const LOOPBACK: u32 = 772;

/// An interface that exists and speaks Ethernet.
#[derive(Clone, Debug)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: u32,
}

impl Interface {
    pub(crate) fn open(name: &str) -> Result<Self> {
        let missing = || XdpError::NoInterface(name.to_owned());
        let c_name = CString::new(name).map_err(|_| missing())?;
        // SAFETY: the name is terminated and outlives the call; std has no such lookup.
        let index = unsafe { libc::if_nametoindex(c_name.as_ptr()) };
        if index == 0 {
            return Err(missing());
        }
        // /sys shows the namespace it was mounted in, which may be another one: then the type
        // can't be told, and the attachment itself will say what is wrong.
        if let Ok(kind) = fs::read_to_string(format!("/sys/class/net/{name}/type"))
            && let Ok(kind) = kind.trim().parse::<u32>()
            && kind != ETHERNET
            && kind != LOOPBACK
        {
            return Err(XdpError::NotEthernet { interface: name.to_owned(), kind });
        }
        Ok(Self { name: name.to_owned(), index })
    }

    pub(crate) fn xdp_state(&self) -> Result<XdpState> {
        rtnetlink::xdp_state(self.index)
            .map_err(XdpError::system("can't ask the kernel for the interface's XDP program"))
    }

    /// Refuses an interface on which any XDP program runs.
    pub(crate) fn refuse_foreign(&self) -> Result<()> {
        let state = self.xdp_state()?;
        let Some(id) =
            [state.native, state.generic, state.offloaded].into_iter().find(|id| *id != 0)
        else {
            return Ok(());
        };
        Err(XdpError::ForeignProgram { interface: self.name.clone(), id, name: program_name(id) })
    }
}

fn program_name(id: u32) -> String {
    loaded_programs()
        .flatten()
        .find(|info| info.id() == id)
        .and_then(|info| info.name_as_str().map(str::to_owned))
        .unwrap_or_else(|| "unnamed".to_owned())
}
