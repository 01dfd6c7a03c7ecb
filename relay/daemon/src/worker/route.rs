//! Makes sure that a packet reaches the worker that owns its connection.
//!
//! The kernel steers whole trains by their first packet, or, without a steering program, by
//! addresses alone. So a train can hold packets of other workers: of a client that keeps several
//! connections on one socket, or of one whose address changed. Those are handed over here.

use std::time::Instant;

use weir_abi::cid::CidKey;
use weir_core::Engine;
use weir_core::port::{EgressEvent, Handler, PacketMeta};

use super::inbox::Stray;
use super::{Peers, TurnStats};

/// An engine that sees only its own packets.
#[derive(Debug)]
pub(super) struct Router<'a> {
    pub engine: &'a mut Engine,
    pub peers: &'a Peers,
    pub key: CidKey,
    pub own: usize,
    pub stats: &'a mut TurnStats,
    /// UDP datagrams that this turn brought, both sides together: the weight of its latency.
    pub datagrams: u64,
}

impl Router<'_> {
    fn owner(&self, packet: &[u8]) -> usize {
        self.key.worker(packet, self.peers.count() as u32) as usize
    }
}

impl Handler for Router<'_> {
    fn handle_packets(&mut self, now: Instant, meta: &PacketMeta, train: &[u8]) {
        let size = meta.segment_size.max(1);
        self.datagrams += train.len().div_ceil(size) as u64;
        if self.peers.count() == 1 {
            return self.engine.handle_packets(now, meta, train);
        }
        let mut rest = train;
        while !rest.is_empty() {
            let owner = self.owner(&rest[..size.min(rest.len())]);
            let same = rest.chunks(size).take_while(|packet| self.owner(packet) == owner).count();
            let (run, behind) = rest.split_at((same * size).min(rest.len()));
            rest = behind;
            if owner == self.own {
                self.engine.handle_packets(now, meta, run);
            } else {
                self.stats.strays_out += 1;
                self.peers.hand_over(owner, Stray { meta: *meta, train: run.to_vec() });
            }
        }
    }

    fn handle_egress(&mut self, now: Instant, event: EgressEvent<'_>) {
        self.datagrams += match &event {
            EgressEvent::UdpReceived { train, segment_size, .. } => {
                train.len().div_ceil((*segment_size).max(1)).max(1) as u64
            }
            EgressEvent::TcpReceived { .. } => 1,
            _ => 0,
        };
        self.engine.handle_egress(now, event);
    }
}
