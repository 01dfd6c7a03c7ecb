//! Writers of frames.

use bytes::{BufMut, BytesMut};

use super::{Settings, kind};
use crate::{Field, qpack, varint};

/// The most that [`write_data_header`] writes.
pub const DATA_HEADER_MAX_BYTES: usize = 1 + varint::MAX_LEN;

/// Stream type of the control stream (RFC 9114 §6.2.1).
pub(super) const CONTROL_STREAM: u64 = 0x00;

/// Writes what our control stream begins with: its type and SETTINGS. Without a dynamic table no
/// QPACK stream is needed (RFC 9204 §4.2).
pub fn write_control_preamble(settings: &Settings, out: &mut BytesMut) {
    let mut payload = BytesMut::new();
    settings.encode(&mut payload);
    varint::write(CONTROL_STREAM, out);
    varint::write(kind::SETTINGS, out);
    varint::write(payload.len() as u64, out);
    out.extend_from_slice(&payload);
}

/// Writes a GOAWAY frame. From a relay `id` is the first request stream that it won't process; a
/// later GOAWAY must not have a higher one (RFC 9114 §5.2).
pub fn write_goaway(id: u64, out: &mut BytesMut) {
    varint::write(kind::GOAWAY, out);
    varint::write(varint::len(id) as u64, out);
    varint::write(id, out);
}

/// Writes a HEADERS frame.
pub fn write_headers(fields: &[Field], out: &mut BytesMut) {
    let mut section = BytesMut::new();
    qpack::encode(fields, &mut section);
    varint::write(kind::HEADERS, out);
    varint::write(section.len() as u64, out);
    out.extend_from_slice(&section);
}

/// Writes the header of a DATA frame whose payload of `len` bytes follows. Does not allocate when
/// `out` has [`DATA_HEADER_MAX_BYTES`] to spare.
#[inline]
pub fn write_data_header(len: usize, out: &mut impl BufMut) {
    varint::write(kind::DATA, out);
    varint::write(len as u64, out);
}
