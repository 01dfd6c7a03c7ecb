//! A flood beside polite tunnels.

use std::time::Instant;

use weir_io::Backend;

use super::Work;
use super::echo::Echo;
use crate::spec::{Report, Udp};
use crate::way::{Happened, Sink, Way};

/// Two echoes on one way.
#[derive(Debug)]
pub(crate) struct Fairness {
    flood: Echo,
    polite: Echo,
}

impl Fairness {
    /// On one lane together, or the flood on lane 0 and the polite on all others.
    pub(crate) fn new(
        flood: &Udp,
        polite: &Udp,
        one_connection: bool,
        lanes: usize,
        seed: u64,
    ) -> anyhow::Result<Fairness> {
        let beside = if one_connection || lanes == 1 { vec![0] } else { (1..lanes).collect() };
        Ok(Fairness {
            flood: Echo::new(flood, vec![0], seed)?,
            polite: Echo::new(polite, beside, seed ^ 1)?,
        })
    }
}

/// Connections of a fairness run.
pub(crate) fn connections(polite: &Udp, one_connection: bool) -> u32 {
    if one_connection { 1 } else { 1 + polite.tunnels }
}

impl Sink for Fairness {
    fn happened(&mut self, now: Instant, what: Happened<'_>) {
        let owner =
            if self.polite.owns(what.tunnel()) { &mut self.polite } else { &mut self.flood };
        owner.happened(now, what);
    }
}

impl Work for Fairness {
    fn open(&mut self, way: &mut Way, io: &mut Backend) {
        self.flood.open(way, io);
        self.polite.open(way, io);
    }

    fn is_ready(&self) -> bool {
        self.flood.is_ready() && self.polite.is_ready()
    }

    fn failure(&self) -> Option<&str> {
        self.polite.failure().or(self.flood.failure())
    }

    fn start(&mut self, now: Instant, way: &mut Way, io: &mut Backend) {
        self.flood.start(now, way, io);
        self.polite.start(now, way, io);
    }

    fn begin(&mut self, now: Instant) {
        self.flood.begin(now);
        self.polite.begin(now);
    }

    fn drive(&mut self, now: Instant, way: &mut Way, io: &mut Backend) -> Option<Instant> {
        // The polite first: what is due doesn't wait for the generator to build the flood.
        let polite = self.polite.drive(now, way, io);
        let flood = self.flood.drive(now, way, io);
        polite.into_iter().chain(flood).min()
    }

    fn report(&self, now: Instant) -> Report {
        Report { polite: Some(Box::new(self.polite.report(now))), ..self.flood.report(now) }
    }
}
