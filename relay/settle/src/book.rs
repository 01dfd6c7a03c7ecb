//! What follows from the journal: how much each lane owes, what was signed for it, and what to ask
//! for next.
//!
//! The book is a function of the journal's entries and the configuration: replaying the same
//! entries gives the same book, and a duplicate or late record changes nothing. It does no I/O.

mod access;
mod compare;
mod kept;
mod lane;
mod tunnel;
mod verify;

use std::collections::{BTreeMap, HashMap};

use access::Processes;
pub use access::{AccessView, Uncarried};
pub use compare::{Comparison, Finding, subject};
pub use lane::{Accepted, LANE_HEADS_MAX, Lane, LaneKey};
use serde::{Deserialize, Serialize};
use tunnel::Tunnel;
pub use verify::{Refused, Verdict};
use weir_usage::{
    ChannelId, CreditState, Digest, Domain, ExitId, Keccak, RecordChain, UsageRecord, VoucherOffer,
};

use crate::config::{Channel, Config, Tolerance};
use crate::error::Error;
use crate::journal::entry::{AnchorLeaves, Entry, Item, LaneOpened, Note};

/// Relay processes whose streams are remembered. Each restart of the relay makes one.
pub const STREAMS_MAX: usize = 100_000;

/// Figures that only grow, for `/metrics`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookCounters {
    /// Records that continued their stream.
    pub records: u64,
    /// Records seen before. Harmless. They aren't journaled, so this begins anew with each start.
    #[serde(skip)]
    pub duplicates: u64,
    /// Records whose tunnel had already counted more. Harmless, and never lowers a total.
    pub lower: u64,
    /// Records that contradict themselves; journaled, not billed.
    pub invalid: u64,
    /// Records of tunnels that nobody pays for.
    pub unbilled: u64,
    /// Records for channels or lanes that aren't configured.
    pub unknown_channel: u64,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordFate {
    /// It continues its stream and is to be journaled.
    New,
    /// The journal has it.
    Duplicate,
    /// It doesn't continue its stream: close the connection, and let the relay ask where to go on.
    OutOfStream(weir_usage::Error),
}

/// The state of all channels.
#[derive(Debug)]
pub struct Book {
    exit: ExitId,
    domain: Domain,
    secret: [u8; 32],
    tolerance: Tolerance,
    channels: HashMap<ChannelId, Channel>,
    streams: BTreeMap<u64, RecordChain>,
    tunnels: HashMap<u128, Tunnel>,
    /// Sums over `tunnels`, and what was found of them.
    processes: Processes,
    lanes: BTreeMap<LaneKey, Lane>,
    anchors: Vec<AnchorLeaves>,
    counters: BookCounters,
}

impl Book {
    /// An empty book. `secret` is the journal's.
    pub fn new(config: &Config, secret: [u8; 32]) -> Self {
        let mut book = Self {
            exit: config.exit,
            domain: config.chain.domain,
            secret,
            tolerance: config.tolerance.clone(),
            channels: config.channels.iter().map(|c| (c.id, c.clone())).collect(),
            streams: BTreeMap::new(),
            tunnels: HashMap::new(),
            processes: Processes::default(),
            lanes: BTreeMap::new(),
            anchors: Vec::new(),
            counters: BookCounters::default(),
        };
        for channel in &config.channels {
            for lane in &channel.lanes {
                let key = LaneKey { channel: channel.id, lane: *lane };
                book.lanes.insert(key, Lane::new(Some(channel.price), channel.terms.signer));
            }
        }
        book
    }

    /// Takes an entry of the journal. Outbox steps and samples aren't the book's.
    ///
    /// # Errors
    /// [`Error::PriceChanged`], or [`Error::Contradiction`] for an entry that was never written by
    /// this program.
    pub fn replay(&mut self, offset: u64, entry: &Entry) -> Result<(), Error> {
        match &entry.item {
            Item::Record(record) => {
                if let RecordFate::OutOfStream(why) = self.record(record) {
                    return Err(Error::Contradiction { offset, detail: why.to_string() });
                }
            }
            Item::Voucher(offer) => self.accept(offer, entry.at_ms),
            Item::Lane(opened) => self.open_lane(opened)?,
            Item::Anchor(leaves) => self.anchors.push(leaves.clone()),
            Item::Note(note) => self.note(note),
            Item::Uncarried(found) => self.uncarried(found),
            // Samples say what a service was like, not what is owed.
            Item::Outbox(_) | Item::Sample(_) | Item::Statement(_) | Item::Vouched(_) => {}
        }
        Ok(())
    }

    /// Where the stream of a relay process goes on.
    pub fn stream(&self, epoch: u64) -> RecordChain {
        self.streams.get(&epoch).copied().unwrap_or(RecordChain::new(self.exit, epoch))
    }

    /// The lane entry that must be journaled before the first record that bills the lane.
    pub fn lane_to_open(&self, record: &UsageRecord) -> Option<LaneOpened> {
        let key = LaneKey { channel: record.channel, lane: record.lane };
        let lane = self.lanes.get(&key)?;
        let price = lane.price.filter(|_| !lane.opened)?;
        Some(LaneOpened {
            channel: key.channel,
            lane: key.lane,
            price_per_gib: price.units_per_gib(),
        })
    }

    /// Counts a record. Only [`RecordFate::New`] changes the book, and belongs in the journal.
    pub fn record(&mut self, record: &UsageRecord) -> RecordFate {
        let mut chain = self.stream(record.epoch);
        match chain.accept(record) {
            Ok(()) => {}
            Err(weir_usage::Error::Duplicate { .. }) => {
                self.counters.duplicates += 1;
                return RecordFate::Duplicate;
            }
            Err(why) => return RecordFate::OutOfStream(why),
        }
        if self.streams.len() >= STREAMS_MAX && !self.streams.contains_key(&record.epoch) {
            // Only old streams are dropped; a record of one would be taken as a gap and refused.
            self.streams.pop_first();
        }
        self.streams.insert(record.epoch, chain);
        self.counters.records += 1;
        self.count(record);
        RecordFate::New
    }

    /// Checks a voucher and says what to do with it. Changes nothing.
    pub fn verify(&self, offer: &VoucherOffer) -> Verdict {
        let voucher = &offer.signed.voucher;
        let key = LaneKey { channel: voucher.channel, lane: voucher.lane };
        verify::verify(&self.domain, self.lanes.get(&key), offer)
    }

    /// Takes a verified voucher.
    pub fn accept(&mut self, offer: &VoucherOffer, at_ms: u64) {
        let voucher = &offer.signed.voucher;
        let key = LaneKey { channel: voucher.channel, lane: voucher.lane };
        self.lanes.entry(key).or_insert_with(Lane::unknown).accept(offer, at_ms);
    }

    /// Takes an operator's decision.
    pub fn note(&mut self, note: &Note) {
        match note {
            Note::Waived { tunnel, .. } => {
                let Ok(id) = u128::from_str_radix(tunnel, 16) else { return };
                self.processes.waive(id);
                for lane in self.lanes.values_mut() {
                    lane.waive(id);
                }
            }
            Note::WrittenOff { channel, lane, amount, .. } => {
                let key = LaneKey { channel: *channel, lane: *lane };
                if let Some(lane) = self.lanes.get_mut(&key) {
                    lane.written_off = lane.written_off.max(*amount);
                }
            }
        }
    }

    /// Takes a root that was computed from this book.
    pub fn anchored(&mut self, leaves: AnchorLeaves) {
        self.anchors.push(leaves);
    }

    /// All lanes that are configured or were ever used.
    pub fn lanes(&self) -> &BTreeMap<LaneKey, Lane> {
        &self.lanes
    }

    /// A lane to be changed by what the chain says.
    pub fn lane_mut(&mut self, key: &LaneKey) -> Option<&mut Lane> {
        self.lanes.get_mut(key)
    }

    /// The channel's terms, if it is configured.
    pub fn channel(&self, id: &ChannelId) -> Option<&Channel> {
        self.channels.get(id)
    }

    /// Roots so far, oldest first.
    pub fn anchors(&self) -> &[AnchorLeaves] {
        &self.anchors
    }

    /// The newest root over usage; those of sample days are a series apart.
    pub fn last_usage_anchor(&self) -> Option<&AnchorLeaves> {
        self.anchors.iter().rev().find(|anchor| anchor.day.is_none())
    }

    /// The newest root of this number, with its leaves.
    pub fn leaves(&self, epoch: u64) -> Option<&AnchorLeaves> {
        self.anchors.iter().rev().find(|anchor| anchor.epoch == epoch)
    }

    /// Tunnels remembered. One costs about 150 bytes, and is kept for as long as the journal is.
    pub fn tunnels(&self) -> usize {
        self.tunnels.len()
    }

    /// Figures that only grow.
    pub fn counters(&self) -> BookCounters {
        self.counters
    }

    /// The salt of a usage head. Showing it opens that one head and no other.
    pub fn salt(&self, key: &LaneKey, record: &Digest) -> [u8; 32] {
        Keccak::default()
            .update(b"weir usage salt")
            .update(&self.secret)
            .update(&key.channel.0)
            .update(&key.lane.to_be_bytes())
            .update(&record.0)
            .finish()
            .0
    }

    /// What to ask for on a lane, and registers that it is asked. `None` if there is nothing new.
    pub fn ask(&mut self, key: &LaneKey) -> Option<weir_usage::Ask> {
        let record = self.lanes.get(key)?.askable_record();
        let salt = self.salt(key, &record);
        let domain = self.domain;
        self.lanes.get_mut(key)?.ask(key, domain, weir_usage::usage_head(&salt, &record))
    }

    /// How far a lane may go.
    pub fn credit(&self, key: &LaneKey) -> Option<CreditState> {
        let lane = self.lanes.get(key)?;
        Some(CreditState {
            channel: key.channel,
            lane: key.lane,
            used_bytes: lane.up_bytes.saturating_add(lane.down_bytes),
            paid_bytes: lane.paid_bytes(self.tolerance.unsigned_permille),
            funding: lane.funding,
        })
    }

    fn count(&mut self, record: &UsageRecord) {
        if record.check().is_err() {
            self.counters.invalid += 1;
            let key = LaneKey { channel: record.channel, lane: record.lane };
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.find(record.tunnel, Finding::Invalid);
            }
            return;
        }
        if record.channel.is_zero() {
            self.counters.unbilled += 1;
            return;
        }
        let key = LaneKey { channel: record.channel, lane: record.lane };
        let lane = self.lanes.entry(key).or_insert_with(Lane::unknown);
        if lane.price.is_none() {
            self.counters.unknown_channel += 1;
        }
        let tunnel = self.tunnels.entry(record.tunnel).or_insert_with(|| {
            lane.tunnels += 1;
            if let Some((id, finding)) = self.processes.finding(record.tunnel) {
                lane.find(id, finding);
            }
            Tunnel::new(key)
        });
        if tunnel.key != key {
            // A tunnel belongs to one lane: taking it to another would bill its bytes twice.
            self.counters.invalid += 1;
            lane.find(record.tunnel, Finding::Moved);
            return;
        }
        let grown = tunnel.grow(record);
        if grown.fell {
            self.counters.lower += 1;
        }
        self.processes.grow(record.tunnel, grown);
        let comparison = Comparison::of(record);
        let finding = comparison.finding(record, &self.tolerance);
        let before = tunnel.compare(comparison);
        lane.grow(record, grown, before, comparison, finding);
    }

    fn open_lane(&mut self, opened: &LaneOpened) -> Result<(), Error> {
        let key = LaneKey { channel: opened.channel, lane: opened.lane };
        let lane = self.lanes.entry(key).or_insert_with(Lane::unknown);
        lane.opened = true;
        match lane.price {
            Some(price) if price.units_per_gib() != opened.price_per_gib => {
                Err(Error::PriceChanged {
                    channel: opened.channel,
                    lane: opened.lane,
                    journal: opened.price_per_gib,
                    config: price.units_per_gib(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Notes that the lane's price is in the journal.
    pub fn opened(&mut self, opened: &LaneOpened) {
        let key = LaneKey { channel: opened.channel, lane: opened.lane };
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.opened = true;
        }
    }
}
