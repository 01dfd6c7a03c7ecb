//! The book as rows, and from rows: what [`crate::state`] keeps.

use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_usage::{Digest, RecordChain};

use super::tunnel::Tunnel;
use super::{Book, Lane, LaneKey};

impl Book {
    /// Epochs of the streams that are remembered.
    pub fn streams(&self) -> impl ExactSizeIterator<Item = u64> {
        self.streams.keys().copied()
    }

    /// Tunnels that are remembered.
    pub fn tunnel_ids(&self) -> impl Iterator<Item = u128> {
        self.tunnels.keys().copied()
    }

    pub(crate) fn stream_row(&self, epoch: u64) -> Option<Vec<u8>> {
        let chain = self.streams.get(&epoch)?;
        Some([&chain.next_seq().to_be_bytes()[..], &chain.head().0].concat())
    }

    pub(crate) fn put_stream(&mut self, epoch: u64, row: &[u8]) -> Option<()> {
        let (next_seq, head) = row.split_first_chunk()?;
        let (next_seq, head) = (u64::from_be_bytes(*next_seq), Digest(head.try_into().ok()?));
        self.streams.insert(epoch, RecordChain::resume(self.exit, epoch, next_seq, head));
        Some(())
    }

    pub(crate) fn tunnel_row(&self, id: u128) -> Option<Vec<u8>> {
        self.tunnels.get(&id).map(Tunnel::encode)
    }

    pub(crate) fn put_tunnel(&mut self, id: u128, row: &[u8]) -> Option<()> {
        let tunnel = Tunnel::decode(row)?;
        self.processes.grow(id, tunnel.total());
        self.tunnels.insert(id, tunnel);
        Some(())
    }

    pub(crate) fn lane_row(&self, key: &LaneKey) -> Option<Vec<u8>> {
        self.lanes.get(key).map(json)
    }

    /// Price and signer stay the configuration's.
    pub(crate) fn put_lane(&mut self, key: LaneKey, row: &[u8]) -> Option<()> {
        let kept: Lane = parse(row)?;
        for (id, finding) in &kept.findings {
            self.processes.restore(*id, Some(*finding));
        }
        for id in kept.waived() {
            self.processes.restore(*id, None);
        }
        let lane = self.lanes.entry(key).or_insert_with(Lane::unknown);
        let (price, signer) = (lane.price, lane.signer);
        *lane = kept;
        (lane.price, lane.signer) = (price, signer);
        Some(())
    }

    pub(crate) fn anchor_row(&self, number: u64) -> Option<Vec<u8>> {
        self.anchors.get(usize::try_from(number).ok()?).map(json)
    }

    /// Rows come in their order, from 0.
    pub(crate) fn put_anchor(&mut self, number: u64, row: &[u8]) -> Option<()> {
        self.anchors.push(parse(row)?);
        (self.anchors.len() as u64 == number + 1).then_some(())
    }

    pub(crate) fn counters_row(&self) -> Vec<u8> {
        json(&self.counters)
    }

    pub(crate) fn put_counters(&mut self, row: &[u8]) -> Option<()> {
        self.counters = parse(row)?;
        Some(())
    }
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    // Structs of numbers, strings and lists, with keys that are strings or numbers: always JSON.
    serde_json::to_vec(value).expect("what the book holds is representable in JSON")
}

fn parse<T: DeserializeOwned>(row: &[u8]) -> Option<T> {
    serde_json::from_slice(row).ok()
}
