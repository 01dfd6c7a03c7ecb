//! What is sent and what is made of the answers.

mod bulk;
mod churn;
mod echo;
pub(crate) mod exchange;
mod fairness;
mod flights;
mod idle;
mod pace;
mod payload;
mod tally;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use weir_io::Backend;

use crate::spec::{self, Report};
use crate::way::{Kind, Sink, Way};

use bulk::Bulk;
use churn::{Churn, Purpose};
use echo::Echo;
use exchange::Ask;
use fairness::Fairness;
use idle::Idle;

/// One kind of work. It is told what happened, and acts when it is driven.
pub(crate) trait Work: Sink {
    /// Asks for the tunnels that have to be there before the clock runs.
    fn open(&mut self, way: &mut Way, io: &mut Backend);
    /// True when the load may start.
    fn is_ready(&self) -> bool;
    /// Why the run can't go on.
    fn failure(&self) -> Option<&str>;
    /// True if the measured part lasts until "stop", and a lost connection doesn't end it.
    fn is_held(&self) -> bool {
        false
    }
    /// The load starts.
    fn start(&mut self, now: Instant, way: &mut Way, io: &mut Backend);
    /// Warm-up is over: what was counted so far is forgotten.
    fn begin(&mut self, now: Instant);
    /// Sends what is due. Returns when it wants to be driven again, if nothing happens before.
    fn drive(&mut self, now: Instant, way: &mut Way, io: &mut Backend) -> Option<Instant>;
    /// What was seen since [`Work::begin`].
    fn report(&self, now: Instant) -> Report;
}

/// The work that a spec asks for.
pub(crate) fn new(spec: &spec::Spec, way: &Way) -> anyhow::Result<Box<dyn Work>> {
    let lanes = way.lanes();
    Ok(match &spec.work {
        spec::Work::Udp(udp) => Box::new(Echo::new(udp, (0..lanes).collect(), spec.seed)?),
        spec::Work::TcpDownload { target, streams } => {
            Box::new(Bulk::new(*target, *streams, Ask::Download)?)
        }
        spec::Work::TcpUpload { target, streams } => {
            Box::new(Bulk::new(*target, *streams, Ask::Upload)?)
        }
        spec::Work::TcpSmall { target, concurrency, request, response } => {
            let purpose = Purpose::exchange(*request, *response)?;
            Box::new(Churn::new(Kind::Tcp, *target, purpose, *concurrency)?)
        }
        spec::Work::Handshakes { concurrency, .. } => {
            // A handshake has no target.
            let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            Box::new(Churn::new(Kind::Udp, nowhere, Purpose::Open, *concurrency)?)
        }
        spec::Work::Opens { target, concurrency } => {
            Box::new(Churn::new(Kind::Udp, *target, Purpose::Open, *concurrency)?)
        }
        spec::Work::Idle { target, connections, tunnels_per_connection } => {
            let tunnels = *connections as usize * *tunnels_per_connection as usize;
            Box::new(Idle::new(*target, tunnels, spec.seed)?)
        }
        spec::Work::Fairness { flood, polite, one_connection } => {
            Box::new(Fairness::new(flood, polite, *one_connection, lanes, spec.seed)?)
        }
    })
}

/// Whether trains are sent.
pub(crate) fn is_batched(work: &spec::Work) -> bool {
    match work {
        spec::Work::Udp(udp) => udp.batch,
        spec::Work::Fairness { flood, .. } => flood.batch,
        _ => true,
    }
}

/// Connections, for works that say so themselves.
pub(crate) fn connections(work: &spec::Work) -> Option<u32> {
    match work {
        spec::Work::Idle { connections, .. } => Some(*connections),
        spec::Work::Handshakes { concurrency, .. } => Some(*concurrency),
        spec::Work::Fairness { polite, one_connection, .. } => {
            Some(fairness::connections(polite, *one_connection))
        }
        _ => None,
    }
}
