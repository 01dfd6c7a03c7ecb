//! A relay as far as money goes: sessions, tunnels, credit, and the stream of records. It follows
//! `relay/daemon`'s `control/{credit,export,settle}.rs`.

use std::collections::{BTreeMap, VecDeque};

use weir_settle::clerk::Peer;
use weir_usage::{
    Amount, ChannelId, CreditState, Digest, Direction, ExitId, Frame, Funding, HelloAck,
    RecordChain, Transport, UsageRecord,
};

use crate::payer::LANE;
use crate::rng::Rng;

/// What a payer may use without having signed for it.
pub(crate) const WINDOW_BYTES: u64 = 10_000;
/// The gate is asked before a packet, not within one.
pub(crate) const PACKET_BYTES: u64 = 1200;

/// One tunnel.
#[derive(Debug)]
pub(crate) struct Tunnel {
    /// Unique over all relay processes.
    pub(crate) id: u128,
    /// The payer, as an index.
    pub(crate) payer: usize,
    /// One connection of a payer with one relay process.
    pub(crate) session: u64,
    up_bytes: u64,
    down_bytes: u64,
    is_closed: bool,
    /// Of a process that died: known from its ledger file.
    is_inherited: bool,
    reported_bytes: Option<(u64, bool)>,
    acked_bytes: u64,
}

/// What was delivered in a session, and how it ended.
#[derive(Debug, Default, Clone)]
pub(crate) struct Session {
    /// The payer, as an index.
    pub(crate) payer: usize,
    /// Delivered bytes by tunnel.
    pub(crate) tunnels: BTreeMap<u128, u64>,
    /// The machine lost power in it.
    pub(crate) was_cut: bool,
}

/// The relay, over all its processes.
#[derive(Debug)]
pub(crate) struct Relay {
    exit: ExitId,
    epoch: u64,
    chain: Option<RecordChain>,
    tunnels: Vec<Tunnel>,
    in_flight: VecDeque<(u64, u128, u64, bool)>,
    acked: BTreeMap<usize, u64>,
    used: BTreeMap<usize, u64>,
    states: BTreeMap<usize, CreditState>,
    next_tunnel: u128,
    next_session: u64,
    open: BTreeMap<usize, u64>,
    /// All sessions there ever were.
    pub(crate) sessions: BTreeMap<u64, Session>,
}

impl Relay {
    /// The first process.
    pub(crate) fn new(exit: ExitId) -> Self {
        Self {
            exit,
            epoch: 1,
            chain: None,
            tunnels: Vec::new(),
            in_flight: VecDeque::new(),
            acked: BTreeMap::new(),
            used: BTreeMap::new(),
            states: BTreeMap::new(),
            next_tunnel: 1,
            next_session: 1,
            open: BTreeMap::new(),
            sessions: BTreeMap::new(),
        }
    }

    /// The stream that this process writes.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The process dies, and the next one reads its ledger file.
    pub(crate) fn restart(&mut self) {
        self.epoch += 1;
        self.chain = None;
        self.in_flight.clear();
        self.acked.clear();
        self.used.clear();
        self.states.clear();
        self.open.clear();
        for tunnel in &mut self.tunnels {
            tunnel.is_inherited = true;
            tunnel.is_closed = true;
            tunnel.reported_bytes = None;
            tunnel.acked_bytes = 0;
        }
    }

    /// The machine dies, and the ledger file with it.
    pub(crate) fn power_cut(&mut self) {
        for tunnel in std::mem::take(&mut self.tunnels) {
            if let Some(session) = self.sessions.get_mut(&tunnel.session) {
                session.was_cut = true;
            }
        }
        self.restart();
    }

    /// The sidecar hung up.
    pub(crate) fn disconnected(&mut self) {
        self.chain = None;
    }

    /// The sidecar says where its journal ends.
    pub(crate) fn greeted(&mut self, ack: &HelloAck) {
        self.acked(ack.next_seq);
        for (_, id, ..) in std::mem::take(&mut self.in_flight) {
            if let Some(tunnel) = self.tunnels.iter_mut().find(|t| t.id == id) {
                tunnel.reported_bytes = None;
            }
        }
        self.chain = Some(RecordChain::resume(self.exit, self.epoch, ack.next_seq, ack.head));
    }

    /// The sidecar has these records in its journal.
    pub(crate) fn acked(&mut self, next_seq: u64) {
        while let Some((seq, id, bytes, last)) = self.in_flight.front().copied() {
            if seq >= next_seq {
                break;
            }
            self.in_flight.pop_front();
            let Some(index) = self.tunnels.iter().position(|t| t.id == id) else { continue };
            let tunnel = &mut self.tunnels[index];
            let more = bytes.saturating_sub(tunnel.acked_bytes);
            tunnel.acked_bytes += more;
            if !tunnel.is_inherited {
                *self.acked.entry(tunnel.payer).or_default() += more;
            }
            if last {
                self.tunnels.remove(index);
            }
        }
    }

    /// Whether the sidecar has everything.
    pub(crate) fn is_settled(&self) -> bool {
        self.in_flight.is_empty() && self.tunnels.iter().all(|t| !t.is_unreported())
    }

    /// How a lane stands.
    pub(crate) fn learned(&mut self, payer: usize, state: CreditState) {
        self.states.insert(payer, state);
    }

    /// Forwards about `bytes` for a payer, as far as its credit goes. Returns how many.
    pub(crate) fn deliver(&mut self, payer: usize, bytes: u64, rng: &mut Rng) -> u64 {
        let limit = self.limit(payer);
        let mut done = 0;
        while done < bytes && self.used.get(&payer).copied().unwrap_or(0) < limit {
            let packet = 1 + rng.below(PACKET_BYTES);
            let index = self.tunnel(payer, rng);
            let tunnel = &mut self.tunnels[index];
            if rng.below(3) == 0 {
                tunnel.up_bytes += packet;
            } else {
                tunnel.down_bytes += packet;
            }
            let (id, session) = (tunnel.id, tunnel.session);
            *self.used.entry(payer).or_default() += packet;
            if let Some(session) = self.sessions.get_mut(&session) {
                *session.tunnels.entry(id).or_default() += packet;
            }
            done += packet;
        }
        done
    }

    /// Closes some tunnels, or all.
    pub(crate) fn close(&mut self, all: bool, rng: &mut Rng) {
        for tunnel in &mut self.tunnels {
            tunnel.is_closed |= all || rng.one_in(4);
        }
    }

    /// Records of what changed, stamped.
    pub(crate) fn records(&mut self, channel: impl Fn(usize) -> ChannelId) -> Vec<UsageRecord> {
        let Some(chain) = &mut self.chain else { return Vec::new() };
        let mut records = Vec::new();
        for tunnel in self.tunnels.iter_mut().filter(|t| t.is_unreported()) {
            let mut record = tunnel.record(channel(tunnel.payer));
            chain.stamp(&mut record);
            let (bytes, last) = (tunnel.bytes(), tunnel.is_closed);
            tunnel.reported_bytes = Some((bytes, last));
            self.in_flight.push_back((record.seq, tunnel.id, bytes, last));
            records.push(record);
        }
        records
    }

    fn limit(&self, payer: usize) -> u64 {
        let Some(state) = self.states.get(&payer) else { return 0 };
        let window = if state.funding == Funding::Funded { WINDOW_BYTES } else { 0 };
        let ours = self.acked.get(&payer).copied().unwrap_or(0);
        let prior = state.used_bytes.saturating_sub(ours);
        state.paid_bytes.saturating_add(window).saturating_sub(prior)
    }

    /// An open tunnel of the payer, by its index.
    fn tunnel(&mut self, payer: usize, rng: &mut Rng) -> usize {
        let open = |t: &Tunnel| t.payer == payer && !t.is_closed;
        if let Some(index) = self.tunnels.iter().position(open)
            && !rng.one_in(8)
        {
            return index;
        }
        let session = *self.open.entry(payer).or_insert_with(|| {
            self.next_session += 1;
            self.next_session
        });
        self.sessions.entry(session).or_insert_with(|| Session { payer, ..Session::default() });
        let id = self.next_tunnel;
        self.next_tunnel += 1;
        self.tunnels.push(Tunnel {
            id,
            payer,
            session,
            up_bytes: 0,
            down_bytes: 0,
            is_closed: false,
            is_inherited: false,
            reported_bytes: None,
            acked_bytes: 0,
        });
        self.tunnels.len() - 1
    }
}

impl Tunnel {
    fn bytes(&self) -> u64 {
        self.up_bytes + self.down_bytes
    }

    fn is_unreported(&self) -> bool {
        self.reported_bytes != Some((self.bytes(), self.is_closed))
    }

    fn record(&self, channel: ChannelId) -> UsageRecord {
        let direction = |bytes| Direction {
            received: Amount { bytes, packets: bytes },
            forwarded: Amount { bytes, packets: bytes },
            ..Direction::default()
        };
        UsageRecord {
            exit: ExitId::ZERO,
            epoch: 0,
            seq: 0,
            prev_hash: Digest::ZERO,
            tunnel: self.id,
            session: self.session,
            channel,
            lane: LANE,
            transport: Transport::Udp,
            is_final: self.is_closed,
            t0_ms: 1,
            t1_ms: 2,
            up: direction(self.up_bytes),
            down: direction(self.down_bytes),
            flow: None,
        }
    }
}

/// One connection of the relay to the sidecar.
#[derive(Debug)]
pub(crate) struct Link {
    /// The sidecar's name for it.
    pub(crate) peer: Peer,
    /// What the sidecar says.
    pub(crate) frames: tokio::sync::mpsc::Receiver<Frame>,
    /// Why it hung up.
    pub(crate) cut: tokio::sync::watch::Receiver<Option<String>>,
}
