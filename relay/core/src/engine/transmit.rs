//! Client-facing trains out.

use std::time::Instant;

use weir_proto::H3Code;

use crate::port::{EgressOp, Transmit};
use crate::tunnel::{Traffic, udp};

use super::Engine;
use super::responses::to_port;

impl Engine {
    /// The next client-facing train; its bytes are written to `buffer`, which comes in empty with
    /// room for [`MAX_TRAIN_BYTES`](crate::port::MAX_TRAIN_BYTES).
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Transmit> {
        self.core.now = now;
        if let Some((transmit, packet)) = self.responses.pop() {
            buffer.extend_from_slice(&packet);
            self.count_train(&transmit, buffer.len());
            return Some(transmit);
        }
        while let Some(handle) = self.core.dirty.pop_front() {
            debug_assert!(!self.core.dirty.contains(&handle), "two places in line");
            let max = self.train_datagrams_max;
            let Some((connection, core)) = self.split(handle) else { continue };
            if !connection.dirty {
                continue;
            }
            // Still marked, so that what is written here gets it no second place in line.
            connection.fill(core, now);
            let transmit = connection.quic.poll_transmit(now, max, buffer);
            connection.adapt(transmit.is_some());
            if let Some(transmit) = transmit {
                connection.sent_train(buffer.len(), &mut core.dirty);
                let transmit = to_port(&transmit);
                self.count_train(&transmit, buffer.len());
                return Some(transmit);
            }
            connection.dirty = false;
            if core.draining && !connection.is_torn_down() && connection.is_quiet() {
                connection.close(core, now, H3Code::NO_ERROR, "drained");
                continue;
            }
            connection.set_timer(core);
            self.pass_endpoint_events(handle);
        }
        None
    }

    /// The next operation on a target-facing socket; its payload, if any, is written to `buffer`,
    /// which comes in empty with room for [`MAX_TRAIN_BYTES`](crate::port::MAX_TRAIN_BYTES).
    pub fn poll_egress(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<EgressOp> {
        self.core.now = now;
        if let Some(op) = self.core.egress.pop() {
            return Some(op);
        }
        while let Some(key) = self.core.egress.next_ready() {
            let Some(tunnel) = self.core.tunnels.get_mut(key) else { continue };
            if !std::mem::replace(&mut tunnel.ready, false) {
                continue;
            }
            let Some(exit) = tunnel.exit() else { continue };
            let op = match &tunnel.traffic {
                Traffic::Udp(_) => udp::next_train(&mut self.core, key, exit, buffer),
                Traffic::Tcp(_) => match self.split_tunnel(key) {
                    Some((connection, core)) => {
                        connection.next_tcp_op(core, key, exit, buffer, now)
                    }
                    None => None,
                },
            };
            if op.is_some() {
                self.core.keep_turn(key, buffer.len());
                return op;
            }
            // Reading may have ended the tunnel instead.
            if let Some(op) = self.core.egress.pop() {
                return Some(op);
            }
        }
        None
    }

    fn count_train(&mut self, transmit: &Transmit, bytes: usize) {
        let stats = &mut self.core.stats;
        stats.trains_sent += 1;
        stats.bytes_sent += bytes as u64;
        stats.packets_sent += transmit.segment_size.map_or(1, |size| bytes.div_ceil(size)) as u64;
    }
}
