//! Client-facing packets in, and who is let in.

use std::time::Instant;

use quinn_proto::{ConnectionHandle, DatagramEvent, Incoming};

use crate::admission::Source;
use crate::connection::Connection;
use crate::port::PacketMeta;

use super::Engine;

impl Engine {
    pub(super) fn receive(&mut self, now: Instant, meta: &PacketMeta, train: &[u8]) {
        let stats = &mut self.core.stats;
        stats.trains_received += 1;
        stats.bytes_received += train.len() as u64;
        // A backend that says 0 by mistake must not make us panic.
        for packet in train.chunks(meta.segment_size.max(1)) {
            self.core.stats.packets_received += 1;
            let data = self.core.chunks.copy(packet);
            self.scratch.clear();
            let event = self.endpoint.handle(
                now,
                meta.remote,
                meta.local_ip,
                meta.ecn,
                data,
                &mut self.scratch,
            );
            match event {
                Some(DatagramEvent::ConnectionEvent(ConnectionHandle(handle), event)) => {
                    if let Some(Some(connection)) = self.connections.get_mut(handle) {
                        connection.handle_event(event);
                        if self.touched.last() != Some(&handle) {
                            self.touched.push(handle);
                        }
                    }
                }
                Some(DatagramEvent::NewConnection(incoming)) => self.admit(incoming, now),
                Some(DatagramEvent::Response(transmit)) => {
                    self.responses.push(&transmit, &self.scratch);
                }
                None => {}
            }
        }
        // Events once per train: a train of payload is one run through the tunnel's queue.
        let mut touched = std::mem::take(&mut self.touched);
        for handle in touched.drain(..) {
            self.drive(handle, now);
        }
        self.touched = touched;
    }

    /// Decides on a new connection, cheapest questions first.
    fn admit(&mut self, incoming: Incoming, now: Instant) {
        let source = Source::of(incoming.remote_address().ip());
        let (stats, limits) = (&mut self.core.stats, &self.core.limits);
        self.scratch.clear();
        let full = stats.connections_open as usize >= limits.connections;
        if full || self.core.draining {
            if full {
                stats.connections_refused_full += 1;
            } else {
                stats.connections_refused_draining += 1;
            }
            let transmit = self.endpoint.refuse(incoming, &mut self.scratch);
            self.responses.push(&transmit, &self.scratch);
            return;
        }
        // Addresses can be forged: first packets alone must not use up what a source may have.
        let from_source = self.core.sources.connections(source);
        let pressed = stats.connections_handshaking as usize >= limits.retry_above
            || from_source >= limits.connections_per_source.div_ceil(2);
        let proven = incoming.remote_address_validated();
        if pressed && !proven {
            // A client that answers a Retry is where it says it is (RFC 9000 section 8.1.2). One
            // that can't be asked again brought a token that didn't prove it.
            stats.connections_retried += 1;
            match self.endpoint.retry(incoming, &mut self.scratch) {
                Ok(transmit) => self.responses.push(&transmit, &self.scratch),
                Err(error) => self.endpoint.ignore(error.into_incoming()),
            }
            return;
        }
        if from_source >= limits.connections_per_source {
            stats.connections_refused_source += 1;
            let transmit = self.endpoint.refuse(incoming, &mut self.scratch);
            self.responses.push(&transmit, &self.scratch);
            return;
        }
        match self.endpoint.accept(incoming, now, &mut self.scratch, None) {
            Ok((ConnectionHandle(handle), quic)) => {
                let connection = Connection::new(&mut self.core, handle, quic, source, now);
                if self.connections.len() <= handle {
                    self.connections.resize_with(handle + 1, || None);
                }
                self.connections[handle] = Some(Box::new(connection));
                self.drive(handle, now);
            }
            Err(error) => {
                if let Some(transmit) = error.response {
                    self.responses.push(&transmit, &self.scratch);
                }
            }
        }
    }
}
