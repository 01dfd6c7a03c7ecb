//! What waits to be written to one request stream.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};
use quinn_proto::{StreamId, WriteError};

/// Pieces of a stream in order; some carry payload of a tunnel behind a header.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    pieces: VecDeque<Piece>,
    payload_bytes: usize,
    finish: bool,
}

#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    /// Bytes at the front that are not payload.
    header: usize,
    /// Whether this piece ends one read or one datagram, for the meter.
    counted: bool,
}

/// How far a write came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    /// Payload bytes that the connection took.
    pub(super) payload: usize,
    /// Payload pieces that are complete.
    pub(super) pieces: u64,
    /// Everything is written, the end of the stream too if it was asked for.
    pub(super) finished: bool,
    /// More could be written than there was room for.
    pub(super) uncovered: bool,
    /// The client doesn't want more, or the stream is over.
    pub(super) stopped: bool,
}

impl SendQueue {
    /// Queues bytes that are no payload.
    pub(super) fn push(&mut self, bytes: Bytes) {
        let header = bytes.len();
        self.pieces.push_back(Piece { bytes, header, counted: false });
    }

    /// Queues payload behind `header` bytes of framing.
    pub(super) fn push_payload(&mut self, bytes: Bytes, header: usize) {
        self.payload_bytes += bytes.len() - header;
        self.pieces.push_back(Piece { bytes, header, counted: true });
    }

    /// Finish the stream after what is queued.
    pub(super) fn finish(&mut self) {
        self.finish = true;
    }

    /// Payload bytes that wait.
    pub(super) fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// Writes as much as flow control takes, and no more than `room` bytes of payload.
    pub(super) fn write(
        &mut self,
        quic: &mut quinn_proto::Connection,
        id: StreamId,
        room: u64,
    ) -> Written {
        let mut done = Written::default();
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let mut stream = quic.send_stream(id);
        while let Some(piece) = self.pieces.front_mut() {
            if !piece.bytes.is_empty() {
                let covered = piece.header.saturating_add(room - done.payload);
                if covered == 0 {
                    done.uncovered = true;
                    return done;
                }
                let result = if covered < piece.bytes.len() {
                    let mut part = [piece.bytes.slice(..covered)];
                    let written = stream.write_chunks(&mut part);
                    written.inspect(|written| piece.bytes.advance(written.bytes))
                } else {
                    stream.write_chunks(std::slice::from_mut(&mut piece.bytes))
                };
                match result {
                    Ok(written) => {
                        let header = written.bytes.min(piece.header);
                        piece.header -= header;
                        let payload = written.bytes - header;
                        done.payload += payload;
                        self.payload_bytes -= payload;
                    }
                    Err(WriteError::Blocked) => return done,
                    Err(WriteError::Stopped(_) | WriteError::ClosedStream) => {
                        done.stopped = true;
                        return done;
                    }
                }
                if !piece.bytes.is_empty() {
                    continue;
                }
            }
            done.pieces += u64::from(piece.counted);
            self.pieces.pop_front();
        }
        if self.finish {
            done.finished = true;
            // Fails only for a stream that the client stopped, which is as good as finished.
            let _ = stream.finish();
        }
        done
    }
}
