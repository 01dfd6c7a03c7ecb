//! Which AF_XDP socket takes the packets of a receive queue.

use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::Arc;

use weir_abi::{XSK_INTERFACES_MAX, XSK_QUEUES_MAX, XskOwner};

use crate::error::{Result, XdpError};
use crate::maps::{Map, Maps};

/// The sockets that packets are redirected to. A cheap handle; clones share the maps.
///
/// A socket leaves the kernel's map when it is closed, so nothing has to be cleaned up after a
/// crash; its packets then go to the kernel's stack.
#[derive(Clone, Debug)]
pub struct XskMap {
    sockets: Map<u32, u32>,
    owners: Map<u32, XskOwner>,
    interfaces: Arc<[u32]>,
}

/// A socket that was put into the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XskEntry {
    pub if_index: u32,
    pub queue: u32,
    /// Index of its owner in the array of reuseport sockets.
    pub worker: u32,
}

impl XskMap {
    /// `interfaces`: indices, in the order of the configuration map.
    pub(crate) fn new(maps: &Maps, interfaces: &[u32]) -> Self {
        let interfaces = interfaces.iter().copied().take(XSK_INTERFACES_MAX).collect();
        Self { sockets: maps.xsks.clone(), owners: maps.xsk_owners.clone(), interfaces }
    }

    /// Puts an AF_XDP socket, bound to this interface and queue, into the map. Redirected exit
    /// flows that arrive on the queue go to it, and client-facing packets that the steering rule
    /// gives to `worker`: its index in [`Steering::set_worker`](crate::Steering::set_worker).
    ///
    /// # Errors
    /// [`XdpError::NoXskRow`] for an interface that the programs are not attached to, or a queue
    /// beyond [`XSK_QUEUES_MAX`]; the kernel refuses what is no AF_XDP socket.
    pub fn set(
        &self,
        if_index: u32,
        queue: u32,
        worker: u32,
        socket: BorrowedFd<'_>,
    ) -> Result<()> {
        let row = self.row(if_index, queue)?;
        // First nobody's, so that no packet reaches a socket of another worker.
        self.set_owner(row, 0)?;
        self.sockets
            .set(&row, &socket.as_raw_fd().cast_unsigned(), 0)
            .map_err(XdpError::system("can't put an AF_XDP socket into its map"))?;
        self.set_owner(row, worker + 1)
    }

    /// Takes the socket of a queue out, if there is one.
    pub fn clear(&self, if_index: u32, queue: u32) -> Result<()> {
        let row = self.row(if_index, queue)?;
        self.set_owner(row, 0)?;
        self.sockets
            .remove(&row)
            .map_err(XdpError::system("can't take an AF_XDP socket out of its map"))
    }

    /// What was set and not cleared. A socket that was closed since is still listed, because the
    /// kernel doesn't let us read the map of sockets.
    pub fn list(&self) -> Result<Vec<XskEntry>> {
        let mut entries = Vec::new();
        for (slot, if_index) in (0..).zip(self.interfaces.iter().copied()) {
            for queue in 0..XSK_QUEUES_MAX {
                let owner = self
                    .owners
                    .get(&(slot * XSK_QUEUES_MAX + queue))
                    .map_err(XdpError::system("can't read the owners of AF_XDP sockets"))?;
                let owner = owner.and_then(|values| values.first().copied()).unwrap_or_default();
                if let Some(worker) = owner.worker_plus_one.checked_sub(1) {
                    entries.push(XskEntry { if_index, queue, worker });
                }
            }
        }
        Ok(entries)
    }

    fn set_owner(&self, row: u32, worker_plus_one: u32) -> Result<()> {
        self.owners
            .set(&row, &XskOwner { worker_plus_one, pad: 0 }, 0)
            .map_err(XdpError::system("can't write the owner of an AF_XDP socket"))
    }

    fn row(&self, if_index: u32, queue: u32) -> Result<u32> {
        let slot = self.interfaces.iter().position(|known| *known == if_index);
        match slot {
            Some(slot) if queue < XSK_QUEUES_MAX => Ok(slot as u32 * XSK_QUEUES_MAX + queue),
            _ => Err(XdpError::NoXskRow { if_index, queue }),
        }
    }
}
