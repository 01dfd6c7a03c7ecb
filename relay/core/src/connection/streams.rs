//! Reading and ending QUIC streams.

use bytes::Bytes;
use quinn_proto::{ReadError, StreamId};
use weir_proto::H3Code;

use super::varint;

/// What a stream had to give.
pub(super) enum Read {
    Data(Bytes),
    /// Nothing now.
    Blocked,
    Finished,
    /// The client reset it.
    Reset,
    /// Stopped by us, or over.
    Closed,
}

/// Takes the next bytes off a stream, at most `max`; flow control credit for them goes back to the
/// client.
pub(super) fn read(quic: &mut quinn_proto::Connection, id: StreamId, max: usize) -> Read {
    let mut stream = quic.recv_stream(id);
    let Ok(mut chunks) = stream.read(true) else { return Read::Closed };
    let result = chunks.next(max);
    // Whether a frame is to be sent needs no answer: the connection is asked anyway.
    let _ = chunks.finalize();
    match result {
        Ok(Some(chunk)) => Read::Data(chunk.bytes),
        Ok(None) => Read::Finished,
        Err(ReadError::Blocked) => Read::Blocked,
        Err(ReadError::Reset(_)) => Read::Reset,
    }
}

/// Whether the client reset the stream. Unlike [`read`] it takes no data.
pub(super) fn was_reset(quic: &mut quinn_proto::Connection, id: StreamId) -> bool {
    matches!(quic.recv_stream(id).received_reset(), Ok(Some(_)))
}

/// Asks the client to send no more. Without effect on a stream that is over.
pub(super) fn stop(quic: &mut quinn_proto::Connection, id: StreamId, code: H3Code) {
    let _ = quic.recv_stream(id).stop(varint(code));
}

/// Ends both directions with an error. Without effect on a direction that is over.
pub(super) fn abort(quic: &mut quinn_proto::Connection, id: StreamId, code: H3Code) {
    let _ = quic.send_stream(id).reset(varint(code));
    stop(quic, id, code);
}
