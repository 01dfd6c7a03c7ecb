//! What is sent and what is made of the answers.

mod echo;
pub(crate) mod exchange;
mod flights;
mod pace;
mod payload;
mod tally;

use std::time::Instant;

use weir_io::Backend;

use crate::spec::{self, Report};
use crate::way::{Sink, Way};

/// One kind of work. It is told what happened, and acts when it is driven.
pub(crate) trait Work: Sink {
    /// Asks for the tunnels that have to be there before the clock runs.
    fn open(&mut self, way: &mut Way, io: &mut Backend);
    /// True when the load may start.
    fn is_ready(&self) -> bool;
    /// Why the run can't go on.
    fn failure(&self) -> Option<&str>;
    /// The load starts.
    fn start(&mut self, now: Instant);
    /// Warm-up is over: what was counted so far is forgotten.
    fn begin(&mut self, now: Instant);
    /// Sends what is due. Returns when it wants to be driven again, if nothing happens before.
    fn drive(&mut self, now: Instant, way: &mut Way, io: &mut Backend) -> Option<Instant>;
    /// What was seen since [`Work::begin`].
    fn report(&self, now: Instant) -> Report;
}

/// The work that a spec asks for.
pub(crate) fn new(spec: &spec::Spec, way: &Way) -> anyhow::Result<Box<dyn Work>> {
    match &spec.work {
        spec::Work::Udp(udp) => {
            let lanes = (0..way.lanes()).collect();
            Ok(Box::new(echo::Echo::new(udp, lanes, spec.seed)?))
        }
        other => anyhow::bail!("not supported yet: {other:?}"),
    }
}

/// Whether trains are sent.
pub(crate) fn is_batched(work: &spec::Work) -> bool {
    match work {
        spec::Work::Udp(udp) => udp.batch,
        _ => true,
    }
}
