//! Without a relay: a connected UDP or TCP socket per tunnel.

use std::net::SocketAddr;
use std::time::Instant;

use slab::Slab;
use weir_core::port::{EgressEvent, EgressId, EgressOp, Io, MAX_TRAIN_BYTES, MAX_TRAIN_SEGMENTS};
use weir_io::Backend;

use super::{Happened, Kind, Sent, Sink, Tunnel};

/// The most that one UDP_SEGMENT send carries over IPv4: 64 KiB less the headers.
const TRAIN_BYTES: usize = 65_507;
/// Bytes that a TCP connection may have queued in the backend.
const TCP_QUEUED_MAX: usize = 256 << 10;
/// Bytes that may arrive on a TCP connection before it is given credit again.
const TCP_CREDIT: usize = 256 << 10;

/// Sockets of the generator itself.
#[derive(Debug)]
pub(crate) struct Direct {
    batch: bool,
    sockets: Slab<Socket>,
    /// Sockets with a train that waits for the flush.
    dirty: Vec<u32>,
    /// Credit to give back.
    credit: Vec<u32>,
    epoch: u32,
    refused: u64,
}

#[derive(Debug)]
struct Socket {
    id: EgressId,
    /// Nothing of it is told any more; the slot is free when the backend says so.
    closed: bool,
    train: Option<Train>,
    /// TCP: bytes handed over and not yet taken by the kernel, and whether a write was short.
    queued: usize,
    blocked: bool,
    /// TCP: bytes that arrived since credit was given.
    arrived: usize,
}

#[derive(Debug)]
struct Train {
    buffer: Vec<u8>,
    segment_size: usize,
    datagrams: u32,
}

impl Train {
    /// True if a payload of `len` bytes may follow: none before it was shorter than the rest.
    fn takes(&self, len: usize) -> bool {
        len > 0
            && len <= self.segment_size
            && (self.datagrams as usize) < MAX_TRAIN_SEGMENTS
            && self.buffer.len() + len <= TRAIN_BYTES
            && self.buffer.len() == self.segment_size * self.datagrams as usize
    }
}

impl Direct {
    pub(crate) fn new(batch: bool) -> Direct {
        Direct {
            batch,
            sockets: Slab::new(),
            dirty: Vec::new(),
            credit: Vec::new(),
            epoch: 0,
            refused: 0,
        }
    }

    pub(crate) fn open(&mut self, kind: Kind, target: SocketAddr, io: &mut Backend) -> Tunnel {
        self.epoch += 1;
        let entry = self.sockets.vacant_entry();
        let id = EgressId { index: entry.key() as u32, epoch: self.epoch };
        entry.insert(Socket {
            id,
            closed: false,
            train: None,
            queued: 0,
            blocked: false,
            arrived: 0,
        });
        let source = None;
        match kind {
            Kind::Udp => io.egress(EgressOp::UdpOpen { id, target, source }, Vec::new()),
            Kind::Tcp => {
                io.egress(EgressOp::TcpConnect { id, target, source }, Vec::new());
                io.egress(EgressOp::TcpCredit { id, bytes: TCP_CREDIT }, Vec::new());
            }
        }
        Tunnel(id.index)
    }

    pub(crate) fn send(&mut self, tunnel: Tunnel, payload: &[u8], io: &mut Backend) -> Sent {
        let socket = &mut self.sockets[tunnel.index()];
        if let Some(train) = &mut socket.train {
            if self.batch && train.takes(payload.len()) {
                train.buffer.extend_from_slice(payload);
                train.datagrams += 1;
                return Sent::Yes;
            }
            socket.flush(io);
        } else {
            self.dirty.push(tunnel.0);
        }
        let Some(mut buffer) = io.take_buffer() else { return Sent::Full };
        buffer.extend_from_slice(payload);
        socket.train = Some(Train { buffer, segment_size: payload.len(), datagrams: 1 });
        Sent::Yes
    }

    pub(crate) fn write(&mut self, tunnel: Tunnel, data: &[u8], io: &mut Backend) -> usize {
        let socket = &mut self.sockets[tunnel.index()];
        let mut taken = 0;
        while taken < data.len() {
            let room = TCP_QUEUED_MAX.saturating_sub(socket.queued).min(MAX_TRAIN_BYTES);
            let part = &data[taken..data.len().min(taken + room)];
            let buffer = if part.is_empty() { None } else { io.take_buffer() };
            let Some(mut buffer) = buffer else {
                socket.blocked = true;
                break;
            };
            buffer.extend_from_slice(part);
            socket.queued += part.len();
            taken += part.len();
            io.egress(EgressOp::TcpSend { id: socket.id }, buffer);
        }
        taken
    }

    pub(crate) fn close(&mut self, tunnel: Tunnel, io: &mut Backend) {
        let socket = &mut self.sockets[tunnel.index()];
        if !std::mem::replace(&mut socket.closed, true) {
            io.egress(EgressOp::Close { id: socket.id, reset: false }, Vec::new());
        }
    }

    pub(crate) fn flush(&mut self, io: &mut Backend) {
        for index in self.dirty.drain(..) {
            if let Some(socket) = self.sockets.get_mut(index as usize) {
                socket.flush(io);
            }
        }
        for index in self.credit.drain(..) {
            let Some(socket) = self.sockets.get_mut(index as usize) else { continue };
            let bytes = std::mem::take(&mut socket.arrived);
            if !socket.closed && bytes > 0 {
                io.egress(EgressOp::TcpCredit { id: socket.id, bytes }, Vec::new());
            }
        }
    }

    pub(crate) fn handle<S: Sink + ?Sized>(
        &mut self,
        now: Instant,
        event: EgressEvent<'_>,
        sink: &mut S,
    ) {
        let id = match &event {
            EgressEvent::Opened { id, .. }
            | EgressEvent::UdpReceived { id, .. }
            | EgressEvent::UdpSent { id, .. }
            | EgressEvent::UdpDropped { id, .. }
            | EgressEvent::TcpReceived { id, .. }
            | EgressEvent::TcpEof { id }
            | EgressEvent::TcpSent { id, .. }
            | EgressEvent::Failed { id, .. }
            | EgressEvent::Closed { id } => *id,
        };
        let tunnel = Tunnel(id.index);
        let Some(socket) = self.sockets.get_mut(tunnel.index()).filter(|s| s.id == id) else {
            return;
        };
        if let EgressEvent::Closed { .. } = event {
            self.sockets.remove(tunnel.index());
            return;
        }
        if socket.closed {
            return;
        }
        match event {
            EgressEvent::Opened { .. } => sink.happened(now, Happened::Opened(tunnel)),
            EgressEvent::UdpReceived { train, segment_size, .. } => {
                for payload in train.chunks(segment_size.max(1)) {
                    sink.happened(now, Happened::Datagram(tunnel, payload));
                }
            }
            EgressEvent::UdpDropped { datagrams, .. } => self.refused += u64::from(datagrams),
            EgressEvent::TcpReceived { data, .. } => {
                if socket.arrived == 0 {
                    self.credit.push(tunnel.0);
                }
                socket.arrived += data.len();
                sink.happened(now, Happened::Data(tunnel, data));
            }
            EgressEvent::TcpSent { bytes, .. } => {
                socket.queued -= bytes;
                if std::mem::take(&mut socket.blocked) {
                    sink.happened(now, Happened::Writable(tunnel));
                }
            }
            EgressEvent::TcpEof { .. } => sink.happened(now, Happened::Ended(tunnel)),
            EgressEvent::Failed { error, .. } => {
                sink.happened(now, Happened::Failed(tunnel, format!("{error:?}")));
            }
            EgressEvent::UdpSent { .. } | EgressEvent::Closed { .. } => {}
        }
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        let refused = (self.refused > 0)
            .then(|| format!("{} datagrams refused by the generator's kernel", self.refused));
        refused.into_iter().collect()
    }
}

impl Socket {
    fn flush(&mut self, io: &mut Backend) {
        if let Some(Train { buffer, segment_size, datagrams }) = self.train.take() {
            io.egress(EgressOp::UdpSend { id: self.id, segment_size, datagrams }, buffer);
        }
    }
}
