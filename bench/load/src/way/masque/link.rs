//! One HTTP/3 connection to the relay.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use quinn_proto::{
    Connection, ConnectionHandle, Dir, Event, ReadError, StreamEvent, StreamId, VarInt,
};
use weir_core::port::EgressId;
use weir_proto::datagram::{Prefix, UdpDatagram, decode, decode_udp};
use weir_proto::h3::{
    CriticalStreams, Peer, Settings, UniEvent, UniStream, write_control_preamble,
};

use super::request::{self, NO_ERROR, Stream};
use super::{Happened, Masque, Sink, Tunnel};

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: EgressId,
    pub(super) quic: Option<Connection>,
    pub(super) handle: ConnectionHandle,
    pub(super) dirty: bool,
    pub(super) is_lost: bool,
    /// Tunnels whose request isn't sent yet.
    pub(super) waiting: VecDeque<Tunnel>,
    /// The most room for HTTP Datagrams that was seen: none wait.
    pub(super) room: usize,
    settings: Option<Settings>,
    critical: CriticalStreams,
    uni: HashMap<StreamId, UniStream>,
    /// By Quarter Stream ID.
    tunnels: Vec<Option<Tunnel>>,
}

impl Link {
    pub(super) fn new(id: EgressId) -> Link {
        Link {
            id,
            quic: None,
            handle: ConnectionHandle(usize::MAX),
            dirty: false,
            is_lost: false,
            waiting: VecDeque::new(),
            room: 0,
            settings: None,
            critical: CriticalStreams::new(Peer::Server),
            uni: HashMap::new(),
            tunnels: Vec::new(),
        }
    }

    pub(super) fn connected(&mut self, handle: ConnectionHandle, quic: Connection) {
        self.handle = handle;
        self.quic = Some(quic);
    }

    /// True when requests may be sent: extended CONNECT waits for the relay's SETTINGS (RFC 9220
    /// section 3).
    pub(super) fn is_up(&self) -> bool {
        self.settings.is_some()
    }

    pub(super) fn close(&mut self, now: Instant) {
        if let Some(quic) = &mut self.quic {
            quic.close(now, VarInt::from_u32(NO_ERROR), Bytes::new());
        }
    }

    pub(super) fn forget(&mut self, id: StreamId) {
        if let Some(place) = self.tunnels.get_mut(id.index() as usize) {
            *place = None;
        }
    }

    fn enter(&mut self, id: StreamId, tunnel: Tunnel) {
        let place = id.index() as usize;
        if self.tunnels.len() <= place {
            self.tunnels.resize(place + 1, None);
        }
        self.tunnels[place] = Some(tunnel);
    }

    fn tunnel(&self, id: StreamId) -> Option<Tunnel> {
        self.tunnels.get(id.index() as usize).copied().flatten()
    }

    /// Tells the relay that HTTP Datagrams are welcome.
    fn greet(&mut self) {
        let Some(quic) = &mut self.quic else { return };
        let mut out = BytesMut::new();
        let settings = Settings { h3_datagram: true, ..Settings::default() };
        write_control_preamble(&settings, &mut out);
        if let Some(id) = quic.streams().open(Dir::Uni) {
            // A fresh connection has room for these few bytes.
            let _ = quic.send_stream(id).write(&out);
        }
    }

    fn read_uni(&mut self, id: StreamId) -> Result<(), String> {
        let Some(quic) = &mut self.quic else { return Ok(()) };
        let stream = self.uni.entry(id).or_default();
        let mut receive = quic.recv_stream(id);
        let Ok(mut chunks) = receive.read(true) else { return Ok(()) };
        let mut result = Ok(());
        while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
            let mut bytes = chunk.bytes;
            while result.is_ok() {
                match stream.decode(&mut self.critical, &mut bytes) {
                    Ok(Some(UniEvent::Settings(settings))) => self.settings = Some(settings),
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => result = Err(error.to_string()),
                }
            }
        }
        let _ = chunks.finalize();
        result
    }
}

impl Masque {
    /// Sends requests as long as the relay allows more streams.
    pub(super) fn request(&mut self, index: usize) {
        let link = &mut self.links[index];
        if !link.is_up() {
            return;
        }
        while let Some(&tunnel) = link.waiting.front() {
            let state = &mut self.tunnels[tunnel.index()];
            if state.closed {
                link.waiting.pop_front();
                self.tunnels.remove(tunnel.index());
                continue;
            }
            let Some(quic) = &mut link.quic else { return };
            let Some(id) = quic.streams().open(Dir::Bi) else { return };
            link.waiting.pop_front();
            // The target of a spec is an address, which is always an authority.
            let Ok(frame) = self.requests.frame(state.kind, &state.target.to_string()) else {
                continue;
            };
            // Requests are small beside the window of a new stream.
            let _ = quic.send_stream(id).write_chunks(&mut [frame]);
            state.stream = Some(Stream::new(id));
            state.prefix = Prefix::new(id.into());
            link.enter(id, tunnel);
        }
    }

    /// Acts on what the connection says.
    pub(super) fn drive<S: Sink + ?Sized>(&mut self, now: Instant, index: usize, sink: &mut S) {
        while let Some(event) = self.links[index].quic.as_mut().and_then(Connection::poll) {
            match event {
                Event::Connected => self.links[index].greet(),
                Event::DatagramReceived => self.read_datagrams(now, index, sink),
                Event::Stream(StreamEvent::Opened { dir: Dir::Uni }) => {
                    while let Some(id) = self.accept_uni(index) {
                        self.read_uni(now, index, id, sink);
                    }
                }
                Event::Stream(StreamEvent::Readable { id }) if id.dir() == Dir::Uni => {
                    self.read_uni(now, index, id, sink);
                }
                Event::Stream(StreamEvent::Readable { id }) => self.read(now, index, id, sink),
                Event::Stream(StreamEvent::Writable { id }) => {
                    if let Some(tunnel) = self.links[index].tunnel(id) {
                        sink.happened(now, Happened::Writable(tunnel));
                    }
                }
                Event::ConnectionLost { reason } => {
                    self.lose(now, index, &reason.to_string(), sink);
                }
                _ => {}
            }
        }
    }

    fn accept_uni(&mut self, index: usize) -> Option<StreamId> {
        self.links[index].quic.as_mut()?.streams().accept(Dir::Uni)
    }

    fn read_uni<S: Sink + ?Sized>(
        &mut self,
        now: Instant,
        index: usize,
        id: StreamId,
        sink: &mut S,
    ) {
        let link = &mut self.links[index];
        let was_up = link.is_up();
        if let Err(why) = link.read_uni(id) {
            link.close(now);
            return self.lose(now, index, &why, sink);
        }
        if link.is_up() && !was_up && !link.is_lost {
            self.settled += 1;
        }
    }

    fn read_datagrams<S: Sink + ?Sized>(&mut self, now: Instant, index: usize, sink: &mut S) {
        let link = &mut self.links[index];
        let Some(quic) = &mut link.quic else { return };
        while let Some(frame) = quic.datagrams().recv() {
            // What is no HTTP Datagram, or belongs to no tunnel, shows as lost.
            let Ok(datagram) = decode(frame) else { continue };
            let place = (datagram.stream_id / 4) as usize;
            let Some(tunnel) = link.tunnels.get(place).copied().flatten() else { continue };
            if let Ok(UdpDatagram::Payload(payload)) = decode_udp(datagram.payload) {
                sink.happened(now, Happened::Datagram(tunnel, &payload));
            }
        }
    }

    /// Reads a request stream.
    fn read<S: Sink + ?Sized>(&mut self, now: Instant, index: usize, id: StreamId, sink: &mut S) {
        let link = &mut self.links[index];
        let Some(tunnel) = link.tunnel(id) else { return };
        let state = &mut self.tunnels[tunnel.index()];
        let (Some(quic), Some(stream)) = (&mut link.quic, &mut state.stream) else { return };
        let mut receive = quic.recv_stream(id);
        let Ok(mut chunks) = receive.read(true) else { return };
        let outcome = loop {
            match chunks.next(usize::MAX) {
                Ok(Some(mut chunk)) => {
                    let mut told = |what: Happened<'_>| sink.happened(now, what);
                    if let Err(why) = stream.read(&mut chunk.bytes, state.kind, tunnel, &mut told) {
                        break Some(Err(why));
                    }
                }
                Ok(None) => break Some(Ok(())),
                Err(ReadError::Blocked) => break None,
                Err(ReadError::Reset(code)) => {
                    break Some(Err(format!("the relay reset the stream with {code}")));
                }
            }
        };
        // Flow control credit goes out with the next flush: the link is touched by whoever calls.
        let _ = chunks.finalize();
        match outcome {
            None => {}
            Some(Ok(())) => sink.happened(now, Happened::Ended(tunnel)),
            Some(Err(why)) => {
                request::abandon(quic, id);
                link.forget(id);
                sink.happened(now, Happened::Failed(tunnel, why));
            }
        }
    }
}
