//! A client: QUIC by quinn-proto, HTTP/3 by weir-proto, told what to do by a test.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use quinn_proto::congestion::CubicConfig;
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{
    ClientConfig, ConnectionError, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig,
    Event, ReadError, StreamEvent, StreamId, TransportConfig, VarInt,
};
use weir_proto::capsule::{CapsuleDecoder, CapsuleEvent, write_udp_header};
use weir_proto::datagram::{UdpDatagram, decode, decode_udp, write_prefix};
use weir_proto::h3::{
    CriticalStreams, FrameDecoder, FrameEvent, Peer, Settings, UniEvent, UniStream,
    write_control_preamble, write_data_header, write_headers,
};
use weir_proto::request::client as fields;
use weir_proto::response::{self, Response};
use weir_proto::template::{DEFAULT, UriTemplate};
use weir_proto::{Field, Target, qpack};

use crate::config::GRANT_TOKEN;
use crate::tls;

/// What kind of client.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Says SETTINGS_H3_DATAGRAM=1.
    pub h3_datagram: bool,
    /// Sends SETTINGS at all; a client that doesn't still gets its capsules.
    pub settings: bool,
    /// Bytes the relay may send ahead on one stream.
    pub stream_window: u32,
    /// Sent as Bearer with every request.
    pub token: Option<String>,
    /// What it takes in one QUIC DATAGRAM; 0 takes none.
    pub datagram_buffer: usize,
    /// Bytes that may be under way before anything is acknowledged; `None` is the usual.
    pub initial_window: Option<u64>,
    /// Shared by clients that resume each other's sessions; `None` is a new one.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            h3_datagram: true,
            settings: true,
            stream_window: 1 << 20,
            token: Some(GRANT_TOKEN.to_owned()),
            datagram_buffer: 4 << 20,
            initial_window: None,
            tls: None,
        }
    }
}

/// One request and what came back.
#[derive(Debug)]
pub struct Stream {
    decoder: FrameDecoder,
    capsules: CapsuleDecoder,
    is_udp: bool,
    pub response: Option<Response>,
    pub fields: Vec<Field>,
    /// Content of a TCP tunnel or a resource.
    pub data: Vec<u8>,
    /// UDP payloads, however they came.
    pub datagrams: Vec<Vec<u8>>,
    pub by_capsule: usize,
    pub by_quic: usize,
    pub finished: bool,
    /// Error code of RESET_STREAM.
    pub reset: Option<u64>,
    /// Error code of STOP_SENDING.
    pub stopped: Option<u64>,
    /// Don't read: the window fills up.
    pub paused: bool,
    outgoing: VecDeque<Bytes>,
    finish: bool,
    /// Bytes that the connection took.
    pub written: usize,
}

#[derive(Debug)]
pub struct Client {
    pub address: SocketAddr,
    pub quic: quinn_proto::Connection,
    pub options: ClientOptions,
    pub streams: HashMap<StreamId, Stream>,
    pub settings: Option<Settings>,
    pub goaway: Option<u64>,
    pub connected: bool,
    pub closed: Option<ConnectionError>,
    /// HTTP Datagrams for streams that are unknown.
    pub stray: usize,
    endpoint: Endpoint,
    critical: CriticalStreams,
    uni: HashMap<StreamId, UniStream>,
    control: Option<StreamId>,
}

impl Client {
    pub fn new(
        address: SocketAddr,
        relay: SocketAddr,
        options: ClientOptions,
        seed: [u8; 32],
        now: Instant,
    ) -> Self {
        let mut endpoint =
            Endpoint::new(Arc::new(EndpointConfig::default()), None, true, Some(seed));
        let tls = options.tls.clone().unwrap_or_else(tls::client);
        let crypto = QuicClientConfig::try_from(tls).expect("ring has AES-128-GCM");
        let mut config = ClientConfig::new(Arc::new(crypto));
        let mut transport = TransportConfig::default();
        transport
            .stream_receive_window(VarInt::from_u32(options.stream_window))
            .max_idle_timeout(Some(VarInt::from_u32(300_000).into()))
            .datagram_receive_buffer_size(
                (options.datagram_buffer > 0).then_some(options.datagram_buffer),
            )
            .datagram_send_buffer_size(4 << 20);
        if let Some(window) = options.initial_window {
            let mut congestion = CubicConfig::default();
            congestion.initial_window(window);
            transport.congestion_controller_factory(Arc::new(congestion));
        }
        config.transport_config(Arc::new(transport));
        let (_, quic) =
            endpoint.connect(now, config, relay, tls::SERVER_NAME).expect("a valid address");
        Client {
            address,
            quic,
            options,
            streams: HashMap::new(),
            settings: None,
            goaway: None,
            connected: false,
            closed: None,
            stray: 0,
            endpoint,
            critical: CriticalStreams::new(Peer::Server),
            uni: HashMap::new(),
            control: None,
        }
    }

    /// CONNECT-UDP to `target`, such as `192.0.2.1:53` or `name.test:53`.
    pub fn open_udp(&mut self, target: &str) -> StreamId {
        let target = Target::from_authority(target).expect("a target");
        let template = UriTemplate::parse(DEFAULT).expect("a template");
        let fields =
            fields::connect_udp(tls::SERVER_NAME, &template, &target, self.bearer().as_deref());
        self.request(&fields, true)
    }

    /// CONNECT to `target`.
    pub fn open_tcp(&mut self, target: &str) -> StreamId {
        let target = Target::from_authority(target).expect("a target");
        self.request(&fields::connect(&target, self.bearer().as_deref()), false)
    }

    /// A request for a resource of the relay.
    pub fn resource(&mut self, method: &str, path: &str, body: &[u8]) -> StreamId {
        let length = (!body.is_empty()).then_some(body.len() as u64);
        let bearer = self.bearer();
        let fields = fields::resource(method, tls::SERVER_NAME, path, length, bearer.as_deref());
        let id = self.request(&fields, false);
        if !body.is_empty() {
            self.send(id, body);
        }
        self.finish(id);
        id
    }

    /// A request with any fields.
    pub fn request(&mut self, fields: &[Field], is_udp: bool) -> StreamId {
        let mut out = BytesMut::new();
        write_headers(fields, &mut out);
        let id = self.raw_stream(is_udp);
        self.send_raw(id, &out);
        id
    }

    /// A request stream on which nothing was sent.
    pub fn raw_stream(&mut self, is_udp: bool) -> StreamId {
        let id = self.quic.streams().open(Dir::Bi).expect("a stream may be opened");
        self.streams.insert(
            id,
            Stream {
                decoder: FrameDecoder::new(Peer::Server, 1 << 16),
                capsules: CapsuleDecoder::new(),
                is_udp,
                response: None,
                fields: Vec::new(),
                data: Vec::new(),
                datagrams: Vec::new(),
                by_capsule: 0,
                by_quic: 0,
                finished: false,
                reset: None,
                stopped: None,
                paused: false,
                outgoing: VecDeque::new(),
                finish: false,
                written: 0,
            },
        );
        id
    }

    /// A unidirectional stream with these bytes.
    pub fn raw_uni(&mut self, bytes: &[u8]) -> StreamId {
        let id = self.quic.streams().open(Dir::Uni).expect("a stream may be opened");
        let written = self.quic.send_stream(id).write(bytes).expect("room for a few bytes");
        assert_eq!(written, bytes.len());
        id
    }

    /// Bytes of a request stream as they are.
    pub fn send_raw(&mut self, id: StreamId, bytes: &[u8]) {
        self.stream(id).outgoing.push_back(Bytes::copy_from_slice(bytes));
    }

    /// Content in one DATA frame.
    pub fn send(&mut self, id: StreamId, content: &[u8]) {
        let mut out = BytesMut::new();
        write_data_header(content.len(), &mut out);
        out.extend_from_slice(content);
        self.send_raw(id, &out);
    }

    pub fn finish(&mut self, id: StreamId) {
        self.stream(id).finish = true;
    }

    pub fn reset(&mut self, id: StreamId, code: u32) {
        let _ = self.quic.send_stream(id).reset(VarInt::from_u32(code));
        let _ = self.quic.recv_stream(id).stop(VarInt::from_u32(code));
    }

    /// A UDP payload in a QUIC DATAGRAM frame. Says whether the connection took it.
    pub fn send_udp(&mut self, id: StreamId, payload: &[u8]) -> bool {
        let mut out = BytesMut::new();
        write_prefix(id.into(), &mut out);
        out.extend_from_slice(payload);
        self.raw_datagram(out.freeze())
    }

    /// Any QUIC DATAGRAM frame.
    pub fn raw_datagram(&mut self, frame: Bytes) -> bool {
        self.quic.datagrams().send(frame, true).is_ok()
    }

    /// A UDP payload in a capsule.
    pub fn send_udp_capsule(&mut self, id: StreamId, payload: &[u8]) {
        let mut out = BytesMut::new();
        write_udp_header(payload.len(), &mut out);
        out.extend_from_slice(payload);
        self.send(id, &out);
    }

    pub fn stream(&mut self, id: StreamId) -> &mut Stream {
        self.streams.get_mut(&id).expect("a stream of this client")
    }

    /// The status of an answer, 0 while there is none.
    pub fn status(&self, id: StreamId) -> u16 {
        self.streams[&id].response.as_ref().map_or(0, |response| response.status)
    }

    pub fn proxy_status(&self, id: StreamId) -> String {
        let response = self.streams[&id].response.as_ref();
        response.and_then(|response| response.proxy_status.clone()).unwrap_or_default()
    }

    /// Whether the stream ended in whatever way.
    pub fn is_over(&self, id: StreamId) -> bool {
        let stream = &self.streams[&id];
        stream.finished || stream.reset.is_some() || self.closed.is_some()
    }

    /// The H3 error code with which the relay closed the connection.
    pub fn close_code(&self) -> Option<u64> {
        match &self.closed {
            Some(ConnectionError::ApplicationClosed(close)) => Some(close.error_code.into()),
            _ => None,
        }
    }

    fn bearer(&self) -> Option<String> {
        self.options.token.as_ref().map(|token| format!("Bearer {token}"))
    }

    /// A packet of the relay.
    pub fn handle_packet(&mut self, relay: SocketAddr, packet: &[u8], now: Instant) {
        let mut response = Vec::new();
        let data = BytesMut::from(packet);
        let event = self.endpoint.handle(now, relay, None, None, data, &mut response);
        if let Some(DatagramEvent::ConnectionEvent(_, event)) = event {
            self.quic.handle_event(event);
        }
    }

    pub fn poll_timeout(&mut self) -> Option<Instant> {
        self.quic.poll_timeout()
    }

    /// Acts on what happened and returns the packets to send.
    pub fn pump(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let trains = self.pump_trains(now, 16);
        trains.iter().flat_map(|(size, train)| train.chunks(*size)).map(<[u8]>::to_vec).collect()
    }

    /// The same in trains of at most `datagrams` packets, each with the length of all its packets
    /// but the last.
    pub fn pump_trains(&mut self, now: Instant, datagrams: usize) -> Vec<(usize, Vec<u8>)> {
        self.quic.handle_timeout(now);
        while let Some(event) = self.quic.poll() {
            self.event(event);
        }
        let ids: Vec<_> = self.streams.keys().copied().collect();
        for id in ids {
            self.write(id);
            self.read(id);
        }
        while let Some(event) = self.quic.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(ConnectionHandle(0), event) {
                self.quic.handle_event(event);
            }
        }
        let mut trains = Vec::new();
        loop {
            let mut buffer = Vec::new();
            let Some(transmit) = self.quic.poll_transmit(now, datagrams, &mut buffer) else {
                return trains;
            };
            trains.push((transmit.segment_size.unwrap_or(buffer.len()), buffer));
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Connected => {
                self.connected = true;
                if self.options.settings {
                    let settings =
                        Settings { h3_datagram: self.options.h3_datagram, ..Settings::default() };
                    let mut out = BytesMut::new();
                    write_control_preamble(&settings, &mut out);
                    self.control = Some(self.raw_uni(&out));
                }
            }
            Event::ConnectionLost { reason } => self.closed = Some(reason),
            Event::DatagramReceived => {
                while let Some(frame) = self.quic.datagrams().recv() {
                    assert!(
                        self.options.h3_datagram && self.options.settings,
                        "a QUIC DATAGRAM that was not allowed"
                    );
                    let datagram = decode(frame).expect("a valid HTTP Datagram");
                    let Ok(UdpDatagram::Payload(payload)) = decode_udp(datagram.payload) else {
                        panic!("not a UDP payload");
                    };
                    let id = StreamId::from(VarInt::from_u64(datagram.stream_id).expect("an id"));
                    match self.streams.get_mut(&id) {
                        Some(stream) => {
                            stream.by_quic += 1;
                            stream.datagrams.push(payload.to_vec());
                        }
                        None => self.stray += 1,
                    }
                }
            }
            Event::Stream(StreamEvent::Opened { dir: Dir::Uni }) => {
                while let Some(id) = self.quic.streams().accept(Dir::Uni) {
                    self.uni.insert(id, UniStream::new());
                    self.read_uni(id);
                }
            }
            Event::Stream(StreamEvent::Readable { id }) if id.dir() == Dir::Uni => {
                self.read_uni(id);
            }
            Event::Stream(StreamEvent::Stopped { id, error_code }) => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.stopped = Some(error_code.into());
                    stream.outgoing.clear();
                }
            }
            _ => {}
        }
    }

    fn read_uni(&mut self, id: StreamId) {
        let Ok(chunks) = &mut self.quic.recv_stream(id).read(true).map(|mut chunks| {
            let mut all = Vec::new();
            while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
                all.push(chunk.bytes);
            }
            let _ = chunks.finalize();
            all
        }) else {
            return;
        };
        let Some(stream) = self.uni.get_mut(&id) else { return };
        for chunk in chunks {
            while let Some(event) =
                stream.decode(&mut self.critical, chunk).expect("valid streams of the relay")
            {
                match event {
                    UniEvent::Settings(settings) => self.settings = Some(settings),
                    UniEvent::GoAway(id) => self.goaway = Some(id),
                    _ => {}
                }
            }
        }
    }

    fn write(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let mut send = self.quic.send_stream(id);
        while let Some(chunk) = stream.outgoing.front_mut() {
            match send.write_chunks(std::slice::from_mut(chunk)) {
                Ok(written) => stream.written += written.bytes,
                Err(_) => return,
            }
            if chunk.is_empty() {
                stream.outgoing.pop_front();
            }
        }
        if std::mem::take(&mut stream.finish) {
            let _ = send.finish();
        }
    }

    fn read(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.paused || stream.finished || stream.reset.is_some() {
            return;
        }
        let mut recv = self.quic.recv_stream(id);
        let Ok(mut chunks) = recv.read(true) else { return };
        let mut got = Vec::new();
        loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => got.push(chunk.bytes),
                Ok(None) => {
                    stream.finished = true;
                    break;
                }
                Err(ReadError::Blocked) => break,
                Err(ReadError::Reset(code)) => {
                    stream.reset = Some(code.into());
                    break;
                }
            }
        }
        let _ = chunks.finalize();
        for mut chunk in got {
            stream.take(&mut chunk);
        }
    }
}

impl Stream {
    /// Takes back what was not written yet.
    pub fn take_outgoing(&mut self) -> Vec<u8> {
        self.outgoing.drain(..).flat_map(|chunk| chunk.to_vec()).collect()
    }

    fn take(&mut self, chunk: &mut Bytes) {
        while let Some(event) = self.decoder.decode(chunk).expect("valid frames of the relay") {
            match event {
                FrameEvent::Headers(section) => {
                    self.fields = qpack::decode(section, 1 << 16).expect("valid fields");
                    let response = response::parse(&self.fields).expect("a valid response");
                    if (200..300).contains(&response.status) && self.is_udp {
                        assert!(response.capsule_protocol, "2xx without capsule-protocol");
                    }
                    self.response = Some(response);
                }
                FrameEvent::Data(mut content) if self.is_udp => {
                    while let Some(event) = self.capsules.decode(&mut content) {
                        let CapsuleEvent::Datagram(payload) = event else {
                            panic!("an odd capsule: {event:?}");
                        };
                        let Ok(UdpDatagram::Payload(payload)) = decode_udp(payload) else {
                            panic!("not a UDP payload");
                        };
                        self.by_capsule += 1;
                        self.datagrams.push(payload.to_vec());
                    }
                }
                FrameEvent::Data(content) => self.data.extend_from_slice(&content),
                FrameEvent::Trailers(_) => panic!("trailers"),
            }
        }
    }
}
