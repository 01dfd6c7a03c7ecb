use std::time::Instant;

use quinn_proto::{ConnectionHandle, Endpoint};

use crate::answer::Failure;
use crate::config::EngineConfig;
use crate::connection::Connection;
use crate::control::ControlRequest;
use crate::core::Core;
use crate::error::Error;
use crate::port::{EgressEvent, Handler, PacketMeta};
use crate::quic;
use crate::stats::EngineStats;
use crate::timers::TimerId;
use crate::tunnel::open;

mod commands;
mod egress;
mod packets;
mod publish;
mod responses;
mod timeouts;
mod transmit;

use responses::Responses;

/// One worker's engine. See the crate's documentation for the order of calls.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    endpoint: Endpoint,
    /// By connection handle.
    connections: Vec<Option<Box<Connection>>>,
    core: Core,
    /// Packets of the endpoint itself: Retry, refusals, version negotiation, stateless resets.
    responses: Responses,
    /// Where the endpoint writes those.
    scratch: Vec<u8>,
    /// Connections that got packets of the train at hand.
    touched: Vec<usize>,
    train_datagrams_max: usize,
    drain_timer: TimerId,
}

impl Engine {
    /// `seed` feeds everything in here that has to be unpredictable: give every worker its own.
    pub fn new(config: EngineConfig, seed: [u8; 32], now: Instant) -> Result<Self, Error> {
        let endpoint_config = quic::endpoint_config(&config)?;
        let server_config = quic::server_config(&config, &config.tls)?;
        let mtu_discovery = config.quic.mtu_discovery;
        let endpoint = Endpoint::new(
            std::sync::Arc::new(endpoint_config),
            Some(server_config),
            mtu_discovery,
            Some(seed),
        );
        let mut core = Core::new(&config, now);
        let drain_timer = core.timers.add(crate::timers::Due::Drain, now);
        Ok(Engine {
            train_datagrams_max: quic::train_datagrams_max(&config.quic),
            config,
            endpoint,
            connections: Vec::new(),
            core,
            responses: Responses::default(),
            scratch: Vec::new(),
            touched: Vec::new(),
            drain_timer,
        })
    }

    /// The next question to the control plane.
    pub fn poll_control(&mut self) -> Option<ControlRequest> {
        self.core.questions.pop_front()
    }

    /// When [`Engine::handle_timeout`] wants to be called. In the past as long as something waits
    /// to be flushed or published.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let core = &self.core;
        let waiting = !core.dirty.is_empty()
            || !core.egress.is_idle()
            || !self.responses.is_empty()
            || !core.opened.is_empty()
            || !core.finals.is_empty();
        if waiting { Some(core.now) } else { core.timers.next() }
    }

    /// Counters since the start.
    pub fn stats(&self) -> &EngineStats {
        &self.core.stats
    }

    /// Whether a drain is complete: no connection and no target-facing socket is left, and
    /// nothing waits to be published.
    pub fn is_drained(&self) -> bool {
        self.core.draining
            && self.core.stats.connections_open == 0
            && self.core.egress.open() == 0
            && self.core.finals.is_empty()
            && self.responses.is_empty()
    }

    /// A connection and what it shares with others, side by side.
    fn split(&mut self, handle: usize) -> Option<(&mut Connection, &mut Core)> {
        let connection = self.connections.get_mut(handle)?.as_mut()?;
        Some((connection, &mut self.core))
    }

    /// The connection of a tunnel in service.
    fn split_tunnel(&mut self, key: usize) -> Option<(&mut Connection, &mut Core)> {
        let handle = self.core.tunnels.get(key)?.connection?;
        self.split(handle)
    }

    /// Answers the request of a tunnel that couldn't be opened.
    fn settle_opening(&mut self, key: usize, result: Result<(), Failure>, now: Instant) {
        let Err(failure) = result else { return };
        if let Some((connection, core)) = self.split_tunnel(key) {
            open::refuse(connection, core, key, failure, now);
        }
    }

    /// Lets a connection act on its events, and the endpoint on what follows from them.
    fn drive(&mut self, handle: usize, now: Instant) {
        if let Some((connection, core)) = self.split(handle) {
            connection.drive(core, now);
        }
        self.pass_endpoint_events(handle);
    }

    fn pass_endpoint_events(&mut self, handle: usize) {
        let Some(slot) = self.connections.get_mut(handle) else { return };
        let Some(connection) = slot else { return };
        while let Some(event) = connection.quic.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(ConnectionHandle(handle), event) {
                connection.handle_event(event);
            }
        }
        if connection.quic.is_drained()
            && let Some(connection) = slot.take()
        {
            connection.remove(&mut self.core);
        }
    }
}

impl Handler for Engine {
    fn handle_packets(&mut self, now: Instant, meta: &PacketMeta, train: &[u8]) {
        self.core.now = now;
        self.receive(now, meta, train);
    }

    fn handle_egress(&mut self, now: Instant, event: EgressEvent<'_>) {
        self.core.now = now;
        self.egress_event(now, event);
    }
}
