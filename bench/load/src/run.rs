//! `weir-load run`: one run of the generator.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use weir_core::port::{EgressEvent, EgressId, FlowHook, FlowTuple, Handler, Io, PacketMeta};
use weir_io::{Backend, BackendChoice, IoConfig, Waker, WorkerSockets};

use crate::console::Console;
use crate::cpu::Reading;
use crate::spec::{Event, Report, Spec};
use crate::way::Way;
use crate::work::{self, Work};

/// Connections and tunnels that aren't open by then never will be.
const OPEN_MAX: Duration = Duration::from_secs(30);
/// How long a run waits for "go".
const GO_MAX: Duration = Duration::from_secs(60);
/// How long an idle run waits for "stop"; the relay would close unused tunnels after two minutes.
const HOLD_MAX: Duration = Duration::from_secs(110);
/// What a run may take beyond its warm-up and its measured part.
const GRACE: Duration = Duration::from_secs(10);
/// The longest time without a look at the clock.
const LOOK: Duration = Duration::from_millis(100);
/// How long goodbyes to the relay may take.
const GOODBYE: Duration = Duration::from_millis(20);
/// Open files to ask for: a socket per connection or tunnel.
const OPEN_FILES: u64 = 1 << 16;

/// Runs what the first line of standard input says, and prints what happens.
pub fn run() -> anyhow::Result<()> {
    let waker = Waker::new()?;
    let console = Console::open(waker.clone());
    let result = generate(&console, &waker);
    if let Err(error) = &result {
        Console::say(&Event::Failed { error: format!("{error:#}") })?;
    }
    result
}

fn generate(console: &Console, waker: &Waker) -> anyhow::Result<()> {
    let line = console.wait()?;
    let spec: Spec = serde_json::from_str(&line).context("the first line is no spec")?;
    precise_timers();
    weir_io::limits::raise_open_files(OPEN_FILES)?;
    let way = Way::new(&spec)?;
    let work = work::new(&spec, &way)?;
    let kind = weir_io::select(BackendChoice::Auto)?.kind;
    let config = IoConfig {
        // A tunnel's train, or a single packet, occupies a buffer until the turn is submitted.
        send_buffers: 4096,
        client_buffers: 2,
        target_buffers: 512,
        target_socket_bytes: 4 << 20,
        ..IoConfig::default()
    };
    let io = Backend::open(kind, &config, WorkerSockets::default(), waker, Box::new(NoFlows))?;
    let mut generator = Generator { io, way, work, now: Instant::now() };
    let report = generator.run(console, &spec)?;
    Console::say(&Event::End { report: Box::new(report) })?;
    generator.say_goodbye()
}

/// Timers of a thread may be late by 50 us so that they can share wake-ups (prctl(2),
/// PR_SET_TIMERSLACK), which an open loop would show as latency.
fn precise_timers() {
    // Kernels before 4.6 don't have it; then lateness is reported as it is.
    let _ = std::fs::write("/proc/thread-self/timerslack_ns", "1");
}

/// Nobody counts the generator's flows.
struct NoFlows;

impl FlowHook for NoFlows {
    fn opened(&mut self, _: EgressId, _: &FlowTuple) {}
    fn closed(&mut self, _: EgressId, _: &FlowTuple) {}
}

struct Generator {
    io: Backend,
    way: Way,
    work: Box<dyn Work>,
    now: Instant,
}

impl Generator {
    fn run(&mut self, console: &Console, spec: &Spec) -> anyhow::Result<Report> {
        self.way.start(&mut self.io);
        self.work.open(&mut self.way, &mut self.io);
        self.wait_until_open(console)?;
        Console::say(&Event::Ready)?;
        self.wait_for(console, "go", GO_MAX, false)?;
        let warmup = Duration::from_millis(spec.warmup_ms.into());
        let measure = Duration::from_millis(spec.measure_ms.into());
        let deadline = self.now + warmup + measure + GRACE;
        self.work.start(self.now, &mut self.way, &mut self.io);
        self.load(console, self.now + warmup, deadline)?;
        self.work.begin(self.now);
        self.way.begin();
        let reading = Reading::now();
        Console::say(&Event::Begin)?;
        if self.work.is_held() {
            self.wait_for(console, "stop", HOLD_MAX, true)?;
        } else {
            self.load(console, self.now + measure, deadline)?;
        }
        let mut report = self.work.report(self.now);
        reading.charge(&mut report);
        report.notes.extend(self.way.notes());
        report.notes.push(self.describe_io());
        Ok(report)
    }

    /// Works until `end`.
    fn load(&mut self, console: &Console, end: Instant, deadline: Instant) -> anyhow::Result<()> {
        while self.now < end {
            self.turn(console, end, true)?;
            if Instant::now() >= deadline {
                bail!("the run did not end in time: one turn took too long");
            }
        }
        Ok(())
    }

    fn wait_until_open(&mut self, console: &Console) -> anyhow::Result<()> {
        let end = self.now + OPEN_MAX;
        let held = self.work.is_held();
        while !(self.way.is_up() && self.work.is_ready()) {
            self.turn(console, end, held)?;
            if self.now >= end {
                // What there is by now is held, and the report says how much it is.
                ensure!(held, "connections and tunnels did not open within {OPEN_MAX:?}");
                break;
            }
        }
        Ok(())
    }

    /// Turns until a line comes.
    fn wait_for(
        &mut self,
        console: &Console,
        word: &str,
        within: Duration,
        loaded: bool,
    ) -> anyhow::Result<()> {
        let end = self.now + within;
        while self.turn(console, end, loaded)?.is_none_or(|line| line.trim() != word) {
            ensure!(self.now < end, "no {word:?} came within {within:?}");
        }
        Ok(())
    }

    /// One turn: waits at most until `end`, takes what arrived, sends what is due. Returns a line
    /// of standard input.
    fn turn(
        &mut self,
        console: &Console,
        end: Instant,
        loaded: bool,
    ) -> anyhow::Result<Option<String>> {
        let wake =
            if loaded { self.work.drive(self.now, &mut self.way, &mut self.io) } else { None };
        self.way.flush(self.now, &mut self.io);
        let times = [wake, self.way.timeout(), Some(self.now + LOOK)];
        let deadline = times.into_iter().flatten().fold(end, Instant::min);
        let mut both = Both { way: &mut self.way, work: &mut *self.work };
        self.now = self.io.turn(Some(deadline), &mut both).context("the generator's ring")?;
        self.way.handle_timeout(self.now, &mut *self.work);
        let lost = self.way.failure().filter(|_| !self.work.is_held());
        if let Some(why) = self.work.failure().or(lost) {
            bail!("{why}");
        }
        console.poll()
    }

    fn say_goodbye(&mut self) -> anyhow::Result<()> {
        self.way.finish(self.now);
        self.way.flush(self.now, &mut self.io);
        let mut both = Both { way: &mut self.way, work: &mut *self.work };
        self.io.turn(Some(self.now + GOODBYE), &mut both)?;
        Ok(())
    }

    fn describe_io(&self) -> String {
        let stats = self.io.stats();
        format!(
            "{}: {} turns, {} trains out, {} in, {} full, {} without a buffer",
            self.io.kind(),
            stats.turns,
            stats.target_tx_trains,
            stats.target_rx_trains,
            stats.target_tx_full,
            stats.tx_no_buffer + stats.rx_no_buffer,
        )
    }
}

/// Hands what arrives to the way, which tells the work.
struct Both<'a> {
    way: &'a mut Way,
    work: &'a mut dyn Work,
}

impl Handler for Both<'_> {
    /// There are no client-facing sockets here.
    fn handle_packets(&mut self, _: Instant, _: &PacketMeta, _: &[u8]) {}

    fn handle_egress(&mut self, now: Instant, event: EgressEvent<'_>) {
        self.way.handle(now, event, self.work);
    }
}
