//! The io_uring backend: one ring per worker, one system call per turn.
//!
//! - Client-facing and UDP target-facing sockets receive by multishot `recvmsg` into buffers that
//!   the kernel picks from a group (`buffers`); GRO trains arrive whole.
//! - UDP sends never wait (MSG_DONTWAIT): a full socket drops, like any full queue. So each is
//!   done when its submission is, and its buffer is back within the turn. Small payloads share
//!   the turn's submission; for large ones a system call at once is cheaper.
//! - TCP receives only as much as the engine gave credit for, one `recv` at a time. A TCP send
//!   first tries the engine's buffer without waiting; what is left over moves to the connection's
//!   own backlog, so that no slow target holds a send buffer.
//!
//! **What the kernel may touch.** From submission to the last completion an operation may read or
//! write: a slot of `sends` with its payload, the buffers of a group, a connection's address and
//! the front of its backlog, `wake_count`, and the two receive headers. None of these is moved,
//! freed or reused before that completion: slots and buffer groups have fixed places, an egress
//! entry leaves the table only when its `in_flight` is 0, and dropping the backend first cancels
//! everything and waits.

mod buffers;
mod receive;
mod ring;
mod sends;
mod tcp;
mod token;
mod transmit;
pub(crate) mod trial;
mod watch;

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use io_uring::types::{CancelBuilder, Fd, Fixed};
use io_uring::{opcode, squeue};
use weir_core::port::{EgressError, EgressEvent, EgressId, EgressOp};
use weir_core::port::{FlowHook, Handler, Io, Transmit};

use crate::config::{IoConfig, IoStats, REPORT_WITHIN};
use crate::ebb::{Ebb, Tide};
use crate::egress::{Flow, Opener, Table};
use crate::errno::from_io;
use crate::error::Error;
use crate::message::Message;
use crate::pool::SendPool;
use crate::sockets::WorkerSockets;
use crate::spin::Spin;
use crate::waker::Waker;

use buffers::BufferGroup;
use receive::{Leg, ReceiveHeader};
use ring::{Completion, Ring};
use sends::Sends;
use tcp::Tcp;
use token::Token;

/// Buffer groups.
const CLIENT_GROUP: u16 = 0;
const TARGET_GROUP: u16 = 1;
/// The waker's place among the registered files; the client-facing sockets have 0 and 1.
const WAKER_FILE: u32 = 2;
/// Sends that may be in flight beyond the send buffers: payloads that came from elsewhere.
const SPARE_SENDS: usize = 64;
/// How long dropping the backend waits for cancelled operations. They end at once; if they don't,
/// their memory is leaked.
const QUIESCE: Duration = Duration::from_secs(2);

/// One worker's I/O on io_uring. Belongs to the thread that opened it.
#[derive(Debug)]
pub struct Uring {
    ring: Ring,
    legs: [Option<Leg>; 2],
    client_buffers: BufferGroup,
    target_buffers: BufferGroup,
    client_header: ReceiveHeader,
    target_header: ReceiveHeader,
    sends: Sends,
    /// Sends wait for the next submission.
    queued_sends: bool,
    /// For direct sends, which are over when they return.
    message: Message,
    egress: Table<Egress>,
    opener: Opener,
    pool: SendPool,
    waker: Waker,
    /// Where the kernel writes the waker's count.
    wake_count: Box<u64>,
    wake_armed: bool,
    /// Sockets to look at before the next wait: a receive ended, or a cancellation is due.
    pending: Vec<EgressId>,
    /// Events that came up outside of a completion.
    ready: Vec<EgressEvent<'static>>,
    /// The same for datagrams that were sent, which has time: see `report_soon`.
    reports: Vec<EgressEvent<'static>>,
    completed: Vec<Completion>,
    /// Completions to come at once that are no reason to end a wait (see `transmit`).
    quiet: usize,
    /// A buffer was asked for in vain since the last turn.
    starved: bool,
    /// Datagrams that were sent are to be reported within [`REPORT_WITHIN`].
    report_soon: bool,
    overflowing: bool,
    events_per_turn: usize,
    spin: Spin,
    ebb: Ebb,
    /// Descriptors whose readiness ends a wait, and whether their poll runs.
    watched: Vec<(RawFd, bool)>,
    stats: IoStats,
}

/// A target-facing socket.
#[derive(Debug)]
struct Egress {
    flow: Option<Flow>,
    /// Operations whose last completion has not come.
    in_flight: u32,
    /// The engine wants it closed; with RST if true.
    closing: Option<bool>,
    cancelling: bool,
    /// In `pending`.
    is_pending: bool,
    /// Opening failed, or TCP broke, and that was reported. Nothing is done until the close.
    failed: Option<EgressError>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Udp { receiving: bool, offload: bool },
    Tcp(Tcp),
}

impl Egress {
    fn new(flow: Option<Flow>, kind: Kind) -> Egress {
        Egress {
            flow,
            in_flight: 0,
            closing: None,
            cancelling: false,
            is_pending: false,
            failed: None,
            kind,
        }
    }

    /// True while new operations make sense.
    fn is_alive(&self) -> bool {
        self.closing.is_none() && self.failed.is_none()
    }
}

impl Uring {
    /// See [`crate::Backend::open`].
    pub fn open(
        config: &IoConfig,
        sockets: WorkerSockets,
        waker: &Waker,
        hook: Box<dyn FlowHook>,
    ) -> Result<Uring, Error> {
        let at = |what: &'static str| move |source| Error::Os { what, source };
        let mut ring = Ring::for_worker().map_err(at("io_uring_setup"))?;
        let sockets = [sockets.v4, sockets.v6];
        let fd = |n: usize| sockets[n].as_ref().map_or(-1, |s| s.as_fd().as_raw_fd());
        let files = [fd(0), fd(1), waker.descriptor().as_raw_fd()];
        ring.register_files(&files).map_err(at("register sockets with io_uring"))?;
        let buffers = |group, count| {
            BufferGroup::register(&ring, group, count)
                .map_err(at("register receive buffers with io_uring"))
        };
        let client_buffers = buffers(CLIENT_GROUP, config.client_buffers)?;
        let target_buffers = buffers(TARGET_GROUP, config.target_buffers)?;
        ring.enable().map_err(at("restrict and enable io_uring"))?;
        Ok(Uring {
            ring,
            legs: sockets.map(|socket| socket.map(Leg::new)),
            client_buffers,
            target_buffers,
            client_header: ReceiveHeader::for_clients(),
            target_header: ReceiveHeader::for_targets(),
            sends: Sends::new(config.send_buffers + SPARE_SENDS),
            queued_sends: false,
            message: Message::new(),
            egress: Table::new(config.egress_sockets),
            opener: Opener::new(hook, config.target_socket_bytes),
            pool: SendPool::new(config.send_buffers),
            waker: waker.clone(),
            wake_count: Box::new(0),
            wake_armed: false,
            pending: Vec::new(),
            ready: Vec::new(),
            reports: Vec::new(),
            completed: Vec::with_capacity(config.events_per_turn),
            quiet: 0,
            starved: false,
            report_soon: false,
            overflowing: false,
            events_per_turn: config.events_per_turn.max(1),
            spin: Spin::new(config.spin),
            ebb: Ebb::default(),
            watched: Vec::new(),
            stats: IoStats::default(),
        })
    }

    /// What was counted so far.
    pub fn stats(&self) -> &IoStats {
        &self.stats
    }

    /// Queues an operation of a target-facing socket and counts it there. `false` if the queue
    /// takes no more.
    ///
    /// # Safety
    /// As for [`Ring::push`].
    unsafe fn push_egress(&mut self, id: EgressId, entry: squeue::Entry, token: Token) -> bool {
        // SAFETY: the caller's promise.
        let pushed = unsafe { self.ring.push(entry, token) }.is_ok();
        if pushed && let Some(egress) = self.egress.get(id) {
            egress.in_flight += 1;
        }
        pushed
    }

    /// Looks at the socket again before the next wait.
    fn look_later(&mut self, id: EgressId) {
        if let Some(egress) = self.egress.get(id)
            && !mem::replace(&mut egress.is_pending, true)
        {
            self.pending.push(id);
        }
    }

    fn enter_egress(&mut self, id: EgressId, opened: io::Result<Flow>, kind: Kind) {
        let mut entry = Egress::new(None, kind);
        match opened {
            Ok(flow) => entry.flow = Some(flow),
            Err(error) => entry.failed = Some(from_io(&error)),
        }
        let failed = entry.failed;
        if let Err(refused) = self.egress.insert(id, entry) {
            if let Some(flow) = refused.flow {
                self.opener.close(id, flow, false);
            }
            self.open_failed(id, EgressError::NoResources);
        } else if let Some(error) = failed {
            self.open_failed(id, error);
        }
    }

    fn open_failed(&mut self, id: EgressId, error: EgressError) {
        self.stats.egress_open_failed += 1;
        self.ready.push(EgressEvent::Failed { id, error });
    }

    fn close(&mut self, id: EgressId, reset: bool) {
        let Some(egress) = self.egress.get(id) else {
            if self.egress.is_beyond(id) {
                // It failed to open and is not in the table, but was asked to close.
                self.ready.push(EgressEvent::Closed { id });
            }
            return;
        };
        if egress.closing.is_none() {
            egress.closing = Some(reset);
            self.proceed_closing(id);
        }
    }

    /// Takes the next step of closing: cancel what is in flight, or finish.
    fn proceed_closing(&mut self, id: EgressId) {
        let Some(egress) = self.egress.get(id) else { return };
        if egress.in_flight == 0 {
            self.finish_closing(id);
        } else if !egress.cancelling
            && let Some(flow) = &egress.flow
        {
            let all = CancelBuilder::fd(Fd(flow.as_fd().as_raw_fd())).all();
            let entry = opcode::AsyncCancel2::new(all).build();
            // SAFETY: a cancellation points to nothing.
            let pushed = unsafe { self.push_egress(id, entry, Token::Cancel(id.index)) };
            match self.egress.get(id) {
                Some(egress) if pushed => egress.cancelling = true,
                _ => self.look_later(id),
            }
        }
    }

    fn finish_closing(&mut self, id: EgressId) {
        let Some(egress) = self.egress.remove(id) else { return };
        if let Some(flow) = egress.flow {
            self.opener.close(id, flow, egress.closing == Some(true));
            self.stats.egress_closed += 1;
        }
        self.ready.push(EgressEvent::Closed { id });
    }

    /// The last completion of an operation on a socket came.
    fn operation_ended(&mut self, index: u32) {
        let Some((id, egress)) = self.egress.at(index) else { return };
        egress.in_flight -= 1;
        if egress.closing.is_some() && egress.in_flight == 0 {
            self.finish_closing(id);
        }
    }

    fn handle<H: Handler>(&mut self, now: Instant, completion: Completion, handler: &mut H) {
        match completion.token {
            Token::Wake => {
                self.wake_armed = false;
                if completion.result >= 0 {
                    self.stats.wakes += 1;
                    self.waker.acknowledge();
                }
            }
            Token::ClientReceive(leg) => self.client_received(now, leg, completion, handler),
            Token::Send(slot) => self.udp_sent(now, slot, completion.result, handler),
            Token::UdpReceive(index) => self.udp_received(now, index, completion, handler),
            Token::TcpConnect(index) => self.tcp_connected(now, index, completion.result, handler),
            Token::TcpReceive(index) => self.tcp_received(now, index, completion, handler),
            Token::TcpSend(slot) => self.tcp_sent(now, slot, completion.result, handler),
            Token::TcpBacklog(index) => {
                self.tcp_backlog_sent(now, index, completion.result, handler);
            }
            Token::Cancel(index) => self.operation_ended(index),
            Token::CancelAll => {}
            Token::Watch(number) => self.watched_ready(number, completion),
        }
    }

    fn flush_ready<H: Handler>(&mut self, now: Instant, handler: &mut H) {
        for event in self.reports.drain(..).chain(self.ready.drain(..)) {
            handler.handle_egress(now, event);
        }
    }

    /// Starts what has to run while waiting: the waker, and receives that have ended.
    /// What the queue doesn't take is tried again in the next turn.
    fn arm(&mut self) {
        if !self.wake_armed {
            let count = ptr_of(&mut self.wake_count);
            let entry = opcode::Read::new(Fixed(WAKER_FILE), count, 8).build();
            // SAFETY: `wake_count` is a box that lives until the ring is quiet.
            self.wake_armed = unsafe { self.ring.push(entry, Token::Wake) }.is_ok();
        }
        self.arm_clients();
        self.arm_watched();
        let mut pending = mem::take(&mut self.pending);
        for id in pending.drain(..) {
            self.look_at(id);
        }
        // What had to be put off again is a rare and short list: keep the larger memory.
        pending.append(&mut self.pending);
        self.pending = pending;
    }

    fn look_at(&mut self, id: EgressId) {
        let Some(egress) = self.egress.get(id) else { return };
        egress.is_pending = false;
        if egress.closing.is_some() {
            self.proceed_closing(id);
        } else {
            match egress.kind {
                Kind::Udp { .. } => self.arm_udp(id),
                Kind::Tcp(_) => self.pump(id),
            }
        }
    }

    /// Cancels everything and waits until the kernel is done with our memory.
    fn quiesce(&mut self) -> bool {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        // SAFETY: a cancellation points to nothing.
        if unsafe { self.ring.push(entry, Token::CancelAll) }.is_err() {
            return false;
        }
        let end = Instant::now() + QUIESCE;
        while self.ring.in_flight() > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.ring.enter(1, Some(left)).is_err() {
                return false;
            }
            self.completed.clear();
            self.ring.completions(usize::MAX, &mut self.completed);
        }
        // The kernel takes a ring down in the background; until then it would keep the sockets,
        // and their ports, open.
        self.ring.unregister_files();
        true
    }
}

fn ptr_of(count: &mut u64) -> *mut u8 {
    (&raw mut *count).cast()
}

impl Io for Uring {
    fn take_buffer(&mut self) -> Option<Vec<u8>> {
        let buffer = self.pool.take();
        if buffer.is_none() {
            self.stats.tx_no_buffer += 1;
            self.starved = true;
        }
        buffer
    }

    fn give_back(&mut self, buffer: Vec<u8>) {
        self.pool.give(buffer);
    }

    fn transmit(&mut self, transmit: &Transmit, buffer: Vec<u8>) {
        self.send_to_client(transmit, buffer);
    }

    fn egress(&mut self, op: EgressOp, buffer: Vec<u8>) {
        match op {
            EgressOp::UdpSend { id, segment_size, datagrams } => {
                return self.send_to_target(id, segment_size, datagrams, buffer);
            }
            EgressOp::TcpSend { id } => return self.tcp_send(id, buffer),
            EgressOp::UdpOpen { id, target, source } => {
                let opened = self.opener.udp(id, target, source);
                let local = opened.as_ref().map(Flow::local).ok();
                self.enter_egress(id, opened, Kind::Udp { receiving: false, offload: true });
                if let (Some(local), Some(_)) = (local, self.egress.get(id)) {
                    self.stats.egress_opened += 1;
                    self.ready.push(EgressEvent::Opened { id, local });
                    self.arm_udp(id);
                }
            }
            EgressOp::TcpConnect { id, target, source } => {
                let opened = self.opener.tcp(id, target, source);
                self.enter_egress(id, opened, Kind::Tcp(Tcp::new(target)));
                self.tcp_connect(id);
            }
            EgressOp::TcpCredit { id, bytes } => self.with_tcp(id, |tcp| tcp.credit += bytes),
            EgressOp::TcpShutdown { id } => self.with_tcp(id, |tcp| tcp.fin = true),
            EgressOp::Close { id, reset } => self.close(id, reset),
        }
        self.pool.give(buffer);
    }

    fn turn<H: Handler>(
        &mut self,
        deadline: Option<Instant>,
        handler: &mut H,
    ) -> io::Result<Instant> {
        self.arm();
        let quiet = mem::take(&mut self.quiet);
        // Whoever found no buffer goes on as soon as one is back.
        let starved = mem::take(&mut self.starved);
        let want = if starved { 1 } else { 1 + quiet };
        self.queued_sends = false;
        let now = self.wait(want, deadline)?;
        self.stats.turns += 1;
        self.stats.enters = self.ring.enters();
        self.note_overflow();

        let mut completed = mem::take(&mut self.completed);
        completed.clear();
        self.ring.completions(self.events_per_turn, &mut completed);
        self.stats.turns_idle += u64::from(completed.is_empty() && self.ready.is_empty());
        self.flush_ready(now, handler);
        for completion in &completed {
            self.handle(now, *completion, handler);
        }
        self.completed = completed;
        self.flush_ready(now, handler);
        self.client_buffers.publish();
        self.target_buffers.publish();
        self.spin.woke(now, self.stats.rx_bytes());
        self.tidy(now);
        Ok(now)
    }
}

impl Uring {
    /// Submits what is queued, and waits for `want` completions unless something is due. Returns
    /// the time at which it went on.
    fn wait(&mut self, want: usize, deadline: Option<Instant>) -> io::Result<Instant> {
        let mut now = Instant::now();
        let soon = mem::take(&mut self.report_soon).then(|| now + REPORT_WITHIN);
        let deadline = [soon, deadline, self.ebb.due()].into_iter().flatten().min();
        let is_due = |now| deadline.is_some_and(|deadline| deadline <= now);
        if !self.ready.is_empty() || is_due(now) {
            self.ring.enter(0, None)?;
            return Ok(Instant::now());
        }
        if let Some(until) = self.spin.until(now) {
            self.stats.spins += 1;
            let found = self.ring.poll(want, deadline.map_or(until, |at| at.min(until)))?;
            now = Instant::now();
            if found {
                self.stats.spins_hit += 1;
                self.spin.hit();
                return Ok(now);
            }
            if is_due(now) {
                return Ok(now);
            }
            self.spin.miss(now);
        }
        self.ring.enter(want, deadline.map(|at| at.saturating_duration_since(now)))?;
        Ok(Instant::now())
    }

    /// Whoever stands around this received more in this turn, and counted it.
    pub(crate) fn received_more(&mut self) {
        self.spin.received(self.stats.rx_bytes());
    }

    /// Gives memory back that isn't needed any more.
    fn tidy(&mut self, now: Instant) {
        let Some(tide) = self.ebb.turned(now, self.stats.rx_bytes()) else { return };
        self.pool.shrink();
        if tide == Tide::Calm && self.ring.is_drained() {
            // SAFETY: all completions were handled in this turn or before.
            unsafe {
                self.client_buffers.release();
                self.target_buffers.release();
            }
        }
    }

    /// Counts the times that the completion queue started to overflow.
    fn note_overflow(&mut self) {
        let overflowing = self.ring.overflowed();
        self.stats.cq_overflow += u64::from(overflowing && !self.overflowing);
        self.overflowing = overflowing;
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        if !self.quiesce() {
            // The kernel may still write: memory that is lost is better than memory that is
            // somebody else's by then.
            self.client_buffers.leak();
            self.target_buffers.leak();
            mem::forget(mem::take(&mut self.sends));
            mem::forget(mem::take(&mut self.egress));
            mem::forget(mem::take(&mut self.wake_count));
            return;
        }
        for id in self.egress.ids() {
            if let Some(flow) = self.egress.remove(id).and_then(|egress| egress.flow) {
                self.opener.close(id, flow, false);
            }
        }
    }
}
