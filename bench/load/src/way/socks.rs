//! Through a SOCKS5 proxy (RFC 1928): CONNECT, and UDP ASSOCIATE with a control connection and a
//! UDP socket per tunnel.

mod wire;

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use weir_core::port::EgressEvent;
use weir_io::Backend;

use super::{Direct, Happened, Kind, Sent, Sink, Tunnel};
use wire::{GREETING, METHOD_BYTES, Reply};

/// SOCKS on top of sockets of our own.
#[derive(Debug)]
pub(crate) struct Socks {
    proxy: SocketAddr,
    direct: Direct,
    sessions: Sessions,
    scratch: Vec<u8>,
}

/// What the sockets are for, by their number. A tunnel has the number of its TCP connection.
#[derive(Debug, Default)]
struct Sessions {
    by_socket: Vec<Role>,
    /// To be written to a TCP connection; to be opened beside one.
    to_write: Vec<(Tunnel, Vec<u8>)>,
    to_open: Vec<(Tunnel, SocketAddr)>,
}

#[derive(Debug, Default)]
enum Role {
    #[default]
    Nothing,
    /// The TCP connection of a tunnel.
    Control(Session),
    /// The UDP socket of a tunnel.
    Relay { control: Tunnel },
}

#[derive(Debug)]
struct Session {
    kind: Kind,
    target: SocketAddr,
    state: State,
    /// What has come of an answer of the proxy.
    answer: Vec<u8>,
    /// What stands before every payload (section 7), and the socket that sends it.
    header: Vec<u8>,
    udp: Option<Tunnel>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Greeted,
    Asked,
    Open,
}

impl Socks {
    pub(crate) fn new(proxy: SocketAddr, batch: bool) -> Socks {
        Socks {
            proxy,
            direct: Direct::new(batch),
            sessions: Sessions::default(),
            scratch: Vec::new(),
        }
    }

    pub(crate) fn open(&mut self, kind: Kind, target: SocketAddr, io: &mut Backend) -> Tunnel {
        let tunnel = self.direct.open(Kind::Tcp, self.proxy, io);
        *self.sessions.role(tunnel) = Role::Control(Session {
            kind,
            target,
            state: State::Connecting,
            answer: Vec::new(),
            header: wire::udp_header(target),
            udp: None,
        });
        tunnel
    }

    pub(crate) fn send(&mut self, tunnel: Tunnel, payload: &[u8], io: &mut Backend) -> Sent {
        let Role::Control(Session { header, udp: Some(udp), .. }) = self.sessions.role(tunnel)
        else {
            return Sent::Full;
        };
        self.scratch.clear();
        self.scratch.extend_from_slice(header);
        self.scratch.extend_from_slice(payload);
        self.direct.send(*udp, &self.scratch, io)
    }

    pub(crate) fn write(&mut self, tunnel: Tunnel, data: &Bytes, io: &mut Backend) -> usize {
        self.direct.write(tunnel, data, io)
    }

    pub(crate) fn close(&mut self, tunnel: Tunnel, io: &mut Backend) {
        if let Role::Control(session) = std::mem::take(self.sessions.role(tunnel)) {
            self.direct.close(tunnel, io);
            if let Some(udp) = session.udp {
                *self.sessions.role(udp) = Role::Nothing;
                self.direct.close(udp, io);
            }
        }
    }

    pub(crate) fn flush(&mut self, io: &mut Backend) {
        for (tunnel, bytes) in self.sessions.to_write.drain(..) {
            // A few bytes on a fresh connection.
            self.direct.write(tunnel, &bytes, io);
        }
        for (control, address) in std::mem::take(&mut self.sessions.to_open) {
            let udp = self.direct.open(Kind::Udp, address, io);
            *self.sessions.role(udp) = Role::Relay { control };
            if let Role::Control(session) = self.sessions.role(control) {
                session.udp = Some(udp);
            }
        }
        self.direct.flush(io);
    }

    pub(crate) fn handle<S: Sink + ?Sized>(
        &mut self,
        now: Instant,
        event: EgressEvent<'_>,
        sink: &mut S,
    ) {
        let Socks { proxy, direct, sessions, .. } = self;
        direct.handle(now, event, &mut Upwards { proxy: *proxy, sessions, sink });
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        self.direct.notes()
    }
}

impl Sessions {
    fn role(&mut self, socket: Tunnel) -> &mut Role {
        if self.by_socket.len() <= socket.index() {
            self.by_socket.resize_with(socket.index() + 1, Role::default);
        }
        &mut self.by_socket[socket.index()]
    }
}

/// Translates what happens on sockets to what happens in tunnels.
struct Upwards<'a, S: ?Sized> {
    proxy: SocketAddr,
    sessions: &'a mut Sessions,
    sink: &'a mut S,
}

impl<S: Sink + ?Sized> Sink for Upwards<'_, S> {
    fn happened(&mut self, now: Instant, what: Happened<'_>) {
        let socket = what.tunnel();
        match self.sessions.role(socket) {
            Role::Nothing => {}
            &mut Role::Relay { control } => self.on_udp(now, control, what),
            Role::Control(session) if session.state == State::Open => {
                self.sink.happened(now, what);
            }
            Role::Control(session) => match what {
                Happened::Opened(_) => {
                    session.state = State::Greeted;
                    self.sessions.to_write.push((socket, GREETING.to_vec()));
                }
                Happened::Data(_, data) => {
                    session.answer.extend_from_slice(data);
                    if let Err(why) = self.advance(now, socket) {
                        self.sink.happened(now, Happened::Failed(socket, why));
                    }
                }
                Happened::Ended(_) => {
                    let why = "the proxy closed the connection".to_owned();
                    self.sink.happened(now, Happened::Failed(socket, why));
                }
                other => self.sink.happened(now, other),
            },
        }
    }
}

impl<S: Sink + ?Sized> Upwards<'_, S> {
    fn on_udp(&mut self, now: Instant, control: Tunnel, what: Happened<'_>) {
        match what {
            Happened::Opened(_) => self.sink.happened(now, Happened::Opened(control)),
            Happened::Datagram(_, datagram) => {
                if let Some(payload) = wire::udp_payload(datagram) {
                    self.sink.happened(now, Happened::Datagram(control, payload));
                }
            }
            Happened::Failed(_, why) => self.sink.happened(now, Happened::Failed(control, why)),
            _ => {}
        }
    }

    /// Takes the next step of the negotiation, if its answer is complete.
    fn advance(&mut self, now: Instant, socket: Tunnel) -> Result<(), String> {
        let proxy = self.proxy;
        let sessions = &mut *self.sessions;
        let Role::Control(session) = &mut sessions.by_socket[socket.index()] else {
            return Ok(());
        };
        if session.state == State::Greeted && session.answer.len() >= METHOD_BYTES {
            let method: Vec<u8> = session.answer.drain(..METHOD_BYTES).collect();
            if method != [5, 0] {
                return Err(format!("the proxy wants another authentication: {method:?}"));
            }
            session.state = State::Asked;
            let request = wire::request(session.kind, session.target);
            sessions.to_write.push((socket, request));
        }
        if session.state != State::Asked {
            return Ok(());
        }
        let Some(Reply { bound, len }) = wire::reply(&session.answer)? else { return Ok(()) };
        session.state = State::Open;
        let rest = session.answer.split_off(len);
        match session.kind {
            Kind::Udp => {
                // 0.0.0.0 means where the proxy is.
                let ip = if bound.ip().is_unspecified() { proxy.ip() } else { bound.ip() };
                sessions.to_open.push((socket, SocketAddr::new(ip, bound.port())));
            }
            Kind::Tcp => {
                self.sink.happened(now, Happened::Opened(socket));
                if !rest.is_empty() {
                    self.sink.happened(now, Happened::Data(socket, &rest));
                }
            }
        }
        Ok(())
    }
}
