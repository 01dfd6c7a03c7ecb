//! Receiving UDP trains by multishot `recvmsg`.

use std::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use io_uring::opcode;
use io_uring::types::{Fd, Fixed, RecvMsgOut};
use weir_core::port::{EgressEvent, EgressId, Handler, PacketMeta};

use super::ring::Completion;
use super::token::Token;
use super::{Kind, Uring};
use crate::addr::{self, ADDRESS_BYTES};
use crate::cmsg::{self, RECEIVE_BYTES};
use crate::errno::egress_error;
use crate::sockets::ClientSocket;

/// Start by waiting for the socket instead of trying to read it (IORING_RECVSEND_POLL_FIRST).
pub(super) const POLL_FIRST: u16 = 1;
/// Control bytes on target-facing sockets: the segment size, and room to spare.
const TARGET_CONTROL_BYTES: usize = 64;

/// What a multishot receive reserves before the payload. The kernel copies it at submission.
#[derive(Debug)]
pub(super) struct ReceiveHeader(Box<libc::msghdr>);

impl ReceiveHeader {
    pub(super) fn for_clients() -> ReceiveHeader {
        ReceiveHeader::new(ADDRESS_BYTES, RECEIVE_BYTES)
    }

    /// Target-facing sockets are connected: no name.
    pub(super) fn for_targets() -> ReceiveHeader {
        ReceiveHeader::new(0, TARGET_CONTROL_BYTES)
    }

    fn new(name_bytes: usize, control_bytes: usize) -> ReceiveHeader {
        // SAFETY: all zero is a valid msghdr.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_namelen = name_bytes as u32;
        header.msg_controllen = control_bytes as _;
        ReceiveHeader(Box::new(header))
    }
}

/// A client-facing socket.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) socket: ClientSocket,
    armed: bool,
    pub(super) offload: bool,
    /// A train was segmented: sends need no watching for a refused offload any more.
    pub(super) offload_proven: bool,
    overflow: u32,
}

impl Leg {
    pub(super) fn new(socket: ClientSocket) -> Leg {
        Leg { socket, armed: false, offload: true, offload_proven: false, overflow: 0 }
    }
}

impl Uring {
    /// Starts the receives on client-facing sockets that have none.
    pub(super) fn arm_clients(&mut self) {
        for (number, leg) in (0..).zip(&mut self.legs) {
            let Some(leg) = leg.as_mut().filter(|leg| !leg.armed) else { continue };
            let group = self.client_buffers.group();
            let entry =
                opcode::RecvMsgMulti::new(Fixed(number), &raw const *self.client_header.0, group);
            // SAFETY: the header is a box in `self`; the buffers live until the ring is quiet.
            let pushed = unsafe { self.ring.push(entry.build(), Token::ClientReceive(number)) };
            leg.armed = pushed.is_ok();
        }
    }

    pub(super) fn client_received<H: Handler>(
        &mut self,
        now: Instant,
        number: u32,
        completion: Completion,
        handler: &mut H,
    ) {
        let Some(leg) = &mut self.legs[number as usize] else { return };
        let stats = &mut self.stats;
        if !completion.more() {
            // Armed again before the next wait, when the buffers of this turn are back.
            leg.armed = false;
            if completion.result == -libc::ENOBUFS {
                stats.rx_no_buffer += 1;
                self.client_buffers.ran_out();
            }
        }
        let Some(buffer) = completion.buffer() else { return };
        let bytes = usize::try_from(completion.result).unwrap_or(0);
        let received = self.client_buffers.received(buffer, bytes);
        if let Ok(message) = RecvMsgOut::parse(received, &self.client_header.0) {
            let control = cmsg::parse(message.control_data());
            if let Some(overflow) = control.overflow {
                stats.rx_overflow += u64::from(overflow.wrapping_sub(leg.overflow));
                leg.overflow = overflow;
            }
            let train = message.payload_data();
            let remote = addr::parse(message.name_data());
            if message.is_payload_truncated() {
                stats.rx_truncated += 1;
            } else if let (Some(remote), false) = (remote, train.is_empty()) {
                stats.client_rx_trains += 1;
                stats.client_rx_bytes += train.len() as u64;
                let segment_size = control.segment_size.filter(|&n| n > 0).unwrap_or(train.len());
                let local_ip = control.destination;
                let meta = PacketMeta { remote, local_ip, ecn: control.ecn, segment_size };
                handler.handle_packets(now, &meta, train);
            }
        }
        self.client_buffers.give_back(buffer, bytes);
    }

    /// Starts the receive on a UDP socket that has none.
    pub(super) fn arm_udp(&mut self, id: EgressId) {
        let Some(egress) = self.egress.get(id) else { return };
        if !egress.is_alive() {
            return;
        }
        let (Some(flow), Kind::Udp { receiving: false, .. }) = (&egress.flow, &egress.kind) else {
            return;
        };
        let fd = Fd(flow.as_fd().as_raw_fd());
        let group = self.target_buffers.group();
        let entry = opcode::RecvMsgMulti::new(fd, &raw const *self.target_header.0, group)
            .ioprio(POLL_FIRST)
            .build();
        // SAFETY: the header is a box in `self`; the buffers live until the ring is quiet; the
        // descriptor is closed only when this operation has ended.
        let pushed = unsafe { self.push_egress(id, entry, Token::UdpReceive(id.index)) };
        match self.egress.get(id).map(|egress| &mut egress.kind) {
            Some(Kind::Udp { receiving, .. }) if pushed => *receiving = true,
            _ => self.look_later(id),
        }
    }

    pub(super) fn udp_received<H: Handler>(
        &mut self,
        now: Instant,
        index: u32,
        completion: Completion,
        handler: &mut H,
    ) {
        let Some((id, egress)) = self.egress.at(index) else { return };
        let alive = egress.is_alive();
        let stats = &mut self.stats;
        if let Some(buffer) = completion.buffer() {
            let bytes = usize::try_from(completion.result).unwrap_or(0);
            let received = self.target_buffers.received(buffer, bytes);
            match RecvMsgOut::parse(received, &self.target_header.0) {
                Ok(message) if message.is_payload_truncated() => stats.rx_truncated += 1,
                // Also while closing: the engine counts what came too late.
                Ok(message) => {
                    let train = message.payload_data();
                    stats.target_rx_trains += 1;
                    stats.target_rx_bytes += train.len() as u64;
                    let segment_size =
                        cmsg::parse(message.control_data()).segment_size.unwrap_or(train.len());
                    let event = EgressEvent::UdpReceived { id, train, segment_size };
                    handler.handle_egress(now, event);
                }
                Err(()) => {}
            }
            self.target_buffers.give_back(buffer, bytes);
        }
        if completion.more() {
            return;
        }
        if let Kind::Udp { receiving, .. } = &mut egress.kind {
            *receiving = false;
        }
        match -completion.result {
            libc::ENOBUFS => {
                stats.rx_no_buffer += 1;
                self.target_buffers.ran_out();
            }
            errno if errno > 0 && errno != libc::EAGAIN && alive => {
                let error = egress_error(errno);
                handler.handle_egress(now, EgressEvent::Failed { id, error });
            }
            _ => {}
        }
        if alive {
            self.look_later(id);
        }
        self.operation_ended(index);
    }
}
