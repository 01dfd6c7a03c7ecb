//! The client-facing half of TCP tunnels: the content of the request stream.

use std::time::Instant;

use bytes::{BufMut, Bytes};
use quinn_proto::{ReadError, StreamId};
use weir_proto::h3::{DATA_HEADER_MAX_BYTES, FrameDecoder, FrameEvent, write_data_header};
use weir_proto::{Error, H3Code};

use crate::core::Core;
use crate::port::{EgressId, EgressOp, MAX_TRAIN_BYTES};
use crate::tunnel::Traffic;
use crate::tunnel::tcp::{Down, Up};

use super::Connection;
use super::request::Phase;

/// How reading the request stream ended.
enum Uplink {
    /// Nothing more now, or no more room.
    Paused,
    /// The client finished its side.
    Ended,
    /// The client reset it.
    Cancelled,
}

impl Connection {
    /// The next operation for the socket of a TCP tunnel: read credit, payload or FIN.
    pub(crate) fn next_tcp_op(
        &mut self,
        core: &mut Core,
        key: usize,
        exit: EgressId,
        buffer: &mut Vec<u8>,
        now: Instant,
    ) -> Option<EgressOp> {
        let open = core.stream_room(key)?;
        let tunnel = &mut core.tunnels[key];
        let id = tunnel.stream;
        let Traffic::Tcp(tcp) = &mut tunnel.traffic else { return None };
        if let Some(op) = tcp.credit(exit, open) {
            return Some(op);
        }
        if tcp.up == Up::Open {
            let room = tcp.room(open).min(MAX_TRAIN_BYTES);
            match self.read_content(id, room, buffer) {
                Ok(Uplink::Paused) => {}
                Ok(Uplink::Ended) => tcp.up = Up::Ending,
                Ok(Uplink::Cancelled) => {
                    buffer.clear();
                    self.cancelled(core, id);
                    return None;
                }
                Err(error) => {
                    buffer.clear();
                    self.fail(core, id, error, now);
                    return None;
                }
            }
            // Reading gave flow control credit back to the client.
            self.touch(&mut core.dirty);
            if !buffer.is_empty() {
                tcp.handed_over(buffer.len());
                tunnel.meter.up_received(1, buffer.len() as u64);
                core.mark_moved(key);
                return Some(EgressOp::TcpSend { id: exit });
            }
        }
        let op = tcp.shutdown(exit);
        self.close_if_over(core, key);
        op
    }

    /// Payload from the target.
    pub(crate) fn tcp_downlink(&mut self, core: &mut Core, key: usize, data: &[u8], now: Instant) {
        let tunnel = &mut core.tunnels[key];
        let id = tunnel.stream;
        tunnel.meter.down_received(1, data.len() as u64);
        let out = core.chunks.take(DATA_HEADER_MAX_BYTES + data.len());
        write_data_header(data.len(), out);
        let header = out.len();
        out.put_slice(data);
        let piece = core.chunks.cut().freeze();
        core.mark_moved(key);
        if let Some(request) = self.requests.get_mut(&id) {
            request.out.push_payload(piece, header);
        }
        self.flush(core, id, now);
    }

    /// The target sent FIN: finish the stream after what is queued.
    pub(crate) fn tcp_eof(&mut self, core: &mut Core, key: usize, now: Instant) {
        let tunnel = &mut core.tunnels[key];
        let id = tunnel.stream;
        let Traffic::Tcp(tcp) = &mut tunnel.traffic else { return };
        if tcp.down != Down::Open {
            return;
        }
        tcp.down = Down::Ending;
        if let Some(request) = self.requests.get_mut(&id) {
            request.out.finish();
        }
        self.flush(core, id, now);
    }

    /// The stream of a TCP tunnel is finished.
    pub(super) fn tcp_finished(&mut self, core: &mut Core, key: usize, _now: Instant) {
        if let Traffic::Tcp(tcp) = &mut core.tunnels[key].traffic {
            tcp.down = Down::Ended;
        }
        self.close_if_over(core, key);
    }

    /// The connection took payload of a tunnel.
    pub(super) fn forwarded(&mut self, core: &mut Core, key: usize, bytes: usize, pieces: u64) {
        let tunnel = &mut core.tunnels[key];
        tunnel.meter.down_forwarded(&mut core.stats, pieces, bytes as u64);
        match &mut tunnel.traffic {
            Traffic::Tcp(tcp) => {
                tcp.taken(bytes);
                core.mark_ready(key);
            }
            Traffic::Udp(udp) => {
                if udp.next_down().is_some() {
                    self.activate(key, udp);
                }
            }
        }
        core.mark_moved(key);
    }

    /// Closes a TCP tunnel that is done in both directions.
    pub(crate) fn close_if_over(&mut self, core: &mut Core, key: usize) {
        let tunnel = &core.tunnels[key];
        let id = tunnel.stream;
        if !matches!(&tunnel.traffic, Traffic::Tcp(tcp) if tcp.is_over()) {
            return;
        }
        core.close_tunnel(key, false);
        if let Some(request) = self.requests.get_mut(&id) {
            request.phase = Phase::Answered;
        }
        self.forget(core, id);
    }

    /// Reads payload of at most `room` bytes into `buffer`.
    fn read_content(
        &mut self,
        id: StreamId,
        room: usize,
        buffer: &mut Vec<u8>,
    ) -> Result<Uplink, Error> {
        let Some(request) = self.requests.get_mut(&id) else { return Ok(Uplink::Paused) };
        // What came with HEADERS is at most a packet, and the first to be read.
        append(&mut request.decoder, std::mem::take(&mut request.rest), buffer)?;
        let mut stream = self.quic.recv_stream(id);
        let Ok(mut chunks) = stream.read(true) else { return Ok(Uplink::Paused) };
        let result = loop {
            if buffer.len() >= room {
                break Ok(Uplink::Paused);
            }
            match chunks.next(room - buffer.len()) {
                Ok(Some(chunk)) => {
                    if let Err(error) = append(&mut request.decoder, chunk.bytes, buffer) {
                        break Err(error);
                    }
                }
                Ok(None) => break request.decoder.finish().map(|()| Uplink::Ended),
                Err(ReadError::Blocked) => break Ok(Uplink::Paused),
                Err(ReadError::Reset(_)) => break Ok(Uplink::Cancelled),
            }
        };
        // Whether a frame is to be sent needs no answer: the connection is asked anyway.
        let _ = chunks.finalize();
        result
    }

    /// The payer has paid: write what was held back.
    pub(crate) fn resume(&mut self, core: &mut Core, key: usize, now: Instant) {
        let id = core.tunnels[key].stream;
        self.flush(core, id, now);
    }

    /// The target reset the connection (RFC 9114 section 4.4).
    pub(crate) fn tcp_reset(&mut self, core: &mut Core, key: usize) {
        core.stats.tunnels_reset_by_target += 1;
        self.end_tunnel(core, key, H3Code::CONNECT_ERROR);
    }
}

/// Copies the payload of DATA frames to where it leaves from.
fn append(decoder: &mut FrameDecoder, mut chunk: Bytes, out: &mut Vec<u8>) -> Result<(), Error> {
    while let Some(event) = decoder.decode(&mut chunk)? {
        if let FrameEvent::Data(payload) = event {
            out.extend_from_slice(&payload);
        }
    }
    Ok(())
}
