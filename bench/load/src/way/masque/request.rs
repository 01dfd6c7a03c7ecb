//! Requests on their streams: what is written, what is read.

use bytes::{Bytes, BytesMut};
use quinn_proto::{Connection, StreamId, VarInt};
use weir_proto::Target;
use weir_proto::h3::{
    DATA_HEADER_MAX_BYTES, FrameDecoder, FrameEvent, Peer, write_data_header, write_headers,
};
use weir_proto::request::client;
use weir_proto::template::{DEFAULT, UriTemplate};
use weir_proto::{qpack, response};

use super::super::{Happened, Kind, Tunnel};

/// The longest encoded field section of an answer, and the longest decoded one.
const HEADERS_MAX_BYTES: usize = 16 << 10;
const FIELDS_MAX_BYTES: usize = 64 << 10;
/// Payload of a DATA frame, at most.
const DATA_MAX_BYTES: usize = 64 << 10;
/// H3_NO_ERROR and H3_REQUEST_CANCELLED (RFC 9114 section 8.1).
pub(super) const NO_ERROR: u32 = 0x100;
const REQUEST_CANCELLED: u32 = 0x10c;

/// Makes requests.
#[derive(Debug)]
pub(super) struct Requests {
    server_name: String,
    authorization: Option<String>,
    template: UriTemplate,
}

impl Requests {
    pub(super) fn new(
        server_name: String,
        authorization: Option<String>,
    ) -> anyhow::Result<Requests> {
        let template = UriTemplate::parse(DEFAULT).map_err(|e| anyhow::anyhow!("{e}"))?;
        Ok(Requests { server_name, authorization, template })
    }

    pub(super) fn server_name(&self) -> &str {
        &self.server_name
    }

    /// A HEADERS frame.
    pub(super) fn frame(&self, kind: Kind, target: &str) -> Result<Bytes, String> {
        let target = Target::from_authority(target).map_err(|error| error.to_string())?;
        let authorization = self.authorization.as_deref();
        let fields = match kind {
            Kind::Udp => {
                client::connect_udp(&self.server_name, &self.template, &target, authorization)
            }
            Kind::Tcp => client::connect(&target, authorization),
        };
        let mut out = BytesMut::new();
        write_headers(&fields, &mut out);
        Ok(out.freeze())
    }
}

/// A request stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    decoder: FrameDecoder,
    /// Left of the header of a DATA frame, and of its payload.
    header: Bytes,
    frame: usize,
}

impl Stream {
    pub(super) fn new(id: StreamId) -> Stream {
        let decoder = FrameDecoder::new(Peer::Server, HEADERS_MAX_BYTES);
        Stream { id, decoder, header: Bytes::new(), frame: 0 }
    }

    /// Writes content in DATA frames and returns the bytes of it that were taken.
    pub(super) fn write(&mut self, quic: &mut Connection, data: &Bytes) -> usize {
        let mut taken = 0;
        let mut send = quic.send_stream(self.id);
        while taken < data.len() {
            if self.frame == 0 {
                self.frame = (data.len() - taken).min(DATA_MAX_BYTES);
                let mut header = BytesMut::with_capacity(DATA_HEADER_MAX_BYTES);
                write_data_header(self.frame, &mut header);
                self.header = header.freeze();
            }
            while !self.header.is_empty() {
                match send.write_chunks(std::slice::from_mut(&mut self.header)) {
                    Ok(written) if written.bytes > 0 => {}
                    _ => return taken,
                }
            }
            let part = data.slice(taken..data.len().min(taken + self.frame));
            match send.write_chunks(&mut [part]) {
                Ok(written) if written.bytes > 0 => {
                    taken += written.bytes;
                    self.frame -= written.bytes;
                }
                _ => return taken,
            }
        }
        taken
    }

    /// Decodes what came.
    pub(super) fn read(
        &mut self,
        bytes: &mut Bytes,
        kind: Kind,
        tunnel: Tunnel,
        told: &mut impl FnMut(Happened<'_>),
    ) -> Result<(), String> {
        while let Some(event) = self.decoder.decode(bytes).map_err(|error| error.to_string())? {
            match event {
                FrameEvent::Headers(section) => {
                    if is_success(section)? {
                        self.decoder.enter_tunnel();
                        told(Happened::Opened(tunnel));
                    }
                }
                FrameEvent::Data(content) if kind == Kind::Tcp => {
                    told(Happened::Data(tunnel, &content));
                }
                // Capsules of a UDP tunnel: the relay uses QUIC DATAGRAM frames.
                FrameEvent::Data(_) => {}
                FrameEvent::Trailers(_) => return Err("trailers in a tunnel".to_owned()),
            }
        }
        Ok(())
    }
}

/// True for 2xx, false for an interim answer.
fn is_success(section: Bytes) -> Result<bool, String> {
    let fields = qpack::decode(section, FIELDS_MAX_BYTES).map_err(|error| error.to_string())?;
    let response = response::parse(&fields).map_err(|error| error.to_string())?;
    match response.status {
        100..200 => Ok(false),
        200..300 => Ok(true),
        status => {
            let why = response.proxy_status.unwrap_or_default();
            Err(format!("the relay answered {status} {why}"))
        }
    }
}

/// Ends a stream in both directions; either may be over already.
pub(super) fn abandon(quic: &mut Connection, id: StreamId) {
    let _ = quic.send_stream(id).finish();
    let _ = quic.recv_stream(id).stop(VarInt::from_u32(REQUEST_CANCELLED));
}
