//! One CONNECT or CONNECT-UDP request and what it carries.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn_proto::StreamId;

use crate::control::QueryId;
use crate::deficit::Deficit;
use crate::egress::Egress;
use crate::grants::Grant;
use crate::meter::Meter;
use crate::port::{EgressId, EgressOp, Transport};
use crate::timers::TimerId;

pub(crate) mod open;
pub(crate) mod tcp;
pub(crate) mod udp;

use open::Connecting;
use tcp::Tcp;
use udp::Udp;

#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) id: u128,
    /// `None` once it is out of service.
    pub(crate) connection: Option<usize>,
    pub(crate) stream: StreamId,
    pub(crate) session: u64,
    /// The target's port.
    pub(crate) port: u16,
    pub(crate) phase: Phase,
    /// All sockets that are not closed yet, attempts included.
    pub(crate) sockets: Vec<Socket>,
    pub(crate) meter: Meter,
    pub(crate) timer: TimerId,
    /// Whether it is on the list of those with something for their socket.
    pub(crate) ready: bool,
    /// Its place on the list of those that wait for credit.
    pub(crate) held_at: Option<usize>,
    /// Bytes that it may still hand over in its turn.
    pub(crate) deficit: Deficit,
    pub(crate) traffic: Traffic,
}

#[derive(Debug)]
pub(crate) enum Phase {
    /// Just made.
    New,
    Resolving {
        query: QueryId,
    },
    Connecting(Connecting),
    /// Waits for a slot in the ledger.
    Opened(Exit),
    Open(EgressId),
    /// Out of service, some socket is not closed yet.
    Closing,
}

/// A socket that is not closed yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Socket {
    pub(crate) id: EgressId,
    /// Whether closing was asked for.
    pub(crate) closing: bool,
}

/// The socket by which a tunnel leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exit {
    pub(crate) id: EgressId,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

#[derive(Debug)]
pub(crate) enum Traffic {
    Udp(Udp),
    Tcp(Tcp),
}

impl Traffic {
    pub(crate) fn transport(&self) -> Transport {
        match self {
            Traffic::Udp(_) => Transport::Udp,
            Traffic::Tcp(_) => Transport::Tcp,
        }
    }

    /// Payload that waits to be forwarded whatever the payer may do meanwhile. A stream's waits for
    /// the payer too.
    pub(crate) fn queued_bytes(&self) -> usize {
        match self {
            Traffic::Udp(udp) => udp.queued_bytes(),
            Traffic::Tcp(_) => 0,
        }
    }

    /// Lets go of all payload.
    pub(crate) fn clear(&mut self) {
        match self {
            Traffic::Udp(udp) => udp.clear(),
            Traffic::Tcp(tcp) => tcp.clear(),
        }
    }
}

impl Tunnel {
    pub(crate) fn new(
        id: u128,
        (connection, stream): (usize, StreamId),
        session: u64,
        grant: Arc<Grant>,
        port: u16,
        traffic: Traffic,
        timer: TimerId,
    ) -> Self {
        Tunnel {
            id,
            connection: Some(connection),
            stream,
            session,
            port,
            phase: Phase::New,
            sockets: Vec::new(),
            meter: Meter::new(grant),
            timer,
            ready: false,
            held_at: None,
            deficit: Deficit::default(),
            traffic,
        }
    }

    /// Asks for the end of one of the sockets, once.
    pub(crate) fn close_socket(&mut self, egress: &mut Egress, id: EgressId, reset: bool) {
        for socket in &mut self.sockets {
            if socket.id == id && !std::mem::replace(&mut socket.closing, true) {
                egress.push(EgressOp::Close { id, reset });
            }
        }
    }

    /// Asks for the end of all sockets.
    pub(crate) fn close_sockets(&mut self, egress: &mut Egress, reset: bool) {
        for socket in &mut self.sockets {
            if !std::mem::replace(&mut socket.closing, true) {
                egress.push(EgressOp::Close { id: socket.id, reset });
            }
        }
    }

    /// The socket, if the tunnel is open.
    pub(crate) fn exit(&self) -> Option<EgressId> {
        match self.phase {
            Phase::Open(id) => Some(id),
            _ => None,
        }
    }

    pub(crate) fn udp(&mut self) -> Option<&mut Udp> {
        match &mut self.traffic {
            Traffic::Udp(udp) => Some(udp),
            Traffic::Tcp(_) => None,
        }
    }
}
