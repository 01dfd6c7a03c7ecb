//! Tunnels, or connections, that come and go: each slot opens one, does what it is for, closes it
//! and begins again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use weir_io::Backend;

use super::Work;
use super::exchange::{Ask, HEADER_BYTES};
use super::tally::Latencies;
use crate::serve::FILLING;
use crate::spec::Report;
use crate::way::{Happened, Kind, Sink, Tunnel, Way};

/// A slot that isn't done by then has failed.
const DONE_MAX: Duration = Duration::from_secs(3);
/// How often that is looked for.
const SWEEP: Duration = Duration::from_millis(100);
/// Failures with no success between them after which there is no point in going on.
const FAILURES_MAX: u32 = 64;

/// What a tunnel is opened for.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    /// Nothing but being open: one unit is an opened tunnel, or a handshake.
    Open,
    /// A request and its response over TCP.
    Exchange { request: Bytes, response: usize },
}

impl Purpose {
    pub(crate) fn exchange(request: u32, response: u32) -> anyhow::Result<Purpose> {
        ensure!(request as usize >= HEADER_BYTES, "a request has {HEADER_BYTES} bytes or more");
        ensure!(response > 0, "a response has a byte or more");
        let mut bytes = vec![FILLING; request as usize];
        bytes[..HEADER_BYTES].copy_from_slice(&Ask::Exchange { request, response }.write());
        Ok(Purpose::Exchange { request: bytes.into(), response: response as usize })
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Churn {
    kind: Kind,
    target: SocketAddr,
    purpose: Purpose,
    slots: Vec<Slot>,
    /// The slot of a tunnel.
    by_tunnel: Vec<Option<usize>>,
    /// Slots that begin with the next drive.
    vacant: Vec<usize>,
    /// Slots that write with the next drive.
    writable: Vec<usize>,
    /// Tunnels to close.
    spent: Vec<Tunnel>,
    in_a_row: u32,
    failure: Option<String>,
    first_failure: Option<String>,
    begun: Instant,
    swept: Instant,
    done: u64,
    failed: u64,
    corrupt: u64,
    latency: Latencies,
}

#[derive(Clone, Debug)]
struct Slot {
    tunnel: Option<Tunnel>,
    since: Instant,
    /// What is left of the request, and what has come of the response.
    unsent: Bytes,
    received: usize,
}

impl Churn {
    pub(crate) fn new(
        kind: Kind,
        target: SocketAddr,
        purpose: Purpose,
        concurrency: u32,
    ) -> anyhow::Result<Churn> {
        ensure!(concurrency > 0, "a concurrency of 0");
        let now = Instant::now();
        let slot = Slot { tunnel: None, since: now, unsent: Bytes::new(), received: 0 };
        Ok(Churn {
            kind,
            target,
            purpose,
            slots: vec![slot; concurrency as usize],
            by_tunnel: Vec::new(),
            vacant: Vec::new(),
            writable: Vec::new(),
            spent: Vec::new(),
            in_a_row: 0,
            failure: None,
            first_failure: None,
            begun: now,
            swept: now,
            done: 0,
            failed: 0,
            corrupt: 0,
            latency: Latencies::new(),
        })
    }

    fn opened(&mut self, now: Instant, slot: usize) {
        match &self.purpose {
            Purpose::Open => self.finish(now, slot),
            Purpose::Exchange { request, .. } => {
                self.slots[slot].unsent = request.clone();
                self.writable.push(slot);
            }
        }
    }

    fn received(&mut self, now: Instant, slot: usize, data: &[u8]) {
        let Purpose::Exchange { response, .. } = self.purpose else { return };
        let entry = &mut self.slots[slot];
        entry.received += data.len();
        self.corrupt += u64::from(data.iter().any(|&byte| byte != FILLING));
        if entry.received >= response {
            self.corrupt += u64::from(entry.received > response);
            self.finish(now, slot);
        }
    }

    fn finish(&mut self, now: Instant, slot: usize) {
        self.done += 1;
        self.in_a_row = 0;
        self.latency.record(now.saturating_duration_since(self.slots[slot].since));
        self.vacate(slot);
    }

    fn fail(&mut self, slot: usize, why: String) {
        self.failed += 1;
        self.in_a_row += 1;
        if self.in_a_row >= FAILURES_MAX {
            self.failure = Some(format!("{FAILURES_MAX} failures in a row: {why}"));
        }
        self.first_failure.get_or_insert(why);
        self.vacate(slot);
    }

    fn vacate(&mut self, slot: usize) {
        if let Some(tunnel) = self.slots[slot].tunnel.take() {
            self.by_tunnel[tunnel.index()] = None;
            self.spent.push(tunnel);
        }
        self.vacant.push(slot);
    }

    fn begin_slot(&mut self, now: Instant, slot: usize, way: &mut Way, io: &mut Backend) {
        let tunnel = way.open(self.kind, self.target, slot % way.lanes(), io);
        if self.by_tunnel.len() <= tunnel.index() {
            self.by_tunnel.resize(tunnel.index() + 1, None);
        }
        self.by_tunnel[tunnel.index()] = Some(slot);
        self.slots[slot] =
            Slot { tunnel: Some(tunnel), since: now, unsent: Bytes::new(), received: 0 };
    }

    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        for slot in 0..self.slots.len() {
            let Slot { tunnel, since, .. } = self.slots[slot];
            if tunnel.is_some() && now.saturating_duration_since(since) >= DONE_MAX {
                self.fail(slot, format!("not done after {DONE_MAX:?}"));
            }
        }
    }
}

impl Sink for Churn {
    fn happened(&mut self, now: Instant, what: Happened<'_>) {
        let tunnel = what.tunnel();
        let Some(slot) = self.by_tunnel.get(tunnel.index()).copied().flatten() else { return };
        match what {
            Happened::Opened(_) => self.opened(now, slot),
            Happened::Data(_, data) => self.received(now, slot, data),
            Happened::Writable(_) => self.writable.push(slot),
            Happened::Failed(_, why) => self.fail(slot, why),
            Happened::Ended(_) => self.fail(slot, "ended before it was done".to_owned()),
            Happened::Datagram(..) => {}
        }
    }
}

impl Work for Churn {
    fn open(&mut self, _: &mut Way, _: &mut Backend) {}

    fn is_ready(&self) -> bool {
        true
    }

    fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    fn start(&mut self, _: Instant, _: &mut Way, _: &mut Backend) {
        self.vacant.extend(0..self.slots.len());
    }

    fn begin(&mut self, now: Instant) {
        self.begun = now;
        (self.done, self.failed, self.corrupt) = (0, 0, 0);
        self.latency.clear();
    }

    fn drive(&mut self, now: Instant, way: &mut Way, io: &mut Backend) -> Option<Instant> {
        self.sweep(now);
        for tunnel in self.spent.drain(..) {
            way.close(now, tunnel, io);
        }
        let mut vacant = std::mem::take(&mut self.vacant);
        for slot in vacant.drain(..) {
            self.begin_slot(now, slot, way, io);
        }
        self.vacant = vacant;
        for slot in self.writable.drain(..) {
            let Slot { tunnel, unsent, .. } = &mut self.slots[slot];
            if let Some(tunnel) = *tunnel {
                let written = way.write(tunnel, unsent, io);
                *unsent = unsent.slice(written..);
            }
        }
        Some(self.swept + SWEEP)
    }

    fn report(&self, now: Instant) -> Report {
        let failed = self.first_failure.as_ref().filter(|_| self.failed > 0);
        Report {
            units: self.done,
            seconds: now.saturating_duration_since(self.begun).as_secs_f64(),
            lost: self.failed,
            corrupt: self.corrupt,
            latency: self.latency.summary(),
            notes: failed.map(|why| format!("first failure: {why}")).into_iter().collect(),
            ..Report::default()
        }
    }
}
