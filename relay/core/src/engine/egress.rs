//! Events of target-facing sockets.

use std::time::Instant;

use weir_proto::H3Code;

use crate::answer::Failure;
use crate::ledger::DropReason;
use crate::port::{EgressError, EgressEvent, EgressId};
use crate::tunnel::{Phase, Traffic, open, udp};

use super::Engine;

impl Engine {
    pub(super) fn egress_event(&mut self, now: Instant, event: EgressEvent<'_>) {
        let id = id_of(&event);
        let Some(key) = self.core.egress.owner(id) else {
            self.core.stats.egress_late_events += 1;
            return;
        };
        match event {
            EgressEvent::Opened { local, .. } => {
                open::attempt_succeeded(&mut self.core, key, id, local);
            }
            EgressEvent::UdpReceived { train, segment_size, .. } => {
                if self.is_exit(key, id)
                    && let Some((connection, core)) = self.split_tunnel(key)
                {
                    udp::downlink(connection, core, key, train, segment_size, now);
                } else {
                    let datagrams = train.len().div_ceil(segment_size.max(1)).max(1);
                    self.too_late(key, datagrams as u64, train.len());
                }
            }
            EgressEvent::UdpSent { datagrams, bytes, .. } => {
                udp::sent(&mut self.core, key, datagrams, bytes);
            }
            EgressEvent::UdpDropped { datagrams, bytes, error, .. } => {
                udp::refused(&mut self.core, key, datagrams, bytes, error);
            }
            EgressEvent::TcpReceived { data, .. } => {
                if self.is_exit(key, id)
                    && let Some((connection, core)) = self.split_tunnel(key)
                {
                    connection.tcp_downlink(core, key, data, now);
                } else {
                    self.too_late(key, 1, data.len());
                }
            }
            EgressEvent::TcpEof { .. } => {
                if self.is_exit(key, id)
                    && let Some((connection, core)) = self.split_tunnel(key)
                {
                    connection.tcp_eof(core, key, now);
                }
            }
            EgressEvent::TcpSent { bytes, .. } => self.tcp_sent(key, bytes),
            EgressEvent::Failed { error, .. } => self.egress_failed(key, id, error, now),
            EgressEvent::Closed { .. } => self.egress_closed(key, id),
        }
    }

    /// Whether a socket is the one that its tunnel settled on.
    fn is_exit(&self, key: usize, id: EgressId) -> bool {
        self.core.tunnels[key].exit() == Some(id)
    }

    /// Payload that nobody waits for.
    fn too_late(&mut self, key: usize, datagrams: u64, bytes: usize) {
        let core = &mut self.core;
        let meter = &mut core.tunnels[key].meter;
        meter.down_received(datagrams, bytes as u64);
        meter.down_dropped(&mut core.stats, DropReason::Closed, datagrams, bytes as u64);
        core.mark_moved(key);
    }

    fn tcp_sent(&mut self, key: usize, bytes: usize) {
        let core = &mut self.core;
        let tunnel = &mut core.tunnels[key];
        let Traffic::Tcp(tcp) = &mut tunnel.traffic else { return };
        let sends = tcp.sent(bytes);
        tunnel.meter.up_forwarded(&mut core.stats, sends, bytes as u64);
        core.mark_moved(key);
        core.mark_ready(key);
        if let Some((connection, core)) = self.split_tunnel(key) {
            connection.close_if_over(core, key);
        }
    }

    fn egress_failed(&mut self, key: usize, id: EgressId, error: EgressError, now: Instant) {
        match &self.core.tunnels[key].phase {
            Phase::Connecting(_) => {
                let result = open::attempt_failed(&mut self.core, key, id, error, now);
                self.settle_opening(key, result, now);
            }
            Phase::Opened(exit) if exit.id == id => {
                self.settle_opening(key, Err(Failure::Connect(error)), now);
            }
            Phase::Open(exit) if *exit == id => {
                let is_udp = matches!(self.core.tunnels[key].traffic, Traffic::Udp(_));
                if is_udp && udp::failed(&mut self.core, key, error) {
                    return;
                }
                if let Some((connection, core)) = self.split_tunnel(key) {
                    if is_udp {
                        connection.end_tunnel(core, key, H3Code::CONNECT_ERROR);
                    } else {
                        connection.tcp_reset(core, key);
                    }
                }
            }
            _ => {}
        }
    }

    fn egress_closed(&mut self, key: usize, id: EgressId) {
        let was_exit = self.is_exit(key, id);
        self.core.egress.release(id);
        self.core.tunnels[key].sockets.retain(|socket| socket.id != id);
        // A backend that closes what it wasn't asked to leaves the tunnel without a socket.
        if was_exit && let Some((connection, core)) = self.split_tunnel(key) {
            connection.end_tunnel(core, key, H3Code::CONNECT_ERROR);
            return;
        }
        let tunnel = &self.core.tunnels[key];
        if matches!(tunnel.phase, Phase::Closing) && tunnel.sockets.is_empty() {
            self.core.finish_tunnel(key);
        }
    }
}

fn id_of(event: &EgressEvent<'_>) -> EgressId {
    match *event {
        EgressEvent::Opened { id, .. }
        | EgressEvent::UdpReceived { id, .. }
        | EgressEvent::UdpSent { id, .. }
        | EgressEvent::UdpDropped { id, .. }
        | EgressEvent::TcpReceived { id, .. }
        | EgressEvent::TcpEof { id }
        | EgressEvent::TcpSent { id, .. }
        | EgressEvent::Failed { id, .. }
        | EgressEvent::Closed { id } => id,
    }
}
