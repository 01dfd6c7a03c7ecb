//! UDP echo, in a closed or an open loop.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use weir_io::Backend;

use super::Work;
use super::flights::{Flight, Flights, Landing};
use super::pace::Pacer;
use super::payload::{HEADER_BYTES, Header, Pattern, Sizes};
use super::tally::Latencies;
use crate::spec::{Pace, Report, Udp};
use crate::way::{Happened, Kind, Sent, Sink, Tunnel, Way};

/// In a closed loop a datagram is lost after this; its place in the window is free again.
const LOST_AFTER_CLOSED: Duration = Duration::from_millis(200);
/// An open loop waits longer, so that a queue shows as latency and not as loss.
const LOST_AFTER_OPEN: Duration = Duration::from_secs(1);
/// Datagrams that an open loop sends in one turn before it looks at what arrived.
const BURST_MAX: usize = 1024;
/// The same of a flood, and for how long one of its datagrams is still sent: it doesn't catch up,
/// so that a generator that can't send so much still sends what goes beside it in time.
const FLOOD_BURST: usize = 128;
const FLOOD_LATE: Duration = Duration::from_millis(2);
/// How often lost datagrams are looked for.
const SWEEP: Duration = Duration::from_millis(10);

/// See [`Udp`].
#[derive(Debug)]
pub(crate) struct Echo {
    udp: Udp,
    lanes: Vec<Lane>,
    /// Lane and place in it, by the number of the tunnel.
    places: Vec<Option<(u32, u32)>>,
    epoch: Instant,
    pattern: Pattern,
    sizes: Sizes,
    scratch: Vec<u8>,
    pacer: Option<Pacer>,
    /// The lane whose turn it is.
    next_lane: usize,
    waiting_to_open: usize,
    failure: Option<String>,
    begun: Instant,
    swept: Instant,
    tally: Tally,
}

/// The tunnels on one connection.
#[derive(Debug)]
struct Lane {
    /// Number of the way's lane.
    number: usize,
    tunnels: Vec<Tunnel>,
    next: usize,
    flights: Flights,
}

#[derive(Debug)]
struct Tally {
    answered: u64,
    lost: u64,
    corrupt: u64,
    again: u64,
    unknown: u64,
    too_large: u64,
    /// Of a flood.
    unsent: u64,
    latency: Latencies,
    /// How late datagrams of an open loop were sent: the generator's own part of the latency.
    lateness: Latencies,
}

impl Echo {
    /// Echo over these lanes of the way.
    pub(crate) fn new(udp: &Udp, lanes: Vec<usize>, seed: u64) -> anyhow::Result<Echo> {
        let sizes = Sizes::new(udp.payload);
        ensure!(udp.tunnels > 0 && udp.targets > 0, "no tunnels or no targets");
        ensure!(sizes.max() >= HEADER_BYTES, "payloads have at least {HEADER_BYTES} bytes");
        let last = udp.target.port().checked_add(udp.targets - 1);
        ensure!(last.is_some(), "the ports of the targets end beyond 65535");
        let lost_after = match udp.pace {
            Pace::Window(window) => {
                ensure!(window > 0, "a window of 0 sends nothing");
                LOST_AFTER_CLOSED
            }
            Pace::PerSecond(rate) | Pace::Flood(rate) => {
                ensure!(rate > 0.0 && rate.is_finite(), "a rate of {rate} per second");
                LOST_AFTER_OPEN
            }
        };
        let lane = |number| {
            let flights = Flights::new(lost_after);
            Lane { number, tunnels: Vec::new(), next: 0, flights }
        };
        // More connections than tunnels: the rest stays idle.
        let lanes: Vec<_> = lanes.into_iter().take(udp.tunnels as usize).map(lane).collect();
        let now = Instant::now();
        Ok(Echo {
            pattern: Pattern::new(seed, sizes.max()),
            udp: udp.clone(),
            lanes,
            places: Vec::new(),
            epoch: now,
            sizes,
            scratch: Vec::new(),
            pacer: None,
            next_lane: 0,
            waiting_to_open: udp.tunnels as usize,
            failure: None,
            begun: now,
            swept: now,
            tally: Tally::new(),
        })
    }

    /// True if the tunnel belongs to this work.
    pub(crate) fn owns(&self, tunnel: Tunnel) -> bool {
        self.places.get(tunnel.index()).is_some_and(Option::is_some)
    }

    fn target(&self, number: u32) -> SocketAddr {
        let offset = (number % u32::from(self.udp.targets)) as u16;
        SocketAddr::new(self.udp.target.ip(), self.udp.target.port() + offset)
    }

    fn landed(&mut self, now: Instant, tunnel: Tunnel, payload: &[u8]) {
        let Some(Some((lane, place))) = self.places.get(tunnel.index()).copied() else { return };
        let Some(header) = self.pattern.read(payload) else {
            self.tally.corrupt += 1;
            return;
        };
        match self.lanes[lane as usize].flights.land(header.sequence) {
            Landing::First(flight) if self.is_answer(&flight, header, place, payload.len()) => {
                self.tally.answered += 1;
                self.tally.latency.record(now.saturating_duration_since(flight.due));
            }
            Landing::First(_) => self.tally.corrupt += 1,
            Landing::Again => self.tally.again += 1,
            Landing::Unknown => self.tally.unknown += 1,
        }
    }

    fn is_answer(&self, flight: &Flight, header: Header, place: u32, len: usize) -> bool {
        (flight.tunnel, header.tunnel, usize::from(flight.bytes)) == (place, place, len)
            && header.due_ns == self.since_epoch(flight.due)
    }

    fn since_epoch(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    /// Sends the lane's next datagram, from its next tunnel.
    fn send(
        &mut self,
        lane: usize,
        due: Instant,
        now: Instant,
        way: &mut Way,
        io: &mut Backend,
    ) -> bool {
        let due_ns = self.since_epoch(due);
        let entry = &mut self.lanes[lane];
        let place = entry.next as u32;
        let header = Header { tunnel: place, sequence: entry.flights.next(), due_ns };
        let before = self.sizes;
        let bytes = self.sizes.next();
        self.pattern.write(header, bytes.into(), &mut self.scratch);
        match way.send(now, entry.tunnels[entry.next], &self.scratch, io) {
            Sent::Yes => entry.flights.depart(place, bytes, due, now),
            Sent::Full => {
                self.sizes = before;
                return false;
            }
            Sent::TooLarge => self.tally.too_large += 1,
        }
        entry.next = if entry.next + 1 < entry.tunnels.len() { entry.next + 1 } else { 0 };
        true
    }

    fn fill_windows(&mut self, window: usize, now: Instant, way: &mut Way, io: &mut Backend) {
        for lane in 0..self.lanes.len() {
            let free = window.saturating_sub(self.lanes[lane].flights.under_way());
            for _ in 0..free {
                if !self.send(lane, now, now, way, io) {
                    break;
                }
            }
        }
    }

    /// Sends what is due; returns when the next is.
    fn catch_up(&mut self, now: Instant, way: &mut Way, io: &mut Backend) -> Option<Instant> {
        let mut pacer = self.pacer?;
        let burst = match self.udp.pace {
            Pace::Flood(_) => {
                self.tally.unsent += pacer.skip(now, FLOOD_LATE);
                FLOOD_BURST
            }
            Pace::Window(_) | Pace::PerSecond(_) => BURST_MAX,
        };
        for _ in 0..burst {
            let due = pacer.due();
            if due > now {
                break;
            }
            if now - due > LOST_AFTER_OPEN {
                // It could not be sent for so long that it counts as lost.
                self.tally.lost += 1;
            } else if self.send(self.next_lane, due, now, way, io) {
                self.tally.lateness.record(now - due);
                self.next_lane = (self.next_lane + 1) % self.lanes.len();
            } else {
                break;
            }
            pacer.advance();
        }
        self.pacer = Some(pacer);
        Some(pacer.due())
    }

    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) >= SWEEP {
            self.swept = now;
            for lane in &mut self.lanes {
                self.tally.lost += lane.flights.expire(now);
            }
        }
    }
}

impl Sink for Echo {
    fn happened(&mut self, now: Instant, what: Happened<'_>) {
        match what {
            Happened::Datagram(tunnel, payload) => self.landed(now, tunnel, payload),
            Happened::Opened(tunnel) if self.owns(tunnel) => self.waiting_to_open -= 1,
            Happened::Failed(tunnel, why) if self.owns(tunnel) => {
                self.failure.get_or_insert(why);
            }
            Happened::Ended(tunnel) if self.owns(tunnel) => {
                self.failure.get_or_insert_with(|| "the relay ended a tunnel".to_owned());
            }
            _ => {}
        }
    }
}

impl Work for Echo {
    fn open(&mut self, way: &mut Way, io: &mut Backend) {
        for number in 0..self.udp.tunnels {
            let lane = number as usize % self.lanes.len();
            let target = self.target(number);
            let entry = &mut self.lanes[lane];
            let tunnel = way.open(Kind::Udp, target, entry.number, io);
            if self.places.len() <= tunnel.index() {
                self.places.resize(tunnel.index() + 1, None);
            }
            self.places[tunnel.index()] = Some((lane as u32, entry.tunnels.len() as u32));
            entry.tunnels.push(tunnel);
        }
    }

    fn is_ready(&self) -> bool {
        self.waiting_to_open == 0
    }

    fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    fn start(&mut self, now: Instant, _: &mut Way, _: &mut Backend) {
        if let Pace::PerSecond(rate) | Pace::Flood(rate) = self.udp.pace {
            self.pacer = Some(Pacer::new(now, rate));
        }
    }

    fn begin(&mut self, now: Instant) {
        self.begun = now;
        self.tally.clear();
    }

    fn drive(&mut self, now: Instant, way: &mut Way, io: &mut Backend) -> Option<Instant> {
        self.sweep(now);
        let sweep = self.swept + SWEEP;
        match self.udp.pace {
            Pace::Window(window) => {
                self.fill_windows(window as usize, now, way, io);
                Some(sweep)
            }
            Pace::PerSecond(_) | Pace::Flood(_) => {
                let due = self.catch_up(now, way, io);
                Some(due.map_or(sweep, |due| due.min(sweep)))
            }
        }
    }

    fn report(&self, now: Instant) -> Report {
        let tally = &self.tally;
        let mut notes = Vec::new();
        let mut note = |count: u64, what: &str| {
            if count > 0 {
                notes.push(format!("{count} {what}"));
            }
        };
        note(tally.again, "answers came twice");
        note(tally.unknown, "answers came after their datagram was given up");
        note(tally.unsent, "datagrams of the flood were beyond what the generator can send");
        note(tally.too_large, "datagrams were too large for a QUIC packet");
        if let Some(lateness) = tally.lateness.summary() {
            notes.push(format!(
                "sent late by {:.0} us (p50), {:.0} us (p99)",
                lateness.p50, lateness.p99
            ));
        }
        Report {
            units: 2 * tally.answered,
            seconds: now.saturating_duration_since(self.begun).as_secs_f64(),
            lost: tally.lost + tally.too_large,
            corrupt: tally.corrupt,
            latency: tally.latency.summary(),
            notes,
            ..Report::default()
        }
    }
}

impl Tally {
    fn new() -> Tally {
        Tally {
            answered: 0,
            lost: 0,
            corrupt: 0,
            again: 0,
            unknown: 0,
            too_large: 0,
            unsent: 0,
            latency: Latencies::new(),
            lateness: Latencies::new(),
        }
    }

    fn clear(&mut self) {
        let Tally { latency, lateness, .. } = self;
        latency.clear();
        lateness.clear();
        (self.answered, self.lost, self.corrupt) = (0, 0, 0);
        (self.again, self.unknown) = (0, 0);
        (self.too_large, self.unsent) = (0, 0);
    }
}
