//! The engine, its I/O side, clients and names under one clock.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use weir_core::port::Io;
use weir_core::{
    Command, ControlReply, ControlRequest, Engine, EngineConfig, Grant, ResolveError, TokenRefusal,
    turn,
};

use crate::client::{Client, ClientOptions};
use crate::dns::{DNS_DELAY, Name};
use crate::io::{Inbound, SimIo};
use crate::ledger::SimLedger;
use crate::network::Schedule;

/// Where the relay listens.
pub const RELAY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9)), 443);

/// Turns at one instant after which somebody spins.
const TURNS_AT_ONCE_MAX: u32 = 100_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientId(pub usize);

/// What a resource of the relay answers in this world; `None` is never.
pub type Resources = fn(&ControlRequest) -> Option<(u16, &'static str, Bytes)>;

#[derive(Debug)]
pub struct World {
    pub now: Instant,
    pub engine: Engine,
    pub io: SimIo,
    pub ledger: SimLedger,
    pub clients: Vec<Client>,
    pub names: HashMap<String, Name>,
    pub resources: Resources,
    /// What is said of the next blind tokens; nothing when it is empty.
    pub tokens: VecDeque<Result<Arc<Grant>, TokenRefusal>>,
    /// What the engine asked the control plane.
    pub asked: Vec<ControlRequest>,
    pub start: Instant,
    replies: Schedule<ControlReply>,
    turns_at_once: u32,
}

impl World {
    pub fn new(seed: u64, config: EngineConfig) -> Self {
        let now = Instant::now();
        let mut io = SimIo::new(now, seed);
        let engine = Engine::new(config, io.rng.seed32(), now).expect("a valid configuration");
        World {
            now,
            engine,
            io,
            ledger: SimLedger::default(),
            clients: Vec::new(),
            names: HashMap::new(),
            resources: echo_body,
            tokens: VecDeque::new(),
            asked: Vec::new(),
            start: now,
            replies: Schedule::default(),
            turns_at_once: 0,
        }
    }

    /// A client that is about to connect, each from its own address.
    pub fn add_client(&mut self, options: ClientOptions) -> ClientId {
        let n = self.clients.len();
        let ip = Ipv4Addr::new(8, 8, (n / 250) as u8, (n % 250) as u8 + 1);
        self.add_client_at(SocketAddr::new(ip.into(), 4000), options)
    }

    pub fn add_client_at(&mut self, address: SocketAddr, options: ClientOptions) -> ClientId {
        let seed = self.io.rng.seed32();
        self.clients.push(Client::new(address, RELAY, options, seed, self.now));
        ClientId(self.clients.len() - 1)
    }

    /// A client with an open connection and SETTINGS exchanged.
    pub fn connect(&mut self, options: ClientOptions) -> ClientId {
        let id = self.add_client(options);
        self.run_until("the handshake", |world| world.clients[id.0].settings.is_some());
        // Our SETTINGS get there, too.
        self.run_for(Duration::from_millis(50));
        id
    }

    pub fn client(&mut self, id: ClientId) -> &mut Client {
        &mut self.clients[id.0]
    }

    pub fn command(&mut self, command: Command) {
        self.engine.handle_command(self.now, command).expect("a valid command");
    }

    /// Lets `duration` pass.
    pub fn run_for(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.step(until) {}
    }

    /// Lets time pass until something is so; panics when it isn't within a minute.
    pub fn run_until(&mut self, what: &str, mut is_so: impl FnMut(&mut World) -> bool) {
        self.run_until_within(what, Duration::from_secs(60), &mut is_so);
    }

    pub fn run_until_within(
        &mut self,
        what: &str,
        patience: Duration,
        mut is_so: impl FnMut(&mut World) -> bool,
    ) {
        let until = self.now + patience;
        while !is_so(self) {
            if !self.step(until) {
                assert!(is_so(self), "{what}: not within {patience:?}: {:#?}", self.engine.stats());
                return;
            }
        }
    }

    /// Goes to the next event, but not beyond `limit`; `false` when there was none before it.
    fn step(&mut self, limit: Instant) -> bool {
        self.exchange();
        let next = self
            .clients
            .iter_mut()
            .filter_map(Client::poll_timeout)
            .chain(self.engine.poll_timeout())
            .chain(self.io.to_relay.next_at())
            .chain(self.io.to_clients.next_at())
            .chain(self.replies.next_at())
            .min();
        let Some(next) = next.map(|next| next.max(self.now)).filter(|next| *next <= limit) else {
            self.now = limit;
            self.io.now = limit;
            return false;
        };
        if next > self.now {
            self.turns_at_once = 0;
        }
        self.turns_at_once += 1;
        assert!(
            self.turns_at_once < TURNS_AT_ONCE_MAX,
            "time stands still: engine {:?}, clients {:?}, now {:?}",
            self.engine.poll_timeout(),
            self.clients.iter_mut().map(Client::poll_timeout).collect::<Vec<_>>(),
            self.now,
        );
        self.now = next;
        self.io.now = next;
        self.turn();
        true
    }

    /// Packets between clients and the network.
    fn exchange(&mut self) {
        while let Some((to, packet)) = self.io.to_clients.pop(self.now) {
            for client in self.clients.iter_mut().filter(|client| client.address == to) {
                client.handle_packet(RELAY, &packet, self.now);
            }
        }
        for client in &mut self.clients {
            for packet in client.pump(self.now) {
                if let Some(delay) = self.io.link.carry(&mut self.io.rng, packet.len()) {
                    let inbound = Inbound::Packet { remote: client.address, packet };
                    self.io.to_relay.push(self.now + delay, inbound);
                }
            }
        }
    }

    /// One turn of the worker, as the daemon does it.
    fn turn(&mut self) {
        let now = self.io.turn(None, &mut self.engine).expect("memory doesn't fail");
        while let Some(reply) = self.replies.pop(now) {
            self.engine.handle_control(now, reply);
        }
        self.engine.handle_timeout(now);
        turn::flush(&mut self.engine, &mut self.io, now);
        self.engine.publish(&mut self.ledger);
        while let Some(request) = self.engine.poll_control() {
            self.ask(request);
        }
    }

    fn ask(&mut self, request: ControlRequest) {
        let reply =
            match &request {
                ControlRequest::Resolve { query, name } => {
                    let result = match self.names.get(name) {
                        Some(Name::Addresses(addresses)) => Some(Ok(addresses.clone())),
                        Some(Name::Fails(error)) => Some(Err(*error)),
                        Some(Name::Silent) => None,
                        None => Some(Err(ResolveError::NoSuchName)),
                    };
                    result.map(|result| ControlReply::Resolved { query: *query, result })
                }
                ControlRequest::Http { query, .. } => {
                    (self.resources)(&request).map(|(status, content_type, body)| {
                        ControlReply::Http { query: *query, status, content_type, body }
                    })
                }
                ControlRequest::Token { query, .. } => {
                    let result = self.tokens.pop_front();
                    result.map(|result| ControlReply::Token { query: *query, result })
                }
            };
        self.asked.push(request);
        if let Some(reply) = reply {
            self.replies.push(self.now + DNS_DELAY, reply);
        }
    }
}

fn echo_body(request: &ControlRequest) -> Option<(u16, &'static str, Bytes)> {
    match request {
        ControlRequest::Http { body, .. } => Some((200, "application/octet-stream", body.clone())),
        ControlRequest::Resolve { .. } | ControlRequest::Token { .. } => None,
    }
}
