//! The epoll backend: for hosts that refuse io_uring. The same meaning as [`crate::uring`], one
//! system call per train.

mod epoll;
mod tcp;
mod udp;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use weir_core::port::{EgressError, EgressEvent, EgressId, EgressOp};
use weir_core::port::{FlowHook, Handler, Io, Transmit};

use crate::config::{IoConfig, IoStats, REPORT_WITHIN};
use crate::ebb::Ebb;
use crate::egress::{Flow, Opener, Table};
use crate::errno::{egress_error, from_io};
use crate::error::Error;
use crate::message::{Message, Train};
use crate::pool::SendPool;
use crate::send::send;
use crate::sockets::WorkerSockets;
use crate::spin::Spin;
use crate::waker::Waker;

use epoll::{Epoll, Interest, Token};
use tcp::Tcp;
use udp::{Leg, Receiver, Udp};

/// Reads of one target-facing socket in a turn, so that one flow can't starve the others: trains
/// of [`crate::config::TURN_BYTES`] together.
const READS_PER_SOCKET: usize = 8;

/// One worker's I/O on epoll.
#[derive(Debug)]
pub struct Poll {
    epoll: Epoll,
    legs: [Option<Leg>; 2],
    waker: Waker,
    opener: Opener,
    pool: SendPool,
    egress: Table<Egress>,
    receiver: Receiver,
    message: Message,
    /// Events that came up outside of a turn.
    ready: Vec<EgressEvent<'static>>,
    /// The same for datagrams that were sent, which has [`REPORT_WITHIN`] time.
    reports: Vec<EgressEvent<'static>>,
    events_per_turn: usize,
    spin: Spin,
    ebb: Ebb,
    stats: IoStats,
}

/// A target-facing socket.
#[derive(Debug)]
enum Egress {
    Udp(Udp),
    Tcp(Tcp),
    /// Opening failed, or TCP broke. Waits for the engine's close.
    Failed(EgressError),
}

impl Poll {
    /// See [`crate::Backend::open`].
    pub fn open(
        config: &IoConfig,
        sockets: WorkerSockets,
        waker: &Waker,
        hook: Box<dyn FlowHook>,
    ) -> Result<Poll, Error> {
        let epoll = Epoll::new(config.events_per_turn)?;
        let add = |fd: BorrowedFd<'_>, token| {
            epoll
                .add(fd, token, Interest::READ)
                .map_err(|source| Error::Os { what: "epoll_ctl", source })
        };
        add(waker.descriptor(), Token::Waker)?;
        let legs = [sockets.v4, sockets.v6];
        for (number, socket) in legs.iter().enumerate() {
            if let Some(socket) = socket {
                add(socket.as_fd(), Token::Leg(number))?;
            }
        }
        Ok(Poll {
            epoll,
            legs: legs.map(|socket| socket.map(Leg::new)),
            waker: waker.clone(),
            opener: Opener::new(hook, config.target_socket_bytes),
            pool: SendPool::new(config.send_buffers),
            egress: Table::new(config.egress_sockets),
            receiver: Receiver::new(),
            message: Message::new(),
            ready: Vec::new(),
            reports: Vec::new(),
            events_per_turn: config.events_per_turn,
            spin: Spin::new(config.spin),
            ebb: Ebb::default(),
            stats: IoStats::default(),
        })
    }

    /// What was counted so far.
    pub fn stats(&self) -> &IoStats {
        &self.stats
    }

    fn open_udp(
        &mut self,
        id: EgressId,
        target: SocketAddr,
        source: Option<IpAddr>,
    ) -> io::Result<Egress> {
        let flow = self.opener.udp(id, target, source)?;
        let added = self.epoll.add(flow.as_fd(), Token::Egress(id), Interest::READ);
        self.keep(id, flow, added).map(|flow| Egress::Udp(Udp::new(flow)))
    }

    fn open_tcp(
        &mut self,
        id: EgressId,
        target: SocketAddr,
        source: Option<IpAddr>,
    ) -> io::Result<Egress> {
        let flow = self.opener.tcp(id, target, source)?;
        let started = tcp::start(&flow)
            .and_then(|()| self.epoll.add(flow.as_fd(), Token::Egress(id), Interest::WRITE));
        self.keep(id, flow, started).map(|flow| Egress::Tcp(Tcp::new(flow)))
    }

    /// Closes the flow again if the last step of opening it failed.
    fn keep(&mut self, id: EgressId, flow: Flow, step: io::Result<()>) -> io::Result<Flow> {
        match step {
            Ok(()) => Ok(flow),
            Err(error) => {
                self.opener.close(id, flow, false);
                Err(error)
            }
        }
    }

    fn enter_egress(&mut self, id: EgressId, opened: io::Result<Egress>) {
        let entry = opened.unwrap_or_else(|error| Egress::Failed(from_io(&error)));
        let outcome = match &entry {
            Egress::Udp(udp) => Some(Ok(udp.flow.local())),
            Egress::Tcp(_) => None,
            Egress::Failed(error) => Some(Err(*error)),
        };
        if let Err(refused) = self.egress.insert(id, entry) {
            self.release(id, refused, false);
            return self.fail(id, EgressError::NoResources);
        }
        match outcome {
            Some(Ok(local)) => {
                self.stats.egress_opened += 1;
                self.ready.push(EgressEvent::Opened { id, local });
            }
            Some(Err(error)) => self.fail(id, error),
            None => {}
        }
    }

    fn fail(&mut self, id: EgressId, error: EgressError) {
        self.stats.egress_open_failed += 1;
        self.ready.push(EgressEvent::Failed { id, error });
    }

    fn release(&mut self, id: EgressId, entry: Egress, reset: bool) {
        let flow = match entry {
            Egress::Udp(udp) => udp.flow,
            Egress::Tcp(tcp) => tcp.flow,
            Egress::Failed(_) => return,
        };
        // Closing the descriptor takes it out of the epoll set.
        self.opener.close(id, flow, reset);
        self.stats.egress_closed += 1;
    }

    fn udp_send(&mut self, id: EgressId, segment_size: usize, datagrams: u32, payload: &[u8]) {
        match self.egress.get(id) {
            Some(Egress::Udp(udp)) => {
                let train = Train::to_target(segment_size, payload.len());
                let outcome =
                    send(udp.flow.as_fd(), &mut self.message, &train, payload, udp.offload);
                udp.count(&outcome, &mut self.stats);
                let list = if outcome.is_smooth() { &mut self.reports } else { &mut self.ready };
                list.extend(outcome.events(id));
            }
            Some(Egress::Failed(error)) => {
                let bytes = payload.len() as u64;
                let error = *error;
                self.ready.push(EgressEvent::UdpDropped { id, datagrams, bytes, error });
            }
            // An id that was closed, or never opened.
            Some(Egress::Tcp(_)) | None => {}
        }
    }

    /// Runs `act` on an open TCP connection; nothing happens on one that has failed.
    fn with_tcp(
        &mut self,
        id: EgressId,
        act: impl FnOnce(&mut Tcp, &mut IoStats) -> tcp::Progress,
    ) {
        let Some(Egress::Tcp(tcp)) = self.egress.get(id) else { return };
        match act(tcp, &mut self.stats) {
            tcp::Progress::Sent(0) => {}
            tcp::Progress::Sent(bytes) => self.ready.push(EgressEvent::TcpSent { id, bytes }),
            tcp::Progress::Failed(errno) => return self.break_tcp(id, egress_error(errno)),
        }
        if let Some(Egress::Tcp(tcp)) = self.egress.get(id)
            && let Err(error) = tcp.update_interest(&self.epoll, id)
        {
            self.break_tcp(id, from_io(&error));
        }
    }

    /// The connection is dead: report it once and release the socket; `Closed` waits for the
    /// engine's close.
    fn break_tcp(&mut self, id: EgressId, error: EgressError) {
        if let Some(entry) = self.egress.get(id) {
            let broken = std::mem::replace(entry, Egress::Failed(error));
            self.release(id, broken, false);
            self.ready.push(EgressEvent::Failed { id, error });
        }
    }

    fn flush_ready<H: Handler>(&mut self, now: Instant, handler: &mut H) {
        for event in self.reports.drain(..).chain(self.ready.drain(..)) {
            handler.handle_egress(now, event);
        }
    }

    fn handle<H: Handler>(&mut self, now: Instant, token: Token, handler: &mut H) {
        match token {
            Token::Waker => {
                self.stats.wakes += 1;
                // Readable, so it neither blocks nor fails.
                let drained = self.waker.drain();
                debug_assert!(drained.is_ok(), "{drained:?}");
            }
            Token::Leg(number) => {
                if let Some(leg) = &mut self.legs[number] {
                    leg.receive(&mut self.receiver, &mut self.stats, |meta, train| {
                        handler.handle_packets(now, meta, train);
                    });
                }
            }
            Token::Egress(id) => self.handle_egress(now, id, handler),
        }
    }

    fn handle_egress<H: Handler>(&mut self, now: Instant, id: EgressId, handler: &mut H) {
        match self.egress.get(id) {
            Some(Egress::Udp(udp)) => {
                udp.receive(id, &mut self.receiver, &mut self.stats, |event| {
                    handler.handle_egress(now, event);
                });
            }
            Some(Egress::Tcp(tcp)) => {
                let alive = tcp.ready(id, &mut self.receiver, &mut self.stats, |event| {
                    handler.handle_egress(now, event);
                });
                match alive
                    .and_then(|()| tcp.update_interest(&self.epoll, id).map_err(|e| from_io(&e)))
                {
                    Ok(()) => {}
                    Err(error) => self.break_tcp(id, error),
                }
            }
            // The event was in the batch in which the socket broke.
            Some(Egress::Failed(_)) | None => {}
        }
    }
}

impl Io for Poll {
    fn take_buffer(&mut self) -> Option<Vec<u8>> {
        let buffer = self.pool.take();
        self.stats.tx_no_buffer += u64::from(buffer.is_none());
        buffer
    }

    fn give_back(&mut self, buffer: Vec<u8>) {
        self.pool.give(buffer);
    }

    fn transmit(&mut self, transmit: &Transmit, buffer: Vec<u8>) {
        let number = usize::from(transmit.destination.is_ipv6());
        if let Some(leg) = &mut self.legs[number] {
            let train = Train::to_client(transmit, buffer.len());
            let outcome = send(leg.socket.as_fd(), &mut self.message, &train, &buffer, leg.offload);
            leg.count(&outcome, &mut self.stats);
        } else {
            self.stats.client_tx_errors += 1;
        }
        self.pool.give(buffer);
    }

    fn egress(&mut self, op: EgressOp, buffer: Vec<u8>) {
        match op {
            EgressOp::UdpOpen { id, target, source } => {
                let opened = self.open_udp(id, target, source);
                self.enter_egress(id, opened);
            }
            EgressOp::UdpSend { id, segment_size, datagrams } => {
                self.udp_send(id, segment_size, datagrams, &buffer);
            }
            EgressOp::TcpConnect { id, target, source } => {
                let opened = self.open_tcp(id, target, source);
                self.enter_egress(id, opened);
            }
            EgressOp::TcpSend { id } => self.with_tcp(id, |tcp, stats| tcp.send(&buffer, stats)),
            EgressOp::TcpCredit { id, bytes } => self.with_tcp(id, |tcp, _| tcp.credit(bytes)),
            EgressOp::TcpShutdown { id } => self.with_tcp(id, |tcp, _| tcp.shutdown()),
            EgressOp::Close { id, reset } => {
                if let Some(entry) = self.egress.remove(id) {
                    self.release(id, entry, reset);
                    self.ready.push(EgressEvent::Closed { id });
                } else if self.egress.is_beyond(id) {
                    // It failed to open and is not in the table, but was asked to close.
                    self.ready.push(EgressEvent::Closed { id });
                }
            }
        }
        self.pool.give(buffer);
    }

    fn turn<H: Handler>(
        &mut self,
        deadline: Option<Instant>,
        handler: &mut H,
    ) -> io::Result<Instant> {
        let (count, now) = self.wait(deadline)?;
        self.stats.turns += 1;
        self.stats.turns_idle +=
            u64::from(count == 0 && self.ready.is_empty() && self.reports.is_empty());
        self.flush_ready(now, handler);
        for index in 0..count.min(self.events_per_turn) {
            if let Some(token) = self.epoll.token(index) {
                self.handle(now, token, handler);
            }
        }
        self.flush_ready(now, handler);
        self.spin.woke(now, self.stats.rx_bytes());
        if self.ebb.turned(now, self.stats.rx_bytes()).is_some() {
            self.pool.shrink();
        }
        Ok(now)
    }
}

impl Poll {
    /// Waits for events unless something is due. Returns their number, and the time at which it
    /// went on.
    fn wait(&mut self, deadline: Option<Instant>) -> io::Result<(usize, Instant)> {
        let mut now = Instant::now();
        let soon = (!self.reports.is_empty()).then(|| now + REPORT_WITHIN);
        let deadline = [soon, deadline, self.ebb.due()].into_iter().flatten().min();
        let is_due = |now| deadline.is_some_and(|deadline| deadline <= now);
        if !self.ready.is_empty() || is_due(now) {
            return Ok((self.look(Some(Duration::ZERO))?, Instant::now()));
        }
        if let Some(until) = self.spin.until(now) {
            self.stats.spins += 1;
            while now < until && !is_due(now) {
                let count = self.look(Some(Duration::ZERO))?;
                now = Instant::now();
                if count > 0 {
                    self.stats.spins_hit += 1;
                    self.spin.hit();
                    return Ok((count, now));
                }
            }
            if is_due(now) {
                return Ok((0, now));
            }
            self.spin.miss(now);
        }
        let count = self.look(deadline.map(|at| at.saturating_duration_since(now)))?;
        Ok((count, Instant::now()))
    }

    fn look(&mut self, wait: Option<Duration>) -> io::Result<usize> {
        self.stats.enters += 1;
        self.epoll.wait(wait)
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        for id in self.egress.ids() {
            if let Some(entry) = self.egress.remove(id) {
                self.release(id, entry, false);
            }
        }
    }
}
