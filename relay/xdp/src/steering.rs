//! The reuseport side: which socket is which worker's.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use weir_abi::{Steer, cid::CidKey};

use crate::error::{Result, XdpError};
use crate::maps::{Map, Maps};

/// A cheap handle; clones share the maps and the program.
#[derive(Clone, Debug)]
pub struct Steering {
    program: Arc<OwnedFd>,
    slots: Map<u32, Steer>,
    workers: Map<u32, u32>,
}

const UNUSED: Steer = Steer { key: CidKey::ZERO, generation: 0, base: 0, workers: 0 };

impl Steering {
    pub(crate) fn new(maps: &Maps, program: OwnedFd) -> Self {
        Self {
            program: Arc::new(program),
            slots: maps.steer.clone(),
            workers: maps.workers.clone(),
        }
    }

    /// Says which connection IDs lead where. The draining generation is written first, so that
    /// its packets find a way at every moment of a handover.
    pub fn configure(&self, current: &Steer, draining: Option<&Steer>) -> Result<()> {
        let set = |slot: u32, steer: &Steer| {
            self.slots
                .set(&slot, steer, 0)
                .map_err(XdpError::system("can't write the steering map"))
        };
        set(1, draining.unwrap_or(&UNUSED))?;
        set(0, current)
    }

    /// Puts a worker's bound UDP socket, of a group with `SO_REUSEPORT`, at `index`: its
    /// generation's base plus the worker's number. It leaves the array when it is closed.
    ///
    /// # Errors
    /// [`XdpError::NoSuchWorker`]; the kernel refuses sockets that are not bound or not in a
    /// reuseport group.
    pub fn set_worker(&self, index: u32, socket: BorrowedFd<'_>) -> Result<()> {
        let max = self.workers.entries_max();
        if index >= max {
            return Err(XdpError::NoSuchWorker { index, max });
        }
        self.workers
            .set(&index, &socket.as_raw_fd().cast_unsigned(), 0)
            .map_err(XdpError::system("can't put a worker's socket into the reuseport array"))
    }

    /// For `SO_ATTACH_REUSEPORT_EBPF` on one socket of the group.
    #[must_use]
    pub fn program_fd(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }
}
