//! What waits to be written to one request stream.

use std::collections::VecDeque;

use bytes::Bytes;
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

    /// Writes as much as flow control takes.
    pub(super) fn write(&mut self, quic: &mut quinn_proto::Connection, id: StreamId) -> Written {
        let mut done = Written::default();
        let mut stream = quic.send_stream(id);
        while let Some(piece) = self.pieces.front_mut() {
            if !piece.bytes.is_empty() {
                match stream.write_chunks(std::slice::from_mut(&mut piece.bytes)) {
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
