//! HTTP Datagrams in QUIC DATAGRAM frames (RFC 9297 section 2.1), and whose turn it is to send.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use quinn_proto::{Dir, StreamId, VarInt};
use weir_proto::capsule::{UDP_HEADER_MAX_BYTES, write_udp_header};
use weir_proto::datagram::{self, HttpDatagram};
use weir_proto::h3::{DATA_HEADER_MAX_BYTES, write_data_header};
use weir_proto::{Error, H3Code};

use crate::core::Core;
use crate::ledger::DropReason;
use crate::meter::count_drop;
use crate::quic::{CLIENT_TRAIN_BYTES, DATAGRAM_RECORD, DATAGRAM_SEND_BUFFER};
use crate::tunnel::Traffic;
use crate::tunnel::udp::Udp;

use super::Connection;
use super::request::Phase;

/// Bytes that a tunnel may send before it is the next one's turn: eight full datagrams, so that
/// trains stay trains, and a small tunnel waits for little.
const QUANTUM: usize = 10_000;

/// What may wait in QUIC of a connection that is held back by congestion control or pacing: about
/// what pacing lets out at once. A payload that is there can't be overtaken by another tunnel's.
pub(super) const AHEAD_MIN: usize = 12_000;

/// The same for a connection that sends all it has: a train.
const AHEAD_MAX: usize = CLIENT_TRAIN_BYTES;

/// Capsules written ahead of what the stream takes; the rest waits in the tunnel's queue, where
/// the oldest can be dropped.
const CAPSULES_AHEAD_BYTES: usize = 64 << 10;

impl Connection {
    /// Takes all QUIC DATAGRAM frames that have arrived.
    pub(super) fn receive_datagrams(&mut self, core: &mut Core, now: Instant) {
        while let Some(frame) = self.quic.datagrams().recv() {
            let result = datagram::decode(frame).and_then(|d| self.route(core, d, now));
            if let Err(Error::Connection { code, reason }) = result {
                return self.close(core, now, code, reason);
            }
        }
    }

    /// Hands an HTTP Datagram to its tunnel.
    fn route(
        &mut self,
        core: &mut Core,
        datagram: HttpDatagram,
        now: Instant,
    ) -> Result<(), Error> {
        let HttpDatagram { stream_id, payload } = datagram;
        let Ok(id) = VarInt::from_u64(stream_id).map(StreamId::from) else {
            return Err(id_error());
        };
        let key = match self.last_route {
            Some((last, key)) if last == id => key,
            _ => match self.find_route(core, id)? {
                Route::Tunnel(key) => {
                    self.last_route = Some((id, key));
                    key
                }
                Route::TooEarly => {
                    if !self.early.keep(id, &payload) {
                        count_drop(&mut core.stats, DropReason::Early, 1);
                    }
                    return Ok(());
                }
                Route::Nowhere => {
                    core.stats.datagrams_unroutable += 1;
                    return Ok(());
                }
                Route::NoDatagrams => {
                    let reason = "an HTTP Datagram on a request that has none";
                    let error = Error::Stream { code: H3Code::DATAGRAM_ERROR, reason };
                    self.fail(core, id, error, now);
                    return Ok(());
                }
            },
        };
        if let Err(error) = self.http_datagram(core, id, key, payload, now) {
            self.fail(core, id, error, now);
        }
        Ok(())
    }

    fn find_route(&mut self, core: &Core, id: StreamId) -> Result<Route, Error> {
        if let Some(request) = self.requests.get(&id) {
            return Ok(match request.phase {
                Phase::Head | Phase::Admitting(_) => Route::TooEarly,
                Phase::Tunnel(key) => match core.tunnels[key].traffic {
                    Traffic::Udp(_) => Route::Tunnel(key),
                    Traffic::Tcp(_) => Route::NoDatagrams,
                },
                Phase::Resource(_) => Route::NoDatagrams,
                Phase::Answered => Route::Nowhere,
            });
        }
        if id.index() < self.requests_opened {
            return Ok(Route::Nowhere);
        }
        // Streams that the client may open by now (RFC 9297 section 2.1).
        let open = self.quic.streams().remote_open_streams(Dir::Bi);
        let allowed =
            self.requests_opened.saturating_sub(open) + self.quic.max_concurrent_streams(Dir::Bi);
        if id.index() >= allowed { Err(id_error()) } else { Ok(Route::TooEarly) }
    }

    /// A tunnel is gone.
    pub(super) fn unroute(&mut self, key: usize) {
        self.downlink.retain(|active| *active != key);
        if self.last_route.is_some_and(|(_, last)| last == key) {
            self.last_route = None;
        }
    }

    /// The longest QUIC DATAGRAM payload that can be sent now; `None` when HTTP Datagrams have to
    /// go in capsules.
    pub(crate) fn datagram_payload_max(&mut self) -> Option<usize> {
        if self.uni.allows_datagrams() { self.quic.datagrams().max_size() } else { None }
    }

    /// A UDP tunnel has something for the client.
    pub(crate) fn activate(&mut self, key: usize, udp: &mut Udp) {
        if !udp.set_active(true) {
            *udp.deficit() = QUANTUM;
            self.downlink.push_back(key);
        }
    }

    /// Fills the connection's queue of QUIC DATAGRAM frames, or its streams, by deficit round
    /// robin over the tunnels.
    pub(crate) fn fill(&mut self, core: &mut Core, now: Instant) {
        if self.downlink.is_empty() {
            return;
        }
        let quic_datagrams = self.datagram_payload_max();
        let mut room = self.ahead.saturating_sub(self.waiting_in_quic());
        while let Some(&key) = self.downlink.front() {
            let Some(Traffic::Udp(udp)) = core.tunnels.get_mut(key).map(|t| &mut t.traffic) else {
                self.downlink.pop_front();
                continue;
            };
            let Some(len) = udp.next_down() else {
                udp.set_active(false);
                self.downlink.pop_front();
                continue;
            };
            if len > *udp.deficit() {
                *udp.deficit() += QUANTUM;
                self.downlink.rotate_left(1);
                continue;
            }
            match quic_datagrams {
                Some(max) => {
                    let len = udp.prefix_len() + len;
                    // What no frame can carry is dropped: it must not wait for room forever, and
                    // everybody else behind it.
                    if room < len && len <= max {
                        return;
                    }
                    room = room.saturating_sub(len);
                    self.send_datagram(core, key, max);
                }
                None => self.send_capsule(core, key, now),
            }
        }
    }

    /// QUIC was asked for a train. What it lets wait grows as long as it sends everything, and
    /// shrinks when it is held back: queues belong into the tunnels, where they are fair and where
    /// the oldest can be dropped.
    pub(crate) fn adapt(&mut self, sent: bool) {
        match (sent, self.waiting_in_quic() == 0) {
            (true, true) => self.ahead = (self.ahead * 2).min(AHEAD_MAX),
            (false, false) => self.ahead = (self.ahead / 2).max(AHEAD_MIN),
            _ => {}
        }
    }

    /// Bytes of QUIC DATAGRAM frames that wait in QUIC; with each goes its record there.
    fn waiting_in_quic(&mut self) -> usize {
        (DATAGRAM_SEND_BUFFER - DATAGRAM_RECORD)
            .saturating_sub(self.quic.datagrams().send_buffer_space())
    }

    fn send_datagram(&mut self, core: &mut Core, key: usize, max: usize) {
        let tunnel = &mut core.tunnels[key];
        let Traffic::Udp(udp) = &mut tunnel.traffic else { return };
        let Some((datagram, prefix)) = udp.pop_down() else { return };
        let payload = datagram.len() - prefix;
        *udp.deficit() -= payload;
        let sent = datagram.len() <= max && self.quic.datagrams().send(datagram, false).is_ok();
        if sent {
            tunnel.meter.down_forwarded(&mut core.stats, 1, payload as u64);
        } else {
            // The path MTU shrank since it was queued.
            tunnel.meter.down_dropped(&mut core.stats, DropReason::TooBig, 1, payload as u64);
        }
        core.mark_moved(key);
    }

    fn send_capsule(&mut self, core: &mut Core, key: usize, now: Instant) {
        let tunnel = &mut core.tunnels[key];
        let id = tunnel.stream;
        let Traffic::Udp(udp) = &mut tunnel.traffic else { return };
        let Some(request) = self.requests.get_mut(&id) else {
            self.downlink.pop_front();
            return;
        };
        if request.out.payload_bytes() >= CAPSULES_AHEAD_BYTES {
            // Back on the list when the stream has taken some.
            udp.set_active(false);
            self.downlink.pop_front();
            return;
        }
        let Some((datagram, prefix)) = udp.pop_down() else { return };
        let payload = datagram.slice(prefix..);
        *udp.deficit() -= payload.len();
        request.out.push(capsule_header(core, payload.len()));
        request.out.push_payload(payload, 0);
        self.flush(core, id, now);
    }
}

enum Route {
    Tunnel(usize),
    /// Its request hasn't arrived.
    TooEarly,
    /// Its request is over.
    Nowhere,
    /// Its request is of a kind that has no HTTP Datagrams.
    NoDatagrams,
}

fn id_error() -> Error {
    Error::Connection { code: H3Code::ID_ERROR, reason: "a stream that can't be opened yet" }
}

/// DATA frame header, capsule header and Context ID of one UDP payload.
fn capsule_header(core: &mut Core, payload_len: usize) -> Bytes {
    let mut capsule = [0u8; UDP_HEADER_MAX_BYTES];
    let mut rest = &mut capsule[..];
    write_udp_header(payload_len, &mut rest);
    let left = rest.len();
    let capsule_len = UDP_HEADER_MAX_BYTES - left;
    let out: &mut BytesMut = core.chunks.take(DATA_HEADER_MAX_BYTES + capsule_len);
    write_data_header(capsule_len + payload_len, out);
    out.extend_from_slice(&capsule[..capsule_len]);
    core.chunks.cut().freeze()
}
