//! CONNECT-UDP (RFC 9298): queues between HTTP Datagrams and a connected UDP socket.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{BufMut, Bytes};
use weir_proto::datagram::{MAX_UDP_PAYLOAD_BYTES, Prefix};

use crate::connection::Connection;
use crate::core::Core;
use crate::ledger::DropReason;
use crate::port::{EgressError, EgressId, EgressOp, MAX_TRAIN_SEGMENTS};
use crate::quic::CLIENT_TRAIN_BYTES;

use super::Phase;

/// Datagrams queued per tunnel and direction. The bound in bytes doesn't hold small ones down, and
/// each of them may keep a whole piece of memory alive.
const QUEUE_DATAGRAMS_MAX: usize = 2048;

/// ICMP errors without a datagram in between after which the target counts as gone and the request
/// stream is reset (RFC 9298 section 6). One alone may be an echo of a service that restarts.
const ERRORS_TOLERATED: u32 = 8;

/// A UDP payload that fits every path: the smallest MTU of IPv6 less the headers.
const FITS_EVERYWHERE: usize = 1280 - 48;

#[derive(Debug)]
pub(crate) struct Udp {
    /// To the target.
    up: VecDeque<Bytes>,
    up_bytes: usize,
    /// To the client, each with its prefix in front.
    down: VecDeque<Bytes>,
    down_bytes: usize,
    prefix: Prefix,
    /// Bytes that the tunnel may still hand over in its turn.
    deficit: usize,
    /// Whether it is on its connection's list of those with something to send.
    active: bool,
    errors: u32,
    /// Length of datagrams that the path is known to take.
    fits: usize,
    pub(crate) last_activity: Instant,
}

impl Udp {
    pub(crate) fn new(stream_id: u64, now: Instant) -> Self {
        Udp {
            up: VecDeque::new(),
            up_bytes: 0,
            down: VecDeque::new(),
            down_bytes: 0,
            prefix: Prefix::new(stream_id),
            deficit: 0,
            active: false,
            errors: 0,
            fits: FITS_EVERYWHERE,
            last_activity: now,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.up = VecDeque::new();
        self.up_bytes = 0;
        self.down = VecDeque::new();
        self.down_bytes = 0;
        self.active = false;
    }

    /// Payload length of the next datagram to the client.
    pub(crate) fn next_down(&self) -> Option<usize> {
        self.down.front().map(|datagram| datagram.len() - self.prefix.len())
    }

    /// The next datagram to the client and the length of its prefix.
    pub(crate) fn pop_down(&mut self) -> Option<(Bytes, usize)> {
        let datagram = self.down.pop_front()?;
        self.down_bytes -= datagram.len() - self.prefix.len();
        Some((datagram, self.prefix.len()))
    }

    /// Payload that waits, both directions together.
    pub(super) fn queued_bytes(&self) -> usize {
        self.up_bytes + self.down_bytes
    }

    pub(crate) fn prefix_len(&self) -> usize {
        self.prefix.len()
    }

    pub(crate) fn deficit(&mut self) -> &mut usize {
        &mut self.deficit
    }

    pub(crate) fn set_active(&mut self, active: bool) -> bool {
        std::mem::replace(&mut self.active, active)
    }
}

/// A UDP payload from the client, by QUIC DATAGRAM or by capsule.
pub(crate) fn uplink(core: &mut Core, key: usize, payload: Bytes, now: Instant) {
    let out_of_credit = core.credit_room(key) == 0;
    let Core { tunnels, limits, stats, egress, .. } = core;
    let tunnel = &mut tunnels[key];
    let len = payload.len();
    tunnel.meter.up_received(1, len as u64);
    let open = matches!(tunnel.phase, Phase::Open(_));
    let super::Traffic::Udp(udp) = &mut tunnel.traffic else { return };
    udp.last_activity = now;
    if out_of_credit {
        tunnel.meter.up_dropped(stats, DropReason::Credit, 1, len as u64);
    } else if open {
        while udp.up_bytes + len > limits.udp_queue_bytes || udp.up.len() >= QUEUE_DATAGRAMS_MAX {
            let Some(oldest) = udp.up.pop_front() else { break };
            udp.up_bytes -= oldest.len();
            tunnel.meter.up_dropped(stats, DropReason::QueueFull, 1, oldest.len() as u64);
        }
        udp.up_bytes += len;
        udp.up.push_back(payload);
        egress.make_ready(key, &mut tunnel.ready);
    } else if udp.up_bytes + len > limits.early_bytes || udp.up.len() >= QUEUE_DATAGRAMS_MAX {
        // The first datagrams of a flow are its handshake: keep those, not the latest.
        tunnel.meter.up_dropped(stats, DropReason::Early, 1, len as u64);
    } else {
        udp.up_bytes += len;
        // A copy, because it may stay for as long as a name takes to resolve, and a slice would
        // keep a whole piece of memory alive meanwhile.
        udp.up.push_back(Bytes::copy_from_slice(&payload));
    }
    core.mark_moved(key);
}

/// The socket is open: what came early goes first.
pub(crate) fn opened(core: &mut Core, key: usize, now: Instant) {
    let idle = core.limits.udp_idle;
    let tunnel = &mut core.tunnels[key];
    let timer = tunnel.timer;
    if let Some(udp) = tunnel.udp() {
        udp.last_activity = now;
    }
    core.set_timer(timer, Some(now + idle));
}

/// The idle timer fired. `true` when the tunnel really was silent for so long; otherwise the timer
/// is set again, which is cheaper than to move it with every datagram.
pub(crate) fn is_idle(core: &mut Core, key: usize, now: Instant) -> bool {
    let idle = core.limits.udp_idle;
    let tunnel = &mut core.tunnels[key];
    let timer = tunnel.timer;
    let Some(udp) = tunnel.udp() else { return false };
    let until = udp.last_activity + idle;
    if until <= now {
        return true;
    }
    core.set_timer(timer, Some(until));
    false
}

/// The kernel took a train.
pub(crate) fn sent(core: &mut Core, key: usize, datagrams: u32, bytes: u64) {
    let Core { tunnels, stats, .. } = core;
    let tunnel = &mut tunnels[key];
    tunnel.meter.up_forwarded(stats, datagrams.into(), bytes);
    if let super::Traffic::Udp(udp) = &mut tunnel.traffic {
        // All but the last have the same length, so the average is never above it.
        let len = bytes.checked_div(datagrams.into()).unwrap_or(0);
        udp.fits = udp.fits.max(len as usize);
    }
    core.mark_moved(key);
}

/// The kernel refused a train; nothing of it left.
pub(crate) fn refused(core: &mut Core, key: usize, datagrams: u32, bytes: u64, error: EgressError) {
    let Core { tunnels, stats, .. } = core;
    let tunnel = &mut tunnels[key];
    let reason = match error {
        EgressError::TooBig => DropReason::TooBig,
        _ => DropReason::SendFailed,
    };
    tunnel.meter.up_dropped(stats, reason, datagrams.into(), bytes);
    if let super::Traffic::Udp(udp) = &mut tunnel.traffic {
        udp.fits = FITS_EVERYWHERE;
    }
    core.mark_moved(key);
}

/// The next train to the target: datagrams of one length, the last may be shorter.
pub(crate) fn next_train(
    core: &mut Core,
    key: usize,
    id: EgressId,
    buffer: &mut Vec<u8>,
) -> Option<EgressOp> {
    let udp = core.tunnels[key].udp()?;
    let first = udp.up.pop_front()?;
    udp.up_bytes -= first.len();
    buffer.extend_from_slice(&first);
    let segment_size = first.len();
    // The kernel takes or refuses a train as a whole. A probe of the path MTU must not take a
    // shorter datagram down with it.
    let takes_shorter = segment_size <= udp.fits;
    let mut datagrams = 1;
    while segment_size > 0 && datagrams < MAX_TRAIN_SEGMENTS {
        let Some(next) = udp.up.front() else { break };
        let fits = buffer.len() + next.len() <= CLIENT_TRAIN_BYTES;
        if next.is_empty() || next.len() > segment_size || !fits {
            break;
        }
        let shorter = next.len() < segment_size;
        if shorter && !takes_shorter {
            break;
        }
        buffer.extend_from_slice(next);
        datagrams += 1;
        udp.up_bytes -= next.len();
        udp.up.pop_front();
        if shorter {
            break;
        }
    }
    Some(EgressOp::UdpSend { id, segment_size, datagrams: datagrams as u32 })
}

/// A GRO train from the target.
pub(crate) fn downlink(
    connection: &mut Connection,
    core: &mut Core,
    key: usize,
    train: &[u8],
    segment_size: usize,
    now: Instant,
) {
    let mut room = core.credit_room(key);
    // A datagram that is too long for QUIC DATAGRAM is dropped rather than sent as a capsule, so
    // that path MTU discovery inside the tunnel finds the limit (RFC 9298 section 5).
    let payload_max = connection.datagram_payload_max();
    let Core { tunnels, limits, stats, chunks, .. } = core;
    let tunnel = &mut tunnels[key];
    let super::Traffic::Udp(udp) = &mut tunnel.traffic else { return };
    udp.last_activity = now;
    udp.errors = 0;
    let prefix_len = udp.prefix.len();
    let payload_max =
        payload_max.map_or(MAX_UDP_PAYLOAD_BYTES, |max| max.saturating_sub(prefix_len));
    let mut rest = train;
    loop {
        let (payload, tail) = rest.split_at(rest.len().min(segment_size));
        rest = tail;
        let len = payload.len();
        tunnel.meter.down_received(1, len as u64);
        if room == 0 {
            tunnel.meter.down_dropped(stats, DropReason::Credit, 1, len as u64);
        } else if len > payload_max {
            tunnel.meter.down_dropped(stats, DropReason::TooBig, 1, len as u64);
        } else {
            while udp.down_bytes + len > limits.udp_queue_bytes
                || udp.down.len() >= QUEUE_DATAGRAMS_MAX
            {
                let Some(oldest) = udp.down.pop_front() else { break };
                let oldest = oldest.len() - prefix_len;
                udp.down_bytes -= oldest;
                tunnel.meter.down_dropped(stats, DropReason::QueueFull, 1, oldest as u64);
            }
            let out = chunks.take(prefix_len + len);
            out.put_slice(&udp.prefix);
            out.put_slice(payload);
            udp.down_bytes += len;
            udp.down.push_back(chunks.cut().freeze());
            // The one that goes beyond is a debt: nobody waits for a rest that fits nothing.
            room = room.saturating_sub(len as u64);
        }
        if rest.is_empty() || segment_size == 0 {
            break;
        }
    }
    if !udp.down.is_empty() {
        connection.activate(key, udp);
        connection.touch(&mut core.dirty);
    }
    core.mark_moved(key);
}

/// An ICMP error of the target. Says whether the tunnel goes on.
pub(crate) fn failed(core: &mut Core, key: usize, error: EgressError) -> bool {
    let Some(udp) = core.tunnels[key].udp() else { return true };
    match error {
        // A larger datagram than the path takes: the sender's path MTU discovery learns from the
        // silence, and the socket is as good as before.
        EgressError::TooBig => true,
        _ => {
            udp.errors += 1;
            udp.errors < ERRORS_TOLERATED
        }
    }
}
