//! How a target is reached. All ways look the same to the work: tunnels, on lanes.

mod direct;
mod masque;

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use weir_core::port::EgressEvent;
use weir_io::Backend;

use crate::spec;

pub(crate) use direct::Direct;
pub(crate) use masque::Masque;

/// Names a tunnel, or the socket that stands for one without a relay. Used again after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tunnel(pub(crate) u32);

impl Tunnel {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a tunnel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Udp,
    Tcp,
}

/// What a way tells the work.
#[derive(Debug)]
pub(crate) enum Happened<'a> {
    Opened(Tunnel),
    /// The payload of a UDP datagram.
    Datagram(Tunnel, &'a [u8]),
    /// Bytes of a TCP connection.
    Data(Tunnel, &'a [u8]),
    /// There is room again after a short [`Way::write`].
    Writable(Tunnel),
    /// The target sent FIN.
    Ended(Tunnel),
    /// The tunnel wasn't opened, or broke. Nothing follows.
    Failed(Tunnel, String),
}

/// Takes what happened. The work implements it; it acts later, when it is driven.
pub(crate) trait Sink {
    fn happened(&mut self, now: Instant, what: Happened<'_>);
}

/// What became of a UDP payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Yes,
    /// No room now; try again in the next turn.
    Full,
    /// It doesn't fit a QUIC packet.
    TooLarge,
}

#[derive(Debug)]
pub(crate) enum Way {
    Direct(Direct),
    Masque(Box<Masque>),
}

impl Way {
    pub(crate) fn new(way: &spec::Way, batch: bool, seed: u64) -> anyhow::Result<Way> {
        match way {
            spec::Way::Direct => Ok(Way::Direct(Direct::new(batch))),
            spec::Way::Masque { .. } => Ok(Way::Masque(Box::new(Masque::new(way, batch, seed)?))),
            spec::Way::Socks5 { .. } => anyhow::bail!("SOCKS5 isn't supported yet"),
        }
    }

    /// QUIC connections; 1 where there are none.
    pub(crate) fn lanes(&self) -> usize {
        match self {
            Way::Direct(_) => 1,
            Way::Masque(way) => way.lanes(),
        }
    }

    /// Opens what has to be there before the first tunnel.
    pub(crate) fn start(&mut self, io: &mut Backend) {
        if let Way::Masque(way) = self {
            way.start(io);
        }
    }

    /// Asks for a tunnel to `target`; answered by [`Happened::Opened`] or [`Happened::Failed`].
    pub(crate) fn open(
        &mut self,
        kind: Kind,
        target: SocketAddr,
        lane: usize,
        io: &mut Backend,
    ) -> Tunnel {
        match self {
            Way::Direct(way) => way.open(kind, target, io),
            Way::Masque(way) => way.open(kind, target, lane),
        }
    }

    /// Sends one UDP payload.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        tunnel: Tunnel,
        payload: &[u8],
        io: &mut Backend,
    ) -> Sent {
        match self {
            Way::Direct(way) => way.send(tunnel, payload, io),
            Way::Masque(way) => way.send(now, tunnel, payload, io),
        }
    }

    /// Writes bytes to a TCP tunnel and returns how many were taken; after fewer than all,
    /// [`Happened::Writable`] comes.
    pub(crate) fn write(&mut self, tunnel: Tunnel, data: &Bytes, io: &mut Backend) -> usize {
        match self {
            Way::Direct(way) => way.write(tunnel, data, io),
            Way::Masque(way) => way.write(tunnel, data),
        }
    }

    /// Ends a tunnel at once. Nothing of it happens afterwards.
    pub(crate) fn close(&mut self, tunnel: Tunnel, io: &mut Backend) {
        match self {
            Way::Direct(way) => way.close(tunnel, io),
            Way::Masque(way) => way.close(tunnel),
        }
    }

    /// Moves what was sent into the backend.
    pub(crate) fn flush(&mut self, now: Instant, io: &mut Backend) {
        match self {
            Way::Direct(way) => way.flush(io),
            Way::Masque(way) => way.flush(now, io),
        }
    }

    pub(crate) fn handle<S: Sink + ?Sized>(
        &mut self,
        now: Instant,
        event: EgressEvent<'_>,
        sink: &mut S,
    ) {
        match self {
            Way::Direct(way) => way.handle(now, event, sink),
            Way::Masque(way) => way.handle(now, event, sink),
        }
    }

    /// When [`Way::handle_timeout`] is due.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        match self {
            Way::Direct(_) => None,
            Way::Masque(way) => way.timeout(),
        }
    }

    pub(crate) fn handle_timeout<S: Sink + ?Sized>(&mut self, now: Instant, sink: &mut S) {
        if let Way::Masque(way) = self {
            way.handle_timeout(now, sink);
        }
    }

    /// Says goodbye to the relay; a flush and a turn carry it out.
    pub(crate) fn finish(&mut self, now: Instant) {
        if let Way::Masque(way) = self {
            way.finish(now);
        }
    }

    /// What else the report should say.
    pub(crate) fn notes(&self) -> Vec<String> {
        match self {
            Way::Direct(way) => way.notes(),
            Way::Masque(way) => way.notes(),
        }
    }
}
