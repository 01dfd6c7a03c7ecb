//! The target-facing side: UDP flows without a kernel socket.
//!
//! What the kernel does for a socket and nobody does here: queued ICMP errors (they reach the
//! kernel, which knows no socket of the port), the path MTU that such errors teach, and putting
//! fragments together. A target that answers in fragments isn't heard.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};
use weir_core::port::{EgressEvent, EgressId, FlowTuple, Transport};

use super::Xsk;
use super::config::Sent;
use super::frame::{Template, header_len, payload_max};
use crate::message::{Message, Train};
use crate::send::{Outcome, send};
use crate::sys;

/// Turns within which everything that waited in the rings when a flow was closed is handed on.
const LAST_TURNS: u32 = 8;

/// A UDP flow of this backend.
#[derive(Debug)]
pub(super) struct ExitFlow {
    tuple: FlowTuple,
    /// `None` until the next hop is known.
    way: Option<Way>,
    sent: Sent,
    /// In the list of flows whose totals are to be told.
    touched: bool,
    /// The engine wants it closed: turns to go.
    pub(super) closing: Option<u32>,
}

/// How the flow's frames leave, until it must be asked for again.
#[derive(Clone, Copy, Debug)]
struct Way {
    template: Template,
    device: usize,
    payload_max: usize,
    until: Instant,
}

impl ExitFlow {
    pub(super) fn local(&self) -> SocketAddr {
        self.tuple.local
    }

    pub(super) fn tuple(&self) -> &FlowTuple {
        &self.tuple
    }

    /// The totals, to be told now.
    pub(super) fn tell(&mut self) -> &Sent {
        self.touched = false;
        &self.sent
    }
}

impl Xsk {
    /// Opens a flow if frames lead to its target. `false`: a kernel socket is to be used.
    pub(super) fn open_exit(
        &mut self,
        id: EgressId,
        target: SocketAddr,
        source: Option<IpAddr>,
    ) -> bool {
        if self.flows.is_beyond(id) || self.flows.at(id.index).is_some() || has_scope(target) {
            return false;
        }
        let Some((device, ip, _)) = self.neighbours.route(self.now, target.ip(), source) else {
            return false;
        };
        if self.devices[device].channels.is_empty() {
            return false;
        }
        // Binding says whether the address is ours and the port free; other programs may have
        // asked for a reserved port by its number.
        let is_free = |port| UdpSocket::bind((ip, port)).is_ok();
        let Some(port) = self.ports.open(self.now, target, id, is_free) else { return false };
        let local = SocketAddr::new(ip, port);
        let tuple = FlowTuple { transport: Transport::Udp, local, remote: target };
        self.inner.hook().opened(id, &tuple);
        if self.registrar.opened(id, &tuple).is_err() {
            self.inner.hook().closed(id, &tuple);
            self.ports.close(self.now, port, target);
            return false;
        }
        let flow =
            ExitFlow { tuple, way: None, sent: Sent::default(), touched: false, closing: None };
        let entered = self.flows.insert(id, flow);
        debug_assert!(entered.is_ok(), "the place was free");
        self.inner.stats_mut().egress_opened += 1;
        self.ready.push(EgressEvent::Opened { id, local });
        true
    }

    /// Sends a train of a flow that is in the table.
    pub(super) fn send_to_target(&mut self, id: EgressId, segment_size: usize, payload: &[u8]) {
        let train = Train::to_target(segment_size, payload.len());
        let Some(flow) = self.flows.get(id) else { return };
        if flow.closing.is_some() {
            let outcome = nothing_sent(&train, payload.len(), libc::EBADF);
            return self.ready.extend(outcome.events(id));
        }
        let (local, remote) = (flow.tuple.local, flow.tuple.remote);
        if flow.way.is_none_or(|way| way.until <= self.now) {
            let hop = self.neighbours.hop(self.now, remote.ip(), Some(local.ip()));
            flow.way = hop.and_then(|hop| {
                Some(Way {
                    template: Template::new(hop.macs, local, remote)?,
                    device: hop.device,
                    payload_max: payload_max(hop.mtu, remote.is_ipv4()),
                    until: hop.until,
                })
            });
        }
        let way = flow.way.filter(|way| !self.devices[way.device].channels.is_empty());
        let Some(way) = way else {
            self.inner.stats_mut().xsk_kernel_sends += 1;
            let outcome = by_the_kernel(local, remote, &mut self.message, &train, payload);
            self.inner.stats_mut().count_target(&outcome);
            return self.ready.extend(outcome.events(id));
        };
        let channels = &mut self.devices[way.device].channels;
        let place = id.index as usize % channels.len();
        let channel = &mut channels[place];
        let header = header_len(remote.is_ipv4());
        let mut outcome = Outcome::default();
        for datagram in train.singles(payload) {
            let refused = if datagram.len() > way.payload_max {
                Some(libc::EMSGSIZE)
            } else {
                match channel.send(|frame| way.template.write(frame, None, datagram)) {
                    Ok(true) => None,
                    Ok(false) => Some(libc::EMSGSIZE),
                    Err(_) => Some(libc::ENOBUFS),
                }
            };
            if let Some(errno) = refused {
                outcome.dropped_datagrams += 1;
                outcome.dropped_bytes += datagram.len() as u64;
                outcome.drop_errno = errno;
            } else {
                outcome.sent_datagrams += 1;
                outcome.sent_bytes += datagram.len() as u64;
            }
        }
        // Here, and not where the engine's report is made: this is ledger B's own count of what
        // lies in the transmit ring.
        flow.sent.add(&outcome, header);
        if outcome.sent_datagrams > 0 && !std::mem::replace(&mut flow.touched, true) {
            self.touched.push(id);
        }
        let stats = self.inner.stats_mut();
        stats.count_target(&outcome);
        stats.xsk_tx_frames += u64::from(outcome.sent_datagrams);
        if outcome.is_smooth() {
            self.reports.extend(outcome.events(id));
        } else {
            self.ready.extend(outcome.events(id));
        }
    }

    /// Closes a flow that is in the table: its last totals are told and the kernel forgets it now;
    /// `Closed` follows when nothing of it is left in the rings.
    pub(super) fn close_exit(&mut self, id: EgressId) {
        let Some(flow) = self.flows.get(id).filter(|flow| flow.closing.is_none()) else { return };
        flow.closing = Some(LAST_TURNS);
        self.registrar.sent(id, &flow.tuple, &flow.sent);
        flow.touched = false;
        self.inner.hook().closed(id, &flow.tuple);
        self.leaving.push(id);
    }

    /// Ends the flows whose last frames were handed on. `drained`: nothing waits in any ring.
    pub(super) fn end_exits(&mut self, drained: bool) {
        let mut leaving = std::mem::take(&mut self.leaving);
        leaving.retain(|&id| {
            let Some(flow) = self.flows.get(id) else { return false };
            let turns = flow.closing.unwrap_or_default();
            if turns > 1 && !drained {
                flow.closing = Some(turns - 1);
                return true;
            }
            let (local, remote) = (flow.tuple.local, flow.tuple.remote);
            self.flows.remove(id);
            self.ports.close(self.now, local.port(), remote);
            self.inner.stats_mut().egress_closed += 1;
            self.ready.push(EgressEvent::Closed { id });
            false
        });
        self.leaving = leaving;
    }
}

/// A link-local target needs its interface named; the kernel's sockets know how.
fn has_scope(target: SocketAddr) -> bool {
    matches!(target, SocketAddr::V6(target) if target.scope_id() != 0)
}

fn nothing_sent(train: &Train, bytes: usize, errno: i32) -> Outcome {
    Outcome {
        dropped_datagrams: train.datagrams(bytes) as u32,
        dropped_bytes: bytes as u64,
        drop_errno: errno,
        ..Outcome::default()
    }
}

/// Sends through a socket that lives only for this, so that the kernel looks for the neighbour.
fn by_the_kernel(
    local: SocketAddr,
    remote: SocketAddr,
    message: &mut Message,
    train: &Train,
    payload: &[u8],
) -> Outcome {
    match connected(local, remote) {
        Ok(socket) => send(socket.as_fd(), message, train, payload, false),
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(libc::ENOBUFS);
            nothing_sent(train, payload.len(), errno)
        }
    }
}

fn connected(local: SocketAddr, remote: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(remote), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    let fd = socket.as_fd();
    // As for every target-facing socket: the exit never fragments (RFC 9298, section 6.1).
    if remote.is_ipv4() {
        sys::set_int(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)?;
    } else {
        sys::set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO)?;
    }
    socket.bind(&local.into())?;
    socket.connect(&remote.into())?;
    Ok(socket)
}
