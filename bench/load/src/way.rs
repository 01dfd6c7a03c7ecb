//! How a target is reached. All ways look the same to the work: tunnels, on lanes.

mod direct;
mod handshakes;
mod masque;
mod relay;
mod socks;

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::bail;
use bytes::Bytes;
use weir_core::port::EgressEvent;
use weir_io::Backend;

use crate::{spec, work};

use direct::Direct;
use handshakes::Handshakes;
use masque::Masque;
use relay::Relay;
use socks::Socks;

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

impl Happened<'_> {
    /// Where it happened.
    pub(crate) fn tunnel(&self) -> Tunnel {
        match self {
            Happened::Opened(tunnel)
            | Happened::Datagram(tunnel, _)
            | Happened::Data(tunnel, _)
            | Happened::Writable(tunnel)
            | Happened::Ended(tunnel)
            | Happened::Failed(tunnel, _) => *tunnel,
        }
    }
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
    Handshakes(Box<Handshakes>),
    Socks(Box<Socks>),
}

impl Way {
    /// The way that a spec asks for.
    pub(crate) fn new(spec: &spec::Spec) -> anyhow::Result<Way> {
        let batch = work::is_batched(&spec.work);
        Ok(match (&spec.way, &spec.work) {
            (spec::Way::Masque { .. }, spec::Work::Handshakes { resumed, .. }) => {
                let relay = Relay::new(&spec.way, work::connections(&spec.work))?;
                Way::Handshakes(Box::new(Handshakes::new(relay, *resumed, spec.seed)?))
            }
            (_, spec::Work::Handshakes { .. }) => bail!("handshakes need a MASQUE relay"),
            (spec::Way::Masque { .. }, work) => {
                let relay = Relay::new(&spec.way, work::connections(work))?;
                Way::Masque(Box::new(Masque::new(relay, batch, spec.seed)?))
            }
            (spec::Way::Direct, _) => Way::Direct(Direct::new(batch)),
            (spec::Way::Socks5 { proxy }, _) => Way::Socks(Box::new(Socks::new(*proxy, batch))),
        })
    }

    /// QUIC connections; 1 where there are none.
    pub(crate) fn lanes(&self) -> usize {
        match self {
            Way::Direct(_) | Way::Socks(_) => 1,
            Way::Masque(way) => way.lanes(),
            Way::Handshakes(way) => way.lanes(),
        }
    }

    /// Opens what has to be there before the first tunnel.
    pub(crate) fn start(&mut self, io: &mut Backend) {
        match self {
            Way::Direct(_) | Way::Socks(_) => {}
            Way::Masque(way) => way.start(io),
            Way::Handshakes(way) => way.start(io),
        }
    }

    /// True when that is there.
    pub(crate) fn is_up(&self) -> bool {
        match self {
            Way::Direct(_) | Way::Socks(_) => true,
            Way::Masque(way) => way.is_up(),
            Way::Handshakes(way) => way.is_up(),
        }
    }

    /// Why there is no way on.
    pub(crate) fn failure(&self) -> Option<&str> {
        match self {
            Way::Direct(_) | Way::Socks(_) => None,
            Way::Masque(way) => way.failure(),
            Way::Handshakes(way) => way.failure(),
        }
    }

    /// Warm-up is over.
    pub(crate) fn begin(&mut self) {
        if let Way::Handshakes(way) = self {
            way.begin();
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
            Way::Handshakes(way) => way.open(lane),
            Way::Socks(way) => way.open(kind, target, io),
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
            Way::Handshakes(_) => Sent::TooLarge,
            Way::Socks(way) => way.send(tunnel, payload, io),
        }
    }

    /// Writes bytes to a TCP tunnel and returns how many were taken; after fewer than all,
    /// [`Happened::Writable`] comes.
    pub(crate) fn write(&mut self, tunnel: Tunnel, data: &Bytes, io: &mut Backend) -> usize {
        match self {
            Way::Direct(way) => way.write(tunnel, data, io),
            Way::Masque(way) => way.write(tunnel, data),
            Way::Handshakes(_) => 0,
            Way::Socks(way) => way.write(tunnel, data, io),
        }
    }

    /// Ends a tunnel at once. Nothing of it happens afterwards.
    pub(crate) fn close(&mut self, now: Instant, tunnel: Tunnel, io: &mut Backend) {
        match self {
            Way::Direct(way) => way.close(tunnel, io),
            Way::Masque(way) => way.close(tunnel),
            Way::Handshakes(way) => way.close(now, tunnel),
            Way::Socks(way) => way.close(tunnel, io),
        }
    }

    /// Moves what was sent into the backend.
    pub(crate) fn flush(&mut self, now: Instant, io: &mut Backend) {
        match self {
            Way::Direct(way) => way.flush(io),
            Way::Masque(way) => way.flush(now, io),
            Way::Handshakes(way) => way.flush(now, io),
            Way::Socks(way) => way.flush(io),
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
            Way::Handshakes(way) => way.handle(now, event, sink),
            Way::Socks(way) => way.handle(now, event, sink),
        }
    }

    /// When [`Way::handle_timeout`] is due.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        match self {
            Way::Direct(_) | Way::Socks(_) => None,
            Way::Masque(way) => way.timeout(),
            Way::Handshakes(way) => way.timeout(),
        }
    }

    pub(crate) fn handle_timeout<S: Sink + ?Sized>(&mut self, now: Instant, sink: &mut S) {
        match self {
            Way::Direct(_) | Way::Socks(_) => {}
            Way::Masque(way) => way.handle_timeout(now, sink),
            Way::Handshakes(way) => way.handle_timeout(now, sink),
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
            Way::Handshakes(way) => way.notes(),
            Way::Socks(way) => way.notes(),
        }
    }
}
