//! The SETTINGS frame (RFC 9114 §7.2.4).

use bytes::BytesMut;

use crate::{Error, H3Code, varint};

/// Settings of one side. Values are as RFC 9114 §7.2.4.1, RFC 9204 §5, RFC 9220 §5 and
/// RFC 9297 §2.1.1 define them; what the peer left out has its default value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of dynamic table that the other side's encoder may use.
    pub qpack_max_table_capacity: u64,
    /// Streams that may wait for the dynamic table.
    pub qpack_blocked_streams: u64,
    /// The largest field section, in the bytes of [`crate::Field::size`]; `None` is no limit.
    pub max_field_section_size: Option<u64>,
    /// Extended CONNECT is understood.
    pub enable_connect_protocol: bool,
    /// HTTP Datagrams may come in QUIC DATAGRAM frames.
    pub h3_datagram: bool,
}

const QPACK_MAX_TABLE_CAPACITY: u64 = 0x01;
const MAX_FIELD_SECTION_SIZE: u64 = 0x06;
const QPACK_BLOCKED_STREAMS: u64 = 0x07;
const ENABLE_CONNECT_PROTOCOL: u64 = 0x08;
const H3_DATAGRAM: u64 = 0x33;

/// Identifiers of HTTP/2 that have no meaning here (RFC 9114 §7.2.4.1, §11.2.2).
const HTTP_2: [u64; 5] = [0x00, 0x02, 0x03, 0x04, 0x05];

/// Settings accepted in one frame. Known clients send fewer than ten; the limit bounds the search
/// for duplicates.
const MAX_SETTINGS: usize = 64;

/// A grease identifier, 0x1f * 27 + 0x21: it keeps clients honest about ignoring unknown settings
/// (RFC 9114 §7.2.4.1).
const GREASE: u64 = 0x1f * 27 + 0x21;

impl Settings {
    /// What the relay sends: no dynamic table, extended CONNECT, HTTP Datagrams.
    pub const fn relay(max_field_section_size: u64) -> Self {
        Self {
            qpack_max_table_capacity: 0,
            qpack_blocked_streams: 0,
            max_field_section_size: Some(max_field_section_size),
            enable_connect_protocol: true,
            h3_datagram: true,
        }
    }

    /// Reads the payload of a SETTINGS frame.
    ///
    /// # Errors
    /// A connection error: H3_FRAME_ERROR when it is cut short, H3_SETTINGS_ERROR for a duplicate,
    /// a setting of HTTP/2 or a value out of range, H3_EXCESSIVE_LOAD for too many settings.
    pub fn decode(mut payload: &[u8]) -> Result<Self, Error> {
        let mut settings = Self::default();
        let mut seen = [0u64; MAX_SETTINGS];
        let mut count = 0;
        while !payload.is_empty() {
            let id = next(&mut payload)?;
            let value = next(&mut payload)?;
            if seen[..count].contains(&id) {
                return Err(wrong("a setting is given twice"));
            }
            let Some(slot) = seen.get_mut(count) else {
                return Err(Error::connection(H3Code::EXCESSIVE_LOAD, "more than 64 settings"));
            };
            *slot = id;
            count += 1;
            settings.set(id, value)?;
        }
        Ok(settings)
    }

    /// Writes the payload of a SETTINGS frame, with one grease setting.
    pub fn encode(&self, out: &mut BytesMut) {
        let mut put = |id: u64, value: u64| {
            varint::write(id, out);
            varint::write(value, out);
        };
        put(QPACK_MAX_TABLE_CAPACITY, self.qpack_max_table_capacity);
        put(QPACK_BLOCKED_STREAMS, self.qpack_blocked_streams);
        if let Some(size) = self.max_field_section_size {
            put(MAX_FIELD_SECTION_SIZE, size);
        }
        put(ENABLE_CONNECT_PROTOCOL, u64::from(self.enable_connect_protocol));
        put(H3_DATAGRAM, u64::from(self.h3_datagram));
        put(GREASE, 0);
    }

    /// Whether a client that resumes with these settings in mind is served at least as well by
    /// `newer`, which is what 0-RTT needs (RFC 9114 §7.2.4.2, RFC 9297 §2.1.1).
    pub fn allow_early_data_with(&self, newer: &Self) -> bool {
        let size = |settings: &Self| settings.max_field_section_size.unwrap_or(u64::MAX);
        newer.qpack_max_table_capacity == self.qpack_max_table_capacity
            && newer.qpack_blocked_streams >= self.qpack_blocked_streams
            && size(newer) >= size(self)
            && newer.enable_connect_protocol >= self.enable_connect_protocol
            && newer.h3_datagram >= self.h3_datagram
    }

    fn set(&mut self, id: u64, value: u64) -> Result<(), Error> {
        match id {
            QPACK_MAX_TABLE_CAPACITY => self.qpack_max_table_capacity = value,
            QPACK_BLOCKED_STREAMS => self.qpack_blocked_streams = value,
            MAX_FIELD_SECTION_SIZE => self.max_field_section_size = Some(value),
            ENABLE_CONNECT_PROTOCOL => {
                self.enable_connect_protocol =
                    boolean(value, "SETTINGS_ENABLE_CONNECT_PROTOCOL is neither 0 nor 1")?;
            }
            H3_DATAGRAM => {
                self.h3_datagram = boolean(value, "SETTINGS_H3_DATAGRAM is neither 0 nor 1")?;
            }
            _ if HTTP_2.contains(&id) => return Err(wrong("a setting of HTTP/2")),
            _ => {}
        }
        Ok(())
    }
}

fn boolean(value: u64, reason: &'static str) -> Result<bool, Error> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(wrong(reason)),
    }
}

fn next(payload: &mut &[u8]) -> Result<u64, Error> {
    let (value, len) = varint::read(payload)
        .ok_or(Error::connection(H3Code::FRAME_ERROR, "SETTINGS ends inside a setting"))?;
    *payload = &payload[len..];
    Ok(value)
}

const fn wrong(reason: &'static str) -> Error {
    Error::connection(H3Code::SETTINGS_ERROR, reason)
}
