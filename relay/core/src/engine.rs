use std::time::Instant;

use crate::config::EngineConfig;
use crate::control::{Command, ControlReply, ControlRequest};
use crate::error::Error;
use crate::port::{EgressEvent, EgressOp, Handler, Ledger, PacketMeta, Transmit};
use crate::stats::EngineStats;

/// One worker's engine. See the crate's documentation for the order of calls.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    stats: EngineStats,
}

impl Engine {
    /// `seed` feeds everything in here that has to be unpredictable: give every worker its own.
    pub fn new(config: EngineConfig, seed: [u8; 32], now: Instant) -> Result<Self, Error> {
        let _ = (seed, now);
        Ok(Engine { config, stats: EngineStats::default() })
    }

    /// An answer from the control plane.
    pub fn handle_control(&mut self, now: Instant, reply: ControlReply) {
        let _ = (now, reply);
    }

    /// An order from the control plane. Fails only for a TLS configuration that QUIC can't use,
    /// which leaves the old one in place.
    pub fn handle_command(&mut self, now: Instant, command: Command) -> Result<(), Error> {
        let _ = (now, command);
        Ok(())
    }

    /// Does what is due by now. Cheap when nothing is.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// The next client-facing train; its bytes are written to `buffer`, which comes in empty with
    /// room for [`MAX_TRAIN_BYTES`](crate::port::MAX_TRAIN_BYTES).
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Transmit> {
        let _ = (now, buffer);
        None
    }

    /// The next operation on a target-facing socket; its payload, if any, is written to `buffer`.
    pub fn poll_egress(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<EgressOp> {
        let _ = (now, buffer);
        None
    }

    /// The next question to the control plane.
    pub fn poll_control(&mut self) -> Option<ControlRequest> {
        None
    }

    /// When [`Engine::handle_timeout`] wants to be called. In the past: at once.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        None
    }

    /// Writes the counters of the tunnels that moved since the last call, and adds what they used
    /// to the credit lines. Once per turn.
    pub fn publish(&mut self, ledger: &mut impl Ledger) {
        let _ = ledger;
    }

    /// Counters since the start.
    pub fn stats(&self) -> &EngineStats {
        &self.stats
    }

    /// Whether a drain is complete: no connection and no target-facing socket is left, and
    /// nothing waits to be published.
    pub fn is_drained(&self) -> bool {
        false
    }
}

impl Handler for Engine {
    fn handle_packets(&mut self, now: Instant, meta: &PacketMeta, train: &[u8]) {
        let _ = (now, meta, train);
    }

    fn handle_egress(&mut self, now: Instant, event: EgressEvent<'_>) {
        let _ = (now, event, &self.config);
    }
}
