//! The AF_XDP backend: UDP of both sides as Ethernet frames, past the kernel's network stack.
//!
//! ```text
//! XDP program --redirect--> receive ring -> Sorter -> engine          (frames of this worker)
//! engine -> Template::write -> transmit ring -> one system call per turn and queue
//! ```
//!
//! It stands around a [`Uring`], which keeps everything else: TCP tunnels, the waker, deadlines,
//! and the kernel's own client-facing sockets, where all arrives that the program didn't redirect
//! (other queues, fragments, options) and through which leaves what has no known neighbour. There
//! is one wait for both: the ring polls the AF_XDP sockets.
//!
//! - A worker owns one AF_XDP socket for each of its queues ([`XskConfig::worker`]). Where it owns
//!   none of an interface, it uses kernel sockets there.
//! - Neighbours, routes and the path to them are the kernel's (`neighbours`).
//! - Exit flows have no kernel socket but a port that is kept from the kernel (`ports`, `exit`).
//! - What is sent doesn't pass the kernel's egress program, so it is counted where it enters the
//!   transmit ring, and told to the [`XskRegistrar`].
//!
//! **What the kernel may touch.** A frame of the shared memory belongs to the free list, to the
//! kernel, or to the turn that received it, never to two of them (`umem`, `channel`). The memory
//! is unmapped after its socket is closed.

mod access;
mod channel;
mod checksum;
pub mod config;
mod crossing;
mod exit;
mod frame;
pub mod host;
mod neighbours;
mod netlink;
mod ports;
mod ring;
mod socket;
mod sorter;
mod umem;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use weir_core::port::{EgressEvent, EgressId, EgressOp, FlowHook, Handler, Io, Transmit};

use crate::config::{IoConfig, IoStats, REPORT_WITHIN};
use crate::egress::Table;
use crate::error::Error;
use crate::message::Message;
use crate::sockets::WorkerSockets;
use crate::uring::Uring;
use crate::waker::Waker;

use channel::Channel;
pub use config::{Sent, XskConfig, XskInterface, XskRegistrar, ZeroCopy};
pub use crossing::Crossing;
use exit::ExitFlow;
use neighbours::Neighbours;
use ports::Ports;
use sorter::Sorter;

/// Frames of one queue that a turn takes before the engine runs: 512 of 1,500 bytes are what
/// `TURN_BYTES` is for sockets, and fit the second-level cache.
const FRAMES_PER_TURN: usize = 512;
/// How soon frames that the kernel didn't take are offered again.
const SEND_AGAIN: Duration = Duration::from_millis(1);
/// Turns between two looks at the kernel's drop counters, which cost a system call each.
const LOOK_AT_DROPS: u64 = 1_024;

/// One worker's I/O on AF_XDP. Belongs to the thread that opened it.
#[derive(Debug)]
pub struct Xsk {
    /// First, so that its polls of the AF_XDP sockets end before those are closed.
    inner: Uring,
    devices: Vec<Device>,
    neighbours: Neighbours,
    flows: Table<ExitFlow>,
    ports: Ports,
    /// Where clients are served, IPv4 and IPv6.
    listen: [Option<SocketAddr>; 2],
    crossing: Crossing,
    registrar: Box<dyn XskRegistrar>,
    worker: usize,
    kernel_train: usize,
    /// Events that came up between turns.
    ready: Vec<EgressEvent<'static>>,
    /// Datagrams that were sent; reporting them has time ([`REPORT_WITHIN`]).
    reports: Vec<EgressEvent<'static>>,
    /// Client-facing frames so far, and what was told of them.
    to_clients: Sent,
    to_clients_told: Sent,
    /// Flows whose totals are to be told.
    touched: Vec<EgressId>,
    /// Flows to end when the rings are drained.
    leaving: Vec<EgressId>,
    /// For sends through the kernel.
    message: Message,
    /// When the current turn woke up.
    now: Instant,
    notes: Vec<String>,
}

/// An interface and this worker's queues of it.
#[derive(Debug)]
struct Device {
    index: u32,
    channels: Vec<Channel>,
}

impl Xsk {
    /// Opens the rings, then the AF_XDP sockets, and has each entered by the registrar.
    pub fn open(
        config: &IoConfig,
        xsk: XskConfig,
        sockets: WorkerSockets,
        waker: &Waker,
        hook: Box<dyn FlowHook>,
    ) -> Result<Xsk, Error> {
        let local = |socket: &crate::ClientSocket| socket.local();
        let listen = [sockets.v4.as_ref().map(local), sockets.v6.as_ref().map(local)];
        let inner = Uring::open(config, sockets, waker, hook)?;
        let indices: Vec<u32> = xsk.interfaces.iter().map(|interface| interface.index).collect();
        let neighbours = Neighbours::new(&indices)
            .map_err(|source| Error::Os { what: "ask for interfaces by rtnetlink", source })?;
        let mut notes = Vec::new();
        let mut devices = Vec::new();
        let mut registrar = xsk.registrar;
        for (number, interface) in xsk.interfaces.iter().enumerate() {
            let mut channels = Vec::new();
            let own = (0..interface.queues).filter(|q| *q as usize % xsk.workers == xsk.worker);
            for queue in own {
                let mtu = neighbours.mtu(number);
                let (channel, note) =
                    Channel::open(interface, queue, mtu, xsk.zero_copy, xsk.busy_poll)?;
                notes.extend(note);
                registrar.register(interface.index, queue, channel.as_fd()).map_err(|source| {
                    let (interface, step) = (interface.name.clone(), "enter into the XSKMAP");
                    Error::Xsk { interface, queue, step, source }
                })?;
                channels.push(channel);
            }
            if channels.is_empty() {
                notes.push(format!(
                    "{}: fewer queues than workers; worker {} uses kernel sockets there",
                    interface.name, xsk.worker
                ));
            }
            devices.push(Device { index: interface.index, channels });
        }
        let mut xsk = Xsk {
            inner,
            devices,
            neighbours,
            flows: Table::new(config.egress_sockets),
            ports: Ports::new(xsk.exit_ports, xsk.worker, xsk.workers),
            listen,
            crossing: xsk.crossing,
            registrar,
            worker: xsk.worker,
            kernel_train: xsk.kernel_train.max(1),
            ready: Vec::new(),
            reports: Vec::new(),
            to_clients: Sent::default(),
            to_clients_told: Sent::default(),
            touched: Vec::new(),
            leaving: Vec::new(),
            message: Message::new(),
            now: Instant::now(),
            notes,
        };
        let watched = xsk.channels().map(|channel| channel.as_fd().as_raw_fd()).collect();
        // The descriptors are closed after the inner backend has ended its polls.
        xsk.inner.watch(watched);
        Ok(xsk)
    }

    /// What was counted so far.
    pub fn stats(&self) -> &IoStats {
        self.inner.stats()
    }

    /// What is slower than it could be here, and why: for the log.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn channels(&mut self) -> impl Iterator<Item = &mut Channel> {
        self.devices.iter_mut().flat_map(|device| &mut device.channels)
    }

    /// Tells the totals of the flows that sent since the last turn.
    fn tell_totals(&mut self) {
        if self.to_clients != self.to_clients_told {
            self.registrar.sent_to_clients(&self.to_clients);
            self.to_clients_told = self.to_clients;
        }
        for id in self.touched.drain(..) {
            if let Some(flow) = self.flows.get(id) {
                let tuple = *flow.tuple();
                self.registrar.sent(id, &tuple, flow.tell());
            }
        }
    }

    fn deliver<H: Handler>(&mut self, now: Instant, handler: &mut H) {
        for event in self.reports.drain(..).chain(self.ready.drain(..)) {
            handler.handle_egress(now, event);
        }
    }

    /// Hands on what arrived. True if no ring has anything left.
    fn receive<H: Handler>(&mut self, now: Instant, handler: &mut H) -> bool {
        let mut drained = true;
        let worker = self.worker;
        let mut sorter = Sorter {
            now,
            worker,
            listen: &self.listen,
            ports: &self.ports,
            flows: &mut self.flows,
            crossing: &self.crossing,
            stats: self.inner.stats_mut(),
        };
        for channel in self.devices.iter_mut().flat_map(|device| &mut device.channels) {
            let mut left = FRAMES_PER_TURN;
            while left > 0
                && let Some(frame) = channel.receive()
            {
                left -= 1;
                sorter.arrived(channel.bytes(frame), handler);
                channel.give_back(frame);
            }
            channel.refill();
            drained &= left > 0;
        }
        for _ in 0..FRAMES_PER_TURN {
            let Some(frame) = self.crossing.take(worker) else { break };
            sorter.crossed(&frame, handler);
        }
        drained && self.crossing.is_empty(worker)
    }

    fn look_at_drops(&mut self) {
        let dropped = self.channels().map(|channel| channel.dropped()).sum();
        self.inner.stats_mut().xsk_rx_dropped = dropped;
    }
}

impl Io for Xsk {
    fn take_buffer(&mut self) -> Option<Vec<u8>> {
        self.inner.take_buffer()
    }

    fn give_back(&mut self, buffer: Vec<u8>) {
        self.inner.give_back(buffer);
    }

    fn transmit(&mut self, transmit: &Transmit, buffer: Vec<u8>) {
        if let Err(buffer) = self.send_to_client(transmit, buffer) {
            self.inner.transmit(transmit, buffer);
        }
    }

    fn egress(&mut self, op: EgressOp, buffer: Vec<u8>) {
        match op {
            EgressOp::UdpSend { id, segment_size, .. } if self.flows.get(id).is_some() => {
                self.send_to_target(id, segment_size, &buffer);
                self.inner.give_back(buffer);
            }
            EgressOp::UdpOpen { id, target, source } if self.open_exit(id, target, source) => {
                self.inner.give_back(buffer);
            }
            EgressOp::Close { id, .. } if self.flows.get(id).is_some() => {
                self.close_exit(id);
                self.inner.give_back(buffer);
            }
            op => self.inner.egress(op, buffer),
        }
    }

    fn turn<H: Handler>(
        &mut self,
        deadline: Option<Instant>,
        handler: &mut H,
    ) -> io::Result<Instant> {
        self.tell_totals();
        let (mut unsent, mut waiting) = (false, false);
        for channel in self.channels() {
            channel.flush();
            unsent |= channel.unsent() > 0;
            waiting |= channel.has_frames();
        }
        waiting |= !self.ready.is_empty()
            || !self.leaving.is_empty()
            || !self.crossing.is_empty(self.worker);
        let soon = [
            waiting.then_some(self.now),
            unsent.then(|| self.now + SEND_AGAIN),
            (!self.reports.is_empty()).then(|| self.now + REPORT_WITHIN),
            deadline,
        ];
        let now = self.inner.turn(soon.into_iter().flatten().min(), handler)?;
        self.now = now;
        self.neighbours.allow_questions();
        self.deliver(now, handler);
        let drained = self.receive(now, handler);
        self.inner.received_more();
        self.end_exits(drained);
        self.deliver(now, handler);
        if self.inner.stats().turns.is_multiple_of(LOOK_AT_DROPS) {
            self.look_at_drops();
        }
        Ok(now)
    }
}

impl Drop for Xsk {
    fn drop(&mut self) {
        for device in &self.devices {
            for channel in &device.channels {
                self.registrar.unregister(device.index, channel.queue);
            }
        }
        self.tell_totals();
        for id in self.flows.ids() {
            if let Some(flow) = self.flows.get(id)
                && flow.closing.is_none()
            {
                let tuple = *flow.tuple();
                self.registrar.sent(id, &tuple, flow.tell());
                self.inner.hook().closed(id, &tuple);
            }
        }
    }
}
