//! Tunnels that are held and carry one datagram each.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::ensure;
use weir_io::Backend;

use super::Work;
use super::payload::{Header, Pattern};
use crate::spec::Report;
use crate::way::{Happened, Kind, Sent, Sink, Tunnel, Way};

/// Bytes of the one datagram.
const PAYLOAD_BYTES: usize = 64;

/// See [`crate::spec::Work::Idle`].
#[derive(Debug)]
pub(crate) struct Idle {
    target: SocketAddr,
    wanted: usize,
    opened: usize,
    /// Answers that came, and tunnels that never opened or broke.
    answered: usize,
    failed: usize,
    corrupt: u64,
    first_failure: Option<String>,
    /// Tunnels whose datagram is to be sent.
    unsent: Vec<Tunnel>,
    pattern: Pattern,
    begun: Instant,
}

impl Idle {
    pub(crate) fn new(target: SocketAddr, tunnels: usize, seed: u64) -> anyhow::Result<Idle> {
        ensure!(tunnels > 0, "no tunnels to hold");
        Ok(Idle {
            target,
            wanted: tunnels,
            opened: 0,
            answered: 0,
            failed: 0,
            corrupt: 0,
            first_failure: None,
            unsent: Vec::new(),
            pattern: Pattern::new(seed, PAYLOAD_BYTES),
            begun: Instant::now(),
        })
    }
}

impl Sink for Idle {
    fn happened(&mut self, _: Instant, what: Happened<'_>) {
        match what {
            Happened::Opened(tunnel) => {
                self.opened += 1;
                self.unsent.push(tunnel);
            }
            Happened::Datagram(tunnel, payload) => {
                let header = self.pattern.read(payload);
                if header.is_some_and(|header| header.tunnel == tunnel.0) {
                    self.answered += 1;
                } else {
                    self.corrupt += 1;
                }
            }
            Happened::Failed(_, why) => {
                self.failed += 1;
                self.first_failure.get_or_insert(why);
            }
            Happened::Ended(_) => {
                self.failed += 1;
                self.first_failure.get_or_insert_with(|| "the relay ended a tunnel".to_owned());
            }
            Happened::Data(..) | Happened::Writable(_) => {}
        }
    }
}

impl Work for Idle {
    fn open(&mut self, way: &mut Way, io: &mut Backend) {
        for number in 0..self.wanted {
            way.open(Kind::Udp, self.target, number % way.lanes(), io);
        }
    }

    /// Every tunnel is open or refused; datagrams that are lost on the way don't matter.
    fn is_ready(&self) -> bool {
        self.opened + self.failed >= self.wanted && self.unsent.is_empty()
    }

    /// Limits that are met are what this work is about; only nothing at all is a failure.
    fn failure(&self) -> Option<&str> {
        self.first_failure.as_deref().filter(|_| self.failed >= self.wanted)
    }

    fn is_held(&self) -> bool {
        true
    }

    fn start(&mut self, _: Instant, _: &mut Way, _: &mut Backend) {}

    fn begin(&mut self, now: Instant) {
        self.begun = now;
    }

    fn drive(&mut self, now: Instant, way: &mut Way, io: &mut Backend) -> Option<Instant> {
        let mut payload = Vec::with_capacity(PAYLOAD_BYTES);
        while let Some(&tunnel) = self.unsent.last() {
            let header = Header { tunnel: tunnel.0, sequence: 0, due_ns: 0 };
            self.pattern.write(header, PAYLOAD_BYTES, &mut payload);
            if way.send(now, tunnel, &payload, io) == Sent::Full {
                return Some(now);
            }
            self.unsent.pop();
        }
        None
    }

    fn report(&self, now: Instant) -> Report {
        let mut notes = vec![format!(
            "{} of {} tunnels open, {} answered",
            self.opened, self.wanted, self.answered
        )];
        notes.extend(self.first_failure.as_ref().map(|why| format!("first limit met: {why}")));
        Report {
            units: self.opened as u64,
            seconds: now.saturating_duration_since(self.begun).as_secs_f64(),
            lost: self.wanted.saturating_sub(self.answered) as u64,
            corrupt: self.corrupt,
            notes,
            ..Report::default()
        }
    }
}
