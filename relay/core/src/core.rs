//! What all connections of an engine share. Apart from the connections themselves, so that a
//! connection and the shared state can be borrowed side by side.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use quinn_proto::StreamId;
use slab::Slab;
use weir_proto::template::Templates;

use crate::admission::Sources;
use crate::chunks::Chunks;
use crate::config::{EngineConfig, Limits};
use crate::control::ControlRequest;
use crate::egress::Egress;
use crate::grants::{Grant, Grants};
use crate::held::Held;
use crate::ledger::TunnelCounters;
use crate::policy::Policy;
use crate::port::SlotId;
use crate::queries::Queries;
use crate::stats::EngineStats;
use crate::timers::{Due, TimerId, Timers};
use crate::tunnel::{Phase, Traffic, Tunnel};

#[derive(Debug)]
pub(crate) struct Core {
    /// The relay's name in Proxy-Status.
    pub(crate) name: String,
    pub(crate) limits: Limits,
    /// Of a connection that has shown a credential.
    pub(crate) receive_window: u32,
    pub(crate) policy: Arc<Policy>,
    pub(crate) grants: Arc<Grants>,
    /// Challenges for blind tokens; none: they are not taken.
    pub(crate) token_challenges: Arc<[String]>,
    pub(crate) templates: Templates,
    pub(crate) stats: EngineStats,
    /// When the last call said it was.
    pub(crate) now: Instant,
    pub(crate) chunks: Chunks,
    pub(crate) timers: Timers,
    pub(crate) egress: Egress,
    pub(crate) queries: Queries,
    pub(crate) sources: Sources,
    pub(crate) tunnels: Slab<Tunnel>,
    /// Questions for the control plane; bounded by the limits on queries.
    pub(crate) questions: VecDeque<ControlRequest>,
    /// Connections that may have something to send; each is in here at most once.
    pub(crate) dirty: VecDeque<usize>,
    /// Tunnels that are open but have no ledger slot yet.
    pub(crate) opened: Vec<usize>,
    /// Tunnels whose counters moved since they were published.
    pub(crate) moved: Vec<usize>,
    /// Last counters of tunnels that are gone.
    pub(crate) finals: Vec<(SlotId, TunnelCounters)>,
    /// TCP tunnels, and others that write a stream, that wait for credit.
    pub(crate) held: Held,
    pub(crate) draining: bool,
    tunnels_of_grant: HashMap<u32, u32>,
    id_base: u128,
    tunnels_opened: u64,
    session_base: u64,
    sessions_opened: u64,
}

/// Bits of a tunnel ID that count within a worker.
const COUNTER_BITS: u32 = 48;

impl Core {
    pub(crate) fn new(config: &EngineConfig, now: Instant) -> Self {
        let worker = u64::from(config.worker) << COUNTER_BITS;
        let mut timers = Timers::default();
        let held = Held::new(&mut timers, now);
        Core {
            name: config.name.clone(),
            limits: config.limits.clone(),
            receive_window: config.quic.receive_window,
            policy: config.policy.clone(),
            grants: config.grants.clone(),
            token_challenges: Arc::from([]),
            templates: config.templates.clone(),
            stats: EngineStats::default(),
            now,
            chunks: Chunks::default(),
            timers,
            egress: Egress::new(config.limits.egress_sockets),
            queries: Queries::default(),
            sources: Sources::default(),
            tunnels: Slab::new(),
            questions: VecDeque::new(),
            dirty: VecDeque::new(),
            opened: Vec::new(),
            moved: Vec::new(),
            finals: Vec::new(),
            held,
            draining: false,
            tunnels_of_grant: HashMap::new(),
            id_base: u128::from(config.epoch) << 64 | u128::from(worker),
            tunnels_opened: 0,
            session_base: worker,
            sessions_opened: 0,
        }
    }

    pub(crate) fn new_session(&mut self) -> u64 {
        self.sessions_opened += 1;
        self.session_base | self.sessions_opened
    }

    /// Whether one more tunnel may be opened under a grant.
    pub(crate) fn grant_has_room(&self, grant: &Grant) -> bool {
        let open = self.tunnels_of_grant.get(&grant.id).copied().unwrap_or(0);
        grant.max_tunnels.is_none_or(|max| open < max)
    }

    pub(crate) fn add_tunnel(
        &mut self,
        now: Instant,
        owner: (usize, StreamId),
        session: u64,
        grant: Arc<Grant>,
        port: u16,
        traffic: Traffic,
    ) -> usize {
        self.tunnels_opened += 1;
        *self.tunnels_of_grant.entry(grant.id).or_default() += 1;
        match traffic {
            Traffic::Udp(_) => self.stats.tunnels_udp_open += 1,
            Traffic::Tcp(_) => self.stats.tunnels_tcp_open += 1,
        }
        let id = self.id_base | u128::from(self.tunnels_opened);
        let entry = self.tunnels.vacant_entry();
        let key = entry.key();
        let timer = self.timers.add(Due::Tunnel(key), now);
        entry.insert(Tunnel::new(id, owner, session, grant, port, traffic, timer));
        key
    }

    /// Takes a tunnel out of service. It stays until its sockets are closed, because only then are
    /// its counters final.
    pub(crate) fn close_tunnel(&mut self, key: usize, reset: bool) {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        let phase = std::mem::replace(&mut tunnel.phase, Phase::Closing);
        match phase {
            Phase::Closing => return,
            Phase::Resolving { query } => self.queries.cancel(query),
            _ => {}
        }
        match tunnel.traffic {
            Traffic::Udp(_) => self.stats.tunnels_udp_open -= 1,
            Traffic::Tcp(_) => self.stats.tunnels_tcp_open -= 1,
        }
        tunnel.traffic.clear();
        tunnel.connection = None;
        self.let_go(key);
        let tunnel = &mut self.tunnels[key];
        self.timers.set(tunnel.timer, None);
        let grant = tunnel.meter.grant.id;
        if let Some(open) = self.tunnels_of_grant.get_mut(&grant) {
            *open -= 1;
            if *open == 0 {
                self.tunnels_of_grant.remove(&grant);
            }
        }
        tunnel.close_sockets(&mut self.egress, reset);
        if tunnel.sockets.is_empty() {
            self.finish_tunnel(key);
        }
    }

    /// After the last socket is closed.
    pub(crate) fn finish_tunnel(&mut self, key: usize) {
        let mut tunnel = self.tunnels.remove(key);
        self.timers.remove(tunnel.timer);
        tunnel.meter.settle(&mut self.stats);
        tunnel.meter.charge();
        if let Some(slot) = tunnel.meter.slot() {
            self.finals.push((slot, *tunnel.meter.counters()));
        }
    }

    /// The counters of a tunnel changed.
    pub(crate) fn mark_moved(&mut self, key: usize) {
        let meter = &mut self.tunnels[key].meter;
        if !std::mem::replace(&mut meter.listed, true) {
            self.moved.push(key);
        }
    }

    /// A tunnel may have payload or read credit for its socket.
    pub(crate) fn mark_ready(&mut self, key: usize) {
        if let Some(tunnel) = self.tunnels.get_mut(key) {
            self.egress.make_ready(key, &mut tunnel.ready);
        }
    }

    /// A tunnel handed something over for its socket: keeps its place in line until its turn is
    /// used up.
    pub(crate) fn keep_turn(&mut self, key: usize, bytes: usize) {
        if let Some(tunnel) = self.tunnels.get_mut(key) {
            let first = tunnel.deficit.spend(bytes);
            self.egress.stay_ready(key, &mut tunnel.ready, first);
        }
    }

    pub(crate) fn set_timer(&mut self, timer: TimerId, at: Option<Instant>) {
        self.timers.set(timer, at);
    }
}
