//! Target-facing sockets: their names, and the operations without payload that wait for the
//! backend. (Payload is not queued here: it is pulled from the tunnels.)

use std::collections::VecDeque;

use crate::port::{EgressId, EgressOp};

#[derive(Debug)]
struct Socket {
    epoch: u32,
    /// The tunnel that owns it; `None` when the name is free.
    tunnel: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct Egress {
    sockets: Vec<Socket>,
    free: Vec<u32>,
    limit: usize,
    /// Bounded by the number of sockets: each is opened once and closed once.
    ops: VecDeque<EgressOp>,
    /// Tunnels that may have payload or read credit to hand over; each is in here at most once.
    ready: VecDeque<usize>,
}

impl Egress {
    pub(crate) fn new(limit: usize) -> Self {
        Egress {
            sockets: Vec::new(),
            free: Vec::new(),
            limit,
            ops: VecDeque::new(),
            ready: VecDeque::new(),
        }
    }

    /// A name for a new socket of a tunnel; `None` at the limit.
    pub(crate) fn allocate(&mut self, tunnel: usize) -> Option<EgressId> {
        if let Some(index) = self.free.pop() {
            let socket = &mut self.sockets[index as usize];
            socket.tunnel = Some(tunnel);
            return Some(EgressId { index, epoch: socket.epoch });
        }
        if self.sockets.len() >= self.limit {
            return None;
        }
        let index = u32::try_from(self.sockets.len()).ok()?;
        self.sockets.push(Socket { epoch: 0, tunnel: Some(tunnel) });
        Some(EgressId { index, epoch: 0 })
    }

    /// The tunnel that owns a socket; `None` for a name of the past.
    pub(crate) fn owner(&self, id: EgressId) -> Option<usize> {
        let socket = self.sockets.get(id.index as usize)?;
        if socket.epoch == id.epoch { socket.tunnel } else { None }
    }

    /// After [`EgressEvent::Closed`](crate::port::EgressEvent::Closed): the index may be used
    /// again, under another epoch.
    pub(crate) fn release(&mut self, id: EgressId) -> Option<usize> {
        let owner = self.owner(id)?;
        let socket = &mut self.sockets[id.index as usize];
        socket.tunnel = None;
        socket.epoch = socket.epoch.wrapping_add(1);
        self.free.push(id.index);
        Some(owner)
    }

    /// Sockets that are not closed yet.
    pub(crate) fn open(&self) -> usize {
        self.sockets.len() - self.free.len()
    }

    pub(crate) fn push(&mut self, op: EgressOp) {
        self.ops.push_back(op);
    }

    pub(crate) fn pop(&mut self) -> Option<EgressOp> {
        self.ops.pop_front()
    }

    /// Marks a tunnel as having something to hand over. `queued` is the tunnel's own mark.
    pub(crate) fn make_ready(&mut self, tunnel: usize, queued: &mut bool) {
        if !std::mem::replace(queued, true) {
            self.ready.push_back(tunnel);
        }
    }

    /// The same for the tunnel whose turn it is, which isn't over if `first`.
    pub(crate) fn stay_ready(&mut self, tunnel: usize, queued: &mut bool, first: bool) {
        if std::mem::replace(queued, true) {
            return;
        }
        if first {
            self.ready.push_front(tunnel);
        } else {
            self.ready.push_back(tunnel);
        }
    }

    /// The next tunnel in turn; the caller clears its mark.
    pub(crate) fn next_ready(&mut self) -> Option<usize> {
        self.ready.pop_front()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.ops.is_empty() && self.ready.is_empty()
    }
}
