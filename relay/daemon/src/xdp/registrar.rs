//! How a worker's AF_XDP sockets become known to the program that redirects packets, and what they
//! send to the kernel's counts.

use std::io;
use std::os::fd::BorrowedFd;

use weir_core::port::{EgressId, FlowTuple};
use weir_io::XskRegistrar;
use weir_io::xsk::Sent;
use weir_xdp::{Counter, FlowTable, Sender, XskMap};

use super::flows::kernel_flow;

/// Of one worker.
#[derive(Debug)]
pub(super) struct Registrar {
    pub(super) worker: u32,
    pub(super) sockets: XskMap,
    pub(super) flows: FlowTable,
    /// `None`: this worker's number is beyond the kernel's table of them, which is said at start.
    pub(super) sender: Option<Sender>,
}

impl XskRegistrar for Registrar {
    fn register(&mut self, interface: u32, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.sockets.set(interface, queue, self.worker, socket).map_err(io::Error::other)
    }

    fn unregister(&mut self, interface: u32, queue: u32) {
        // The kernel takes a closed socket out by itself.
        if let Err(error) = self.sockets.clear(interface, queue) {
            tracing::warn!(interface, queue, "{error}");
        }
    }

    fn opened(&mut self, _: EgressId, flow: &FlowTuple) -> io::Result<()> {
        self.flows.redirect(&kernel_flow(flow)).map_err(io::Error::other)
    }

    fn sent(&mut self, _: EgressId, flow: &FlowTuple, total: &Sent) {
        // A flow that is not in the table was refused when it was opened.
        if let Some(sender) = &self.sender {
            let _ = sender.flow_total(&kernel_flow(flow), counter(total));
        }
    }

    fn sent_to_clients(&mut self, total: &Sent) {
        if let Some(sender) = &self.sender {
            sender.access_total(counter(total));
        }
    }
}

fn counter(sent: &Sent) -> Counter {
    Counter {
        packets: sent.packets,
        payload_bytes: sent.payload_bytes,
        wire_bytes: sent.wire_bytes,
    }
}
