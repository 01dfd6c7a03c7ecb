//! TCP connections: one connect, one receive and one send in flight at most.

use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use io_uring::types::Fd;
use io_uring::{cqueue, opcode, squeue};
use weir_core::port::{EgressEvent, EgressId, Handler, MAX_TRAIN_BYTES};

use super::receive::POLL_FIRST;
use super::ring::Completion;
use super::sends::Purpose;
use super::token::Token;
use super::transmit::DIRECT_BYTES;
use super::{Kind, Uring};
use crate::addr::RawAddress;
use crate::egress::Backlog;
use crate::errno::egress_error;
use crate::message::Train;

/// State of one connection.
#[derive(Debug)]
pub(super) struct Tcp {
    /// The target, where the kernel may read it while connecting.
    address: Box<RawAddress>,
    connected: bool,
    /// Bytes that may be read.
    pub(super) credit: usize,
    receiving: bool,
    /// The last receive emptied the socket: wait for it to become readable.
    drained: bool,
    sending: bool,
    /// The kernel may read its front while `sending`.
    backlog: Backlog,
    /// FIN is to be sent when everything before it is.
    pub(super) fin: bool,
    fin_sent: bool,
    /// The target's FIN was reported.
    eof: bool,
}

impl Tcp {
    pub(super) fn new(target: SocketAddr) -> Tcp {
        Tcp {
            address: Box::new(RawAddress::new(target)),
            connected: false,
            credit: 0,
            receiving: false,
            drained: true,
            sending: false,
            backlog: Backlog::default(),
            fin: false,
            fin_sent: false,
            eof: false,
        }
    }
}

impl Uring {
    /// Starts the handshake of a connection that was just opened.
    pub(super) fn tcp_connect(&mut self, id: EgressId) {
        let Some(egress) = self.egress.get(id) else { return };
        let (Some(flow), Kind::Tcp(tcp)) = (&egress.flow, &egress.kind) else { return };
        let fd = Fd(flow.as_fd().as_raw_fd());
        let entry = opcode::Connect::new(fd, tcp.address.as_ptr(), tcp.address.len()).build();
        // SAFETY: the address is in a box that lives as long as the entry in the table, which is
        // removed only after the completion.
        if !unsafe { self.push_egress(id, entry, Token::TcpConnect(id.index)) }
            && let Some(egress) = self.egress.get(id)
        {
            let error = weir_core::port::EgressError::NoResources;
            egress.failed = Some(error);
            self.open_failed(id, error);
        }
    }

    pub(super) fn tcp_connected<H: Handler>(
        &mut self,
        now: Instant,
        index: u32,
        result: i32,
        handler: &mut H,
    ) {
        let Some((id, egress)) = self.egress.at(index) else { return };
        if egress.is_alive() {
            if result < 0 {
                self.stats.egress_open_failed += 1;
                self.break_tcp(now, id, -result, handler);
            } else if let (Kind::Tcp(tcp), Some(flow)) = (&mut egress.kind, &egress.flow) {
                tcp.connected = true;
                self.stats.egress_opened += 1;
                handler.handle_egress(now, EgressEvent::Opened { id, local: flow.local() });
                self.pump(id);
            }
        }
        self.operation_ended(index);
    }

    /// Changes a living connection, then does what that makes possible.
    pub(super) fn with_tcp(&mut self, id: EgressId, change: impl FnOnce(&mut Tcp)) {
        if let Some(egress) = self.egress.get(id)
            && egress.is_alive()
            && let Kind::Tcp(tcp) = &mut egress.kind
        {
            change(tcp);
            self.pump(id);
        }
    }

    pub(super) fn tcp_send(&mut self, id: EgressId, payload: Vec<u8>) {
        let Some(egress) = self.egress.get(id).filter(|egress| egress.is_alive()) else {
            return self.pool.give(payload);
        };
        let (Some(flow), Kind::Tcp(tcp)) = (&egress.flow, &mut egress.kind) else {
            return self.pool.give(payload);
        };
        if !tcp.connected || tcp.sending || !tcp.backlog.is_empty() || payload.is_empty() {
            tcp.backlog.push(&payload);
            return self.pool.give(payload);
        }
        if payload.len() >= DIRECT_BYTES {
            let sent =
                flow.socket().send_with_flags(&payload, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
            match sent.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO)) {
                Ok(bytes) => {
                    tcp.backlog.push(&payload[bytes..]);
                    self.stats.tcp_tx_bytes += bytes as u64;
                    self.ready.push(EgressEvent::TcpSent { id, bytes });
                }
                Err(libc::EAGAIN | libc::EINTR) => tcp.backlog.push(&payload),
                Err(errno) => {
                    let error = egress_error(errno);
                    egress.failed = Some(error);
                    self.ready.push(EgressEvent::Failed { id, error });
                }
            }
            self.pool.give(payload);
            return self.pump(id);
        }
        let fd = Fd(flow.as_fd().as_raw_fd());
        let whole = Train::to_target(0, payload.len());
        let (slot, started) = match self.sends.start(Purpose::Target(id), whole, payload) {
            Ok(started) => started,
            Err(payload) => {
                tcp.backlog.push(&payload);
                self.pool.give(payload);
                return self.pump(id);
            }
        };
        tcp.sending = true;
        let entry = send(fd, &started.payload, libc::MSG_DONTWAIT);
        // SAFETY: the payload stays in its slot until the completion frees it, and the descriptor
        // is closed only after it.
        if !unsafe { self.push_egress(id, entry, Token::TcpSend(slot)) } {
            let payload = self.sends.finish(slot);
            self.left_over(id, &payload);
            self.pool.give(payload);
        }
    }

    /// A send straight from the engine's buffer completed.
    pub(super) fn tcp_sent<H: Handler>(
        &mut self,
        now: Instant,
        slot: u32,
        result: i32,
        handler: &mut H,
    ) {
        let Some(Purpose::Target(id)) = self.sends.get(slot).map(|send| send.purpose) else {
            return;
        };
        let payload = self.sends.finish(slot);
        let sent = self.count_sent(now, id, result, handler);
        if let Some(sent) = sent {
            self.left_over(id, &payload[sent.min(payload.len())..]);
        }
        self.pool.give(payload);
        self.operation_ended(id.index);
    }

    /// A send from the backlog completed.
    pub(super) fn tcp_backlog_sent<H: Handler>(
        &mut self,
        now: Instant,
        index: u32,
        result: i32,
        handler: &mut H,
    ) {
        let Some((id, _)) = self.egress.at(index) else { return };
        let sent = self.count_sent(now, id, result, handler);
        if let Some(egress) = self.egress.get(id)
            && let Kind::Tcp(tcp) = &mut egress.kind
        {
            tcp.sending = false;
            if let Some(sent) = sent {
                tcp.backlog.advance(sent);
                self.pump(id);
            }
        }
        self.operation_ended(index);
    }

    /// Reports what the kernel took. `None` if the connection is dead.
    fn count_sent<H: Handler>(
        &mut self,
        now: Instant,
        id: EgressId,
        result: i32,
        handler: &mut H,
    ) -> Option<usize> {
        match usize::try_from(result) {
            Ok(0) => Some(0),
            Ok(bytes) => {
                self.stats.tcp_tx_bytes += bytes as u64;
                handler.handle_egress(now, EgressEvent::TcpSent { id, bytes });
                Some(bytes)
            }
            Err(_) if matches!(-result, libc::EAGAIN | libc::EINTR) => Some(0),
            Err(_) => {
                self.break_tcp(now, id, -result, handler);
                None
            }
        }
    }

    /// What a direct send did not take goes first in the backlog.
    fn left_over(&mut self, id: EgressId, rest: &[u8]) {
        if let Some(egress) = self.egress.get(id)
            && let Kind::Tcp(tcp) = &mut egress.kind
        {
            tcp.sending = false;
            tcp.backlog.resume(rest);
            self.pump(id);
        }
    }

    pub(super) fn tcp_received<H: Handler>(
        &mut self,
        now: Instant,
        index: u32,
        completion: Completion,
        handler: &mut H,
    ) {
        let Some((id, egress)) = self.egress.at(index) else { return };
        let alive = egress.is_alive();
        let Kind::Tcp(tcp) = &mut egress.kind else { return };
        tcp.receiving = false;
        tcp.drained = !cqueue::sock_nonempty(completion.flags);
        let mut broken = None;
        match completion.result {
            0 if alive => {
                tcp.eof = true;
                handler.handle_egress(now, EgressEvent::TcpEof { id });
            }
            result if result > 0 => {
                let bytes = result as usize;
                tcp.credit = tcp.credit.saturating_sub(bytes);
                self.stats.tcp_rx_bytes += bytes as u64;
                // Also while closing: the engine counts what came too late.
                if let Some(buffer) = completion.buffer() {
                    let data = self.target_buffers.received(buffer, bytes);
                    handler.handle_egress(now, EgressEvent::TcpReceived { id, data });
                }
            }
            result if result == -libc::ENOBUFS => {
                self.stats.rx_no_buffer += 1;
                self.target_buffers.ran_out();
            }
            result if result == 0 || -result == libc::EAGAIN || -result == libc::EINTR => {}
            result => broken = Some(-result),
        }
        if let Some(buffer) = completion.buffer() {
            let bytes = usize::try_from(completion.result).unwrap_or(0);
            self.target_buffers.give_back(buffer, bytes);
        }
        match broken {
            Some(errno) => self.break_tcp(now, id, errno, handler),
            // Not at once: the buffers of this turn must be back first.
            None if alive => self.look_later(id),
            None => {}
        }
        self.operation_ended(index);
    }

    /// Starts whatever a connection has to do and isn't doing.
    pub(super) fn pump(&mut self, id: EgressId) {
        let Some(egress) = self.egress.get(id).filter(|egress| egress.is_alive()) else { return };
        let (Some(flow), Kind::Tcp(tcp)) = (&egress.flow, &mut egress.kind) else { return };
        if !tcp.connected {
            return;
        }
        let fd = Fd(flow.as_fd().as_raw_fd());
        let idle = !tcp.sending && tcp.backlog.is_empty();
        if idle && tcp.fin && !tcp.fin_sent {
            tcp.fin_sent = true;
            // A system call, because io_uring hands shutdown to a kernel thread. Fails only if
            // the connection is gone, which the next receive reports.
            let _ = flow.socket().shutdown(Shutdown::Write);
        }
        let receive = (tcp.credit > 0 && !tcp.receiving && !tcp.eof).then(|| {
            let bytes = tcp.credit.min(MAX_TRAIN_BYTES) as u32;
            tcp.receiving = true;
            let first = if tcp.drained { POLL_FIRST } else { 0 };
            opcode::Recv::new(fd, std::ptr::null_mut(), bytes)
                .buf_group(super::TARGET_GROUP)
                .ioprio(first)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT)
        });
        let send = (!tcp.sending && !tcp.backlog.is_empty()).then(|| {
            tcp.sending = true;
            send(fd, tcp.backlog.next(), 0)
        });
        if let Some(entry) = receive {
            // SAFETY: the kernel writes to a buffer of the group, which lives until the ring is
            // quiet; the descriptor is closed only after the completion.
            let pushed = unsafe { self.push_egress(id, entry, Token::TcpReceive(id.index)) };
            self.unless(pushed, id, |tcp| tcp.receiving = false);
        }
        if let Some(entry) = send {
            // SAFETY: the front of the backlog is left alone while `sending`, and the entry in the
            // table lives until the completion.
            let pushed = unsafe { self.push_egress(id, entry, Token::TcpBacklog(id.index)) };
            self.unless(pushed, id, |tcp| tcp.sending = false);
        }
    }

    /// The queue took no more: undo, and try again in the next turn.
    fn unless(&mut self, pushed: bool, id: EgressId, undo: impl FnOnce(&mut Tcp)) {
        if pushed {
            return;
        }
        if let Some(egress) = self.egress.get(id)
            && let Kind::Tcp(tcp) = &mut egress.kind
        {
            undo(tcp);
        }
        self.look_later(id);
    }
}

fn send(fd: Fd, bytes: &[u8], flags: i32) -> squeue::Entry {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    opcode::Send::new(fd, bytes.as_ptr(), len).flags(libc::MSG_NOSIGNAL | flags).build()
}
