//! HTTP/3 framing (RFC 9114): frames of request streams, the control stream and its SETTINGS, the
//! other unidirectional streams.

mod frame;
mod settings;
mod uni;
mod write;

pub(crate) use frame::collect;

pub use frame::{FrameDecoder, FrameEvent};
pub use settings::Settings;
pub use uni::{CriticalStreams, UniEvent, UniStream};
pub use write::{
    DATA_HEADER_MAX_BYTES, write_control_preamble, write_data_header, write_goaway, write_headers,
};

/// Who is at the other end of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// We are the relay.
    Client,
    /// We are a client; used by tests and simulations.
    Server,
}

/// Frame types (RFC 9114 §7.2).
mod kind {
    pub(super) const DATA: u64 = 0x00;
    pub(super) const HEADERS: u64 = 0x01;
    pub(super) const CANCEL_PUSH: u64 = 0x03;
    pub(super) const SETTINGS: u64 = 0x04;
    pub(super) const PUSH_PROMISE: u64 = 0x05;
    pub(super) const GOAWAY: u64 = 0x07;
    pub(super) const MAX_PUSH_ID: u64 = 0x0d;
    /// Frames of HTTP/2 that have no meaning here (RFC 9114 §7.2.8).
    pub(super) const HTTP_2: [u64; 4] = [0x02, 0x06, 0x08, 0x09];
}
