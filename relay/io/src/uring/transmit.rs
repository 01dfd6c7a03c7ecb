//! Sending UDP trains.

use std::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use io_uring::opcode;
use io_uring::types::{Fd, Fixed};
use weir_core::port::{EgressError, EgressEvent, EgressId, Handler, Transmit};

use super::ring::Ring;
use super::sends::Purpose;
use super::token::Token;
use super::{Kind, Uring};
use crate::errno::egress_error;
use crate::message::Train;
use crate::send::{Outcome, resend, send};

/// Payloads of this size and more are sent by a system call at once instead of with the turn's
/// submission: the call is cheap beside the payload, which is still in the cache, and so is the
/// buffer when it is used again.
pub(super) const DIRECT_BYTES: usize = 16 << 10;
/// Sends never wait: see the module above.
const SEND_FLAGS: u32 = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as u32;

/// True if a train is sent by a system call: a large one, or one that goes out as many calls
/// anyway.
fn is_direct(train: &Train, bytes: usize, offload: bool) -> bool {
    bytes >= DIRECT_BYTES || train.is_many() && !(offload && train.fits_offload(bytes))
}

/// Lets what was queued before a direct send leave before it: QUIC takes reordering for loss.
fn submit_queued(ring: &mut Ring, queued_sends: &mut bool) {
    if mem::take(queued_sends) {
        // If this fails, so will the turn, which reports it.
        let _ = ring.enter(0, None);
    }
}

impl Uring {
    pub(super) fn send_to_client(&mut self, transmit: &Transmit, payload: Vec<u8>) {
        let number = usize::from(transmit.destination.is_ipv6());
        let Some(leg) = &mut self.legs[number] else {
            self.stats.client_tx_errors += 1;
            return self.pool.give(payload);
        };
        let train = Train::to_client(transmit, payload.len());
        if is_direct(&train, payload.len(), leg.offload) {
            submit_queued(&mut self.ring, &mut self.queued_sends);
            let socket = leg.socket.as_fd();
            let outcome = send(socket, &mut self.message, &train, &payload, leg.offload);
            self.stats.count_client(&outcome);
            leg.offload_proven |= train.is_many() && !outcome.offload_refused;
            if outcome.offload_refused && mem::replace(&mut leg.offload, false) {
                self.stats.gso_disabled += 1;
            }
            return self.pool.give(payload);
        }
        // Its completion comes within the submission and needs no answer, unless it might be the
        // first to say that the offload is refused: it doesn't end the wait of the turn.
        let quiet = leg.offload_proven || !train.is_many();
        let (slot, started) = match self.sends.start(Purpose::Client(number), train, payload) {
            Ok(started) => started,
            Err(payload) => {
                self.stats.client_tx_full += 1;
                return self.pool.give(payload);
            }
        };
        started.message.describe(&train, true);
        let header = started.message.point_at(&started.payload);
        let entry = opcode::SendMsg::new(Fixed(number as u32), header).flags(SEND_FLAGS).build();
        // SAFETY: the slot and its payload stay as they are until the completion frees the slot.
        if unsafe { self.ring.push(entry, Token::Send(slot)) }.is_ok() {
            self.quiet += usize::from(quiet);
            self.queued_sends = true;
        } else {
            self.stats.client_tx_full += 1;
            let payload = self.sends.finish(slot);
            self.pool.give(payload);
        }
    }

    pub(super) fn send_to_target(
        &mut self,
        id: EgressId,
        segment_size: usize,
        datagrams: u32,
        payload: Vec<u8>,
    ) {
        let train = Train::to_target(segment_size, payload.len());
        let dropped = |error| {
            let bytes = payload.len() as u64;
            EgressEvent::UdpDropped { id, datagrams, bytes, error }
        };
        let Some(egress) = self.egress.get(id) else { return self.pool.give(payload) };
        let (Some(flow), None, Kind::Udp { offload, .. }) =
            (&egress.flow, egress.closing, &mut egress.kind)
        else {
            let error = egress.failed.unwrap_or(EgressError::Other(libc::EBADF));
            self.ready.push(dropped(error));
            return self.pool.give(payload);
        };
        if is_direct(&train, payload.len(), *offload) {
            submit_queued(&mut self.ring, &mut self.queued_sends);
            let outcome = send(flow.as_fd(), &mut self.message, &train, &payload, *offload);
            self.stats.count_target(&outcome);
            if outcome.offload_refused && mem::replace(offload, false) {
                self.stats.gso_disabled += 1;
            }
            if outcome.is_smooth() {
                self.reports.extend(outcome.events(id));
                self.report_soon = true;
            } else {
                self.ready.extend(outcome.events(id));
            }
            return self.pool.give(payload);
        }
        let fd = Fd(flow.as_fd().as_raw_fd());
        let lost = dropped(EgressError::NoResources);
        let (slot, started) = match self.sends.start(Purpose::Target(id), train, payload) {
            Ok(started) => started,
            Err(payload) => {
                self.ready.push(lost);
                return self.pool.give(payload);
            }
        };
        started.message.describe(&train, true);
        let header = started.message.point_at(&started.payload);
        let entry = opcode::SendMsg::new(fd, header).flags(SEND_FLAGS).build();
        // SAFETY: the slot and its payload stay as they are until the completion frees the slot,
        // and the descriptor is closed only after it.
        if unsafe { self.push_egress(id, entry, Token::Send(slot)) } {
            self.quiet += 1;
            self.report_soon = true;
            self.queued_sends = true;
        } else {
            self.ready.push(lost);
            let payload = self.sends.finish(slot);
            self.pool.give(payload);
        }
    }

    /// A send completed: count it, or go on after its error.
    pub(super) fn udp_sent<H: Handler>(
        &mut self,
        now: Instant,
        slot: u32,
        result: i32,
        handler: &mut H,
    ) {
        let Some(sent) = self.sends.get(slot) else { return };
        let (train, purpose) = (sent.train, sent.purpose);
        match purpose {
            Purpose::Client(number) => {
                if let Some(leg) = &mut self.legs[number] {
                    let outcome = if result >= 0 {
                        leg.offload_proven |= train.is_many();
                        Outcome::all(&train, sent.payload.len())
                    } else {
                        let socket = leg.socket.as_fd();
                        resend(socket, &mut sent.message, &train, &sent.payload, -result)
                    };
                    self.stats.count_client(&outcome);
                    if outcome.offload_refused && mem::replace(&mut leg.offload, false) {
                        self.stats.gso_disabled += 1;
                    }
                }
            }
            Purpose::Target(id) => {
                if let Some(egress) = self.egress.get(id) {
                    let outcome = match (&egress.flow, result) {
                        (Some(flow), ..0) => {
                            let socket = flow.as_fd();
                            resend(socket, &mut sent.message, &train, &sent.payload, -result)
                        }
                        _ => Outcome::all(&train, sent.payload.len()),
                    };
                    self.stats.count_target(&outcome);
                    if let Kind::Udp { offload, .. } = &mut egress.kind
                        && outcome.offload_refused
                        && mem::replace(offload, false)
                    {
                        self.stats.gso_disabled += 1;
                    }
                    for event in outcome.events(id) {
                        handler.handle_egress(now, event);
                    }
                    self.operation_ended(id.index);
                }
            }
        }
        let payload = self.sends.finish(slot);
        self.pool.give(payload);
    }

    /// Reports that a TCP connection is dead, once.
    pub(super) fn break_tcp<H: Handler>(
        &mut self,
        now: Instant,
        id: EgressId,
        errno: i32,
        handler: &mut H,
    ) {
        if let Some(egress) = self.egress.get(id).filter(|egress| egress.is_alive()) {
            let error = egress_error(errno);
            egress.failed = Some(error);
            handler.handle_egress(now, EgressEvent::Failed { id, error });
        }
    }
}
