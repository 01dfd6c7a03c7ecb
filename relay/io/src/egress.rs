//! What both backends keep of target-facing sockets.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::Socket;
use weir_core::port::{EgressId, FlowHook, FlowTuple, Transport};

use crate::sockets::{RouteFinder, open_tcp, open_udp};

/// Target-facing sockets by the index that the engine gave them.
#[derive(Debug)]
pub(crate) struct Table<T> {
    /// Grows to the highest index in use; the engine reuses low ones.
    entries: Vec<Option<(u32, T)>>,
    limit: u32,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { entries: Vec::new(), limit: 0 }
    }
}

impl<T> Table<T> {
    pub(crate) fn new(limit: u32) -> Table<T> {
        Table { entries: Vec::new(), limit }
    }

    /// Enters a socket. Gives it back if the index is beyond the limit or taken.
    pub(crate) fn insert(&mut self, id: EgressId, entry: T) -> Result<&mut T, T> {
        let index = id.index as usize;
        if self.is_beyond(id) {
            return Err(entry);
        }
        if self.entries.len() <= index {
            self.entries.resize_with(index + 1, || None);
        }
        let place = &mut self.entries[index];
        if place.is_some() {
            return Err(entry);
        }
        Ok(&mut place.insert((id.epoch, entry)).1)
    }

    /// True for an index that can't be entered at all.
    pub(crate) fn is_beyond(&self, id: EgressId) -> bool {
        id.index >= self.limit
    }

    pub(crate) fn get(&mut self, id: EgressId) -> Option<&mut T> {
        let (epoch, entry) = self.entries.get_mut(id.index as usize)?.as_mut()?;
        (*epoch == id.epoch).then_some(entry)
    }

    /// By index alone, for completions: an index isn't used again before its last completion.
    pub(crate) fn at(&mut self, index: u32) -> Option<(EgressId, &mut T)> {
        let (epoch, entry) = self.entries.get_mut(index as usize)?.as_mut()?;
        Some((EgressId { index, epoch: *epoch }, entry))
    }

    pub(crate) fn remove(&mut self, id: EgressId) -> Option<T> {
        self.get(id)?;
        self.entries[id.index as usize].take().map(|(_, entry)| entry)
    }

    /// All ids in the table.
    pub(crate) fn ids(&self) -> Vec<EgressId> {
        let ids = self.entries.iter().zip(0..);
        ids.filter_map(|(e, index)| e.as_ref().map(|(epoch, _)| EgressId { index, epoch: *epoch }))
            .collect()
    }
}

/// An open socket and the flow that the hook was told of.
#[derive(Debug)]
pub(crate) struct Flow {
    socket: Socket,
    tuple: FlowTuple,
}

impl Flow {
    pub(crate) fn local(&self) -> SocketAddr {
        self.tuple.local
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.tuple.remote
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }
}

impl AsFd for Flow {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Opens and closes target-facing sockets, and tells the hook of each.
pub(crate) struct Opener {
    hook: Box<dyn FlowHook>,
    routes: RouteFinder,
    udp_buffer_bytes: usize,
}

impl Opener {
    pub(crate) fn new(hook: Box<dyn FlowHook>, udp_buffer_bytes: usize) -> Opener {
        Opener { hook, routes: RouteFinder::default(), udp_buffer_bytes }
    }

    /// A connected UDP socket; nothing was sent.
    pub(crate) fn udp(
        &mut self,
        id: EgressId,
        target: SocketAddr,
        source: Option<IpAddr>,
    ) -> io::Result<Flow> {
        let (socket, local) = open_udp(target, source, self.udp_buffer_bytes)?;
        Ok(self.opened(id, socket, Transport::Udp, local, target))
    }

    /// A bound TCP socket; the SYN was not sent.
    pub(crate) fn tcp(
        &mut self,
        id: EgressId,
        target: SocketAddr,
        source: Option<IpAddr>,
    ) -> io::Result<Flow> {
        let (socket, local) = open_tcp(target, source, &mut self.routes)?;
        Ok(self.opened(id, socket, Transport::Tcp, local, target))
    }

    /// Who is told of flows, also of those that have no socket.
    pub(crate) fn hook(&mut self) -> &mut dyn FlowHook {
        &mut *self.hook
    }

    /// Closes the socket: the last system call on it, then the hook.
    pub(crate) fn close(&mut self, id: EgressId, flow: Flow, reset: bool) {
        if reset {
            crate::sockets::reset_on_close(flow.as_fd());
        }
        let Flow { socket, tuple } = flow;
        drop(socket);
        self.hook.closed(id, &tuple);
    }

    fn opened(
        &mut self,
        id: EgressId,
        socket: Socket,
        transport: Transport,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Flow {
        let tuple = FlowTuple { transport, local, remote };
        self.hook.opened(id, &tuple);
        Flow { socket, tuple }
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").field("routes", &self.routes).finish_non_exhaustive()
    }
}

/// Bytes of a TCP connection that the kernel has not taken yet. They are copied out of the send
/// buffer that they came in, so that a slow target never holds one of those; the engine bounds
/// them by what it lets be outstanding.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// What is being sent, from `sent` on. Never changed while the kernel may read it.
    front: Vec<u8>,
    sent: usize,
    /// What comes after it.
    behind: Vec<u8>,
}

impl Backlog {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.behind.extend_from_slice(bytes);
    }

    /// Puts back, before everything else, what a send straight from the engine's buffer left over.
    pub(crate) fn resume(&mut self, rest: &[u8]) {
        debug_assert!(self.front.is_empty(), "nothing was sent from here meanwhile");
        self.front.extend_from_slice(rest);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sent == self.front.len() && self.behind.is_empty()
    }

    /// The bytes to send next. They stay where they are until [`Backlog::advance`].
    pub(crate) fn next(&mut self) -> &[u8] {
        if self.sent == self.front.len() {
            self.front.clear();
            self.sent = 0;
            std::mem::swap(&mut self.front, &mut self.behind);
        }
        &self.front[self.sent..]
    }

    /// The kernel took `bytes` of them.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.sent = (self.sent + bytes).min(self.front.len());
        if self.is_empty() {
            // Idle connections keep no memory.
            *self = Backlog::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_knows_the_epoch_and_the_limit() {
        let mut table = Table::new(4);
        let id = EgressId { index: 3, epoch: 7 };
        assert!(table.insert(id, "a").is_ok());
        assert!(table.insert(id, "b").is_err(), "taken");
        assert!(table.insert(EgressId { index: 4, epoch: 0 }, "c").is_err(), "beyond the limit");
        assert!(table.get(EgressId { index: 3, epoch: 6 }).is_none(), "an old epoch");
        assert_eq!(table.remove(id), Some("a"));
        assert_eq!(table.remove(id), None);
    }

    #[test]
    fn what_a_direct_send_left_over_comes_first() {
        let mut backlog = Backlog::default();
        backlog.push(b"later");
        backlog.resume(b"first");
        assert_eq!(backlog.next(), b"first");
        backlog.advance(5);
        assert_eq!(backlog.next(), b"later");
    }

    #[test]
    fn a_backlog_keeps_the_order_over_partial_sends() {
        let mut backlog = Backlog::default();
        let mut out = Vec::new();
        for round in 0..50u8 {
            backlog.push(&[round; 7]);
            let take = backlog.next().len().min(5);
            out.extend_from_slice(&backlog.next()[..take]);
            backlog.advance(take);
        }
        while !backlog.is_empty() {
            let rest = backlog.next().to_vec();
            out.extend_from_slice(&rest);
            backlog.advance(rest.len());
        }
        let expected: Vec<u8> = (0..50).flat_map(|round| [round; 7]).collect();
        assert_eq!(out, expected);
        assert_eq!(backlog.front.capacity(), 0);
    }
}
