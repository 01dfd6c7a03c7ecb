//! One run: payers use the exit while everything that can break does, and in the end all is quiet
//! and the sums are drawn.

mod crowd;
mod duties;
mod late;
mod plain;
mod reorg;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tempfile::TempDir;
use weir_settle::Error;
use weir_settle::book::LaneKey;
use weir_settle::chain::ChainView;
use weir_settle::clerk::Peer;
use weir_settle::clock::Clock;
use weir_settle::journal::entry::{Item, Note};
use weir_usage::bond::{EpochStatement, Signed};
use weir_usage::{Frame, VoucherOffer};

use crate::client::Client;
use crate::disk::Disk;
use crate::node::{GENESIS_S, Mood, Node};
use crate::payer::{LANE, Payer};
use crate::points::{Fault, Plan, Points};
use crate::relay::{Link, Relay};
use crate::rng::Rng;
use crate::sidecar::{self, ANCHOR, DOMAIN, EXIT, Host, Sidecar};
use crate::state::StateDisk;
use crate::verdict::{self, Verdict};
pub use crowd::{Crowd, crowd};
pub use late::another_challenge_as_one_is_recorded;
pub use reorg::unmined_beside_a_leaving_payer;

/// Rounds in which things break.
const ROUNDS: u64 = 9;
/// Rounds in which nothing breaks any more, at most; a stuck transaction takes a few.
const QUIET_ROUNDS: u64 = 120;
/// Starts in a row that fail because the disk is full.
const STARTS_MAX: u32 = 20;
/// An answer of the sidecar that takes longer than this, in virtual time, never comes.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a challenger pays, in wei: more than covers the answer.
const FEE_WEI: u128 = 2_000_000_000_000_000;
/// Between two blocks.
const BLOCK: Duration = Duration::from_millis(400);

/// Everything of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) rng: Rng,
    pub(crate) host: Host,
    pub(crate) payers: Vec<Payer>,
    pub(crate) relay: Relay,
    pub(crate) complaints: Vec<String>,
    pub(crate) client: Client,
    /// By epoch: all that was ever given out.
    pub(crate) statements: BTreeMap<u64, Vec<Signed<EpochStatement>>>,
    /// Challenges pay the least that they may.
    is_stingy: bool,
    /// Hours that went by without blocks.
    hours: u64,
    sidecar: Option<Sidecar>,
    link: Option<Link>,
    plans: Vec<Plan>,
    target: Option<String>,
}

/// Runs a seed. `target` is the name of a step at which it is to crash.
pub fn run(seed: u64, target: Option<&str>) -> Verdict {
    runtime().block_on(async {
        let mut run = Run::new(seed, target);
        for round in 0..ROUNDS {
            run.round(round).await;
        }
        run.settle().await;
        verdict::draw(seed, &run)
    })
}

/// One thread, whose time passes when nothing else is to be done.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing")
}

impl Run {
    fn new(seed: u64, target: Option<&str>) -> Self {
        let mut rng = Rng(seed);
        let count = 1 + rng.below(3) as u8;
        let payers: Vec<Payer> = (0..count)
            .map(|number| {
                // Most have enough; some will run dry.
                let deposit = if rng.one_in(5) { 15_000 } else { 1_000_000 };
                Payer::new(number, deposit, &DOMAIN)
            })
            .collect();
        let deposits = payers.iter().map(Payer::deposit).collect();
        let points = Points::new(Rng(rng.next()));
        let plans = plans(target, &mut rng);
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&seed.to_be_bytes());
        let directory = directory();
        let client = Client::new(&payers[0]);
        client.write(directory.path()).expect("a temporary directory takes two files");
        let journal = directory.path().join(sidecar::JOURNAL);
        // The host's clock is off by up to two hours.
        let off_s = rng.below(2 * 7200);
        let host = Host {
            config: sidecar::config(&payers, rng.one_in(3), directory.path()),
            disk: Disk::new(points.clone(), &journal).expect("the directory is empty"),
            clock: Clock::standing((GENESIS_S + off_s - 7200) * 1000),
            _directory: Arc::new(directory),
            state: StateDisk::new(points.clone()),
            node: Arc::new(Mutex::new(Node::new(
                DOMAIN,
                ANCHOR,
                sidecar::wallet().address(),
                deposits,
            ))),
            points,
            secret,
        };
        let is_duty = |name: &str| ["answer", "fees"].iter().any(|duty| name.contains(duty));
        let is_stingy = rng.one_in(4) && !target.is_some_and(is_duty);
        let mut run = Self {
            rng,
            host,
            payers,
            relay: Relay::new(EXIT),
            complaints: Vec::new(),
            client,
            statements: BTreeMap::new(),
            is_stingy,
            hours: 0,
            sidecar: None,
            link: None,
            plans,
            target: target.map(str::to_owned),
        };
        run.arm();
        run
    }

    async fn round(&mut self, round: u64) {
        self.trouble();
        if !self.is_up().await {
            return;
        }
        if self.rng.one_in(12) {
            self.relay.restart();
            self.link = None;
        }
        if self.rng.one_in(20) {
            let index = self.rng.below(self.payers.len() as u64) as usize;
            self.payers[index].is_gone = true;
        }
        self.traffic(round + 1 == ROUNDS).await;
        self.sample().await;
        self.some_hours();
        if self.wants_duty() {
            // All the way to an anchor that can be challenged and signed for.
            self.settle_now(16).await;
        } else if self.rng.one_in(3)
            || ["anchor", "root", "settle"].iter().any(|step| self.wants(step))
        {
            self.settle_now(6).await;
        } else {
            let count = 1 + self.rng.below(4);
            self.blocks(count).await;
        }
        self.challenge();
        let count = if self.wants_duty() { 10 } else { self.rng.below(5) };
        self.blocks(count).await;
        if self.rng.one_in(10) || self.wants("note") {
            self.note().await;
        }
        self.after_crash();
    }

    /// All that was delivered is reported, signed for, claimed and pulled; days are anchored,
    /// challenges answered, epochs signed for.
    async fn settle(&mut self) {
        self.after_crash();
        self.host.points.arm(None);
        self.plans.clear();
        self.node().calm();
        self.end_the_day();
        for round in 0..QUIET_ROUNDS {
            if !self.is_up().await {
                continue;
            }
            self.relay.close(true, &mut self.rng);
            self.exchange().await;
            self.settle_now(40).await;
            // Days rest while a settle-now runs.
            self.blocks(8).await;
            self.collect_statements();
            if self.relay.is_settled() && verdict::is_quiet(self) {
                return;
            }
            if round > 2 {
                self.wait_for_deadlines();
            }
        }
        self.complaints.push(format!("not settled after {QUIET_ROUNDS} quiet rounds"));
    }

    /// What the node does to the sidecar in this round.
    fn trouble(&mut self) {
        let rng = &mut self.rng;
        let mood = match rng.below(20) {
            0 => Mood::Hangs,
            1 => Mood::Errors,
            2 => Mood::Forgets,
            3 => Mood::Pretends,
            4 => Mood::Stale,
            5 => Mood::Pessimist,
            6 => Mood::Poor,
            _ => Mood::Well,
        };
        let (spike, stall, revert) = (rng.one_in(10), rng.one_in(8), rng.one_in(15));
        let mut node = self.host.node.lock().expect("no holder of this lock panics");
        node.calm();
        node.mood = mood;
        node.stalled = stall;
        node.revert_next = revert;
        if spike {
            // Past the default ceiling.
            node.base_fee = 5_000_000_000_000;
        }
        let wants = |what: &str| self.target.as_deref().is_some_and(|t| t.contains(what));
        // The step that is wanted needs a chain on which it can happen.
        if wants("abandoned") {
            node.mood = Mood::Pessimist;
        } else if wants("reverted") {
            node.calm();
            node.revert_next = true;
        } else if wants("unmined") || wants("replaced") {
            node.calm();
            node.stalled = wants("replaced");
        }
    }

    fn wants(&self, what: &str) -> bool {
        self.target.as_deref().is_some_and(|t| t.contains(what))
    }

    /// Forwards, reports and pays.
    async fn traffic(&mut self, is_last: bool) {
        for _ in 0..1 + self.rng.below(3) {
            self.learn().await;
            for index in 0..self.payers.len() {
                let bytes = self.rng.below(8_000);
                let got = self.relay.deliver(index, bytes, &mut self.rng);
                self.payers[index].got_bytes += got;
            }
            self.relay.close(is_last, &mut self.rng);
            self.exchange().await;
        }
    }

    /// Reports what was delivered, and answers what is asked.
    async fn exchange(&mut self) {
        if self.report().await.is_none() {
            return self.after_crash();
        }
        for index in 0..self.payers.len() {
            if self.pay(index).await.is_none() {
                return self.after_crash();
            }
        }
    }

    /// `None` if the sidecar died or doesn't answer.
    async fn report(&mut self) -> Option<()> {
        self.connect().await?;
        let channels: Vec<_> = self.payers.iter().map(|p| p.channel).collect();
        let records = self.relay.records(|payer| channels[payer]);
        let clerk = self.sidecar.as_ref()?.clerk.clone();
        for record in records {
            let peer = self.link.as_ref()?.peer.clone();
            self.alive(clerk.record(Box::new(record), &peer)).await?.ok()?;
        }
        while !self.relay.is_settled() {
            // Others are answers to a voucher that was given up.
            if let Frame::RecordAck { next_seq } = self.frame().await? {
                self.relay.acked(next_seq);
            }
        }
        Some(())
    }

    async fn connect(&mut self) -> Option<()> {
        if self.link.is_some() {
            return Some(());
        }
        let clerk = self.sidecar.as_ref()?.clerk.clone();
        let (peer, frames, cut) = Peer::new();
        let ack = self.alive(clerk.hello(self.relay.epoch(), &peer)).await?.ok()?;
        self.relay.greeted(&ack);
        self.link = Some(Link { peer, frames, cut });
        Some(())
    }

    async fn learn(&mut self) -> Option<()> {
        let clerk = self.sidecar.as_ref()?.clerk.clone();
        let view = self.alive(clerk.view()).await?.ok()?;
        for (index, payer) in self.payers.iter().enumerate() {
            let key = LaneKey { channel: payer.channel, lane: LANE };
            if let Some(lane) = view.lanes.get(&key) {
                self.relay.learned(index, lane.credit);
            }
        }
        Some(())
    }

    async fn pay(&mut self, index: usize) -> Option<()> {
        let clerk = self.sidecar.as_ref()?.clerk.clone();
        let view = self.alive(clerk.view()).await?.ok()?;
        let key = LaneKey { channel: self.payers[index].channel, lane: LANE };
        let Some(ask) = view.lanes.get(&key).and_then(|lane| lane.ask) else { return Some(()) };
        if self.rng.one_in(10)
            && let Some(forged) = self.payers[index].forge(&ask, self.rng.next())
        {
            self.forged(forged).await?;
        }
        let Some(offer) = self.payers[index].answer(&ask) else { return Some(()) };
        // A client that got no answer asks again.
        for _ in 0..1 + self.rng.below(2) {
            match self.offer(offer).await? {
                Frame::VoucherAck(ack) => {
                    let payer = &mut self.payers[index];
                    payer.acked = payer.acked.max(ack.amount);
                }
                _ => break,
            }
        }
        Some(())
    }

    async fn forged(&mut self, offer: VoucherOffer) -> Option<()> {
        if let Frame::VoucherAck(ack) = self.offer(offer).await? {
            self.complaints.push(format!("a forged voucher was taken: {ack:?}"));
        }
        Some(())
    }

    /// Offers a voucher and returns the answer.
    async fn offer(&mut self, offer: VoucherOffer) -> Option<Frame> {
        let clerk = self.sidecar.as_ref()?.clerk.clone();
        let peer = self.link.as_ref()?.peer.clone();
        self.alive(clerk.voucher(offer, &peer)).await?.ok()?;
        loop {
            match self.frame().await? {
                Frame::RecordAck { next_seq } => self.relay.acked(next_seq),
                other => return Some(other),
            }
        }
    }

    /// The next frame of the sidecar. A link on which nothing comes is given up.
    async fn frame(&mut self) -> Option<Frame> {
        let points = self.host.points.clone();
        let link = self.link.as_mut()?;
        let frame = tokio::select! {
            biased;
            () = points.died() => None,
            frame = link.frames.recv() => frame,
            _ = link.cut.wait_for(Option::is_some) => None,
            () = tokio::time::sleep(PATIENCE) => None,
        };
        if frame.is_none() {
            self.link = None;
            self.relay.disconnected();
        }
        frame
    }

    async fn note(&mut self) -> Option<()> {
        let clerk = self.sidecar.as_ref()?.clerk.clone();
        let note = Note::Waived { tunnel: "ff".repeat(16), reason: "nothing there".into() };
        self.alive(clerk.journal(vec![Item::Note(note)])).await?.ok()
    }

    /// Claims, settles and anchors, for as long as `blocks` blocks take.
    async fn settle_now(&mut self, blocks: u64) {
        let Some(driver) = self.sidecar.as_ref().map(|s| s.driver.clone()) else { return };
        let job = tokio::spawn(async move { driver.settle_now().await });
        for _ in 0..blocks {
            if job.is_finished() || self.host.points.down().is_some() {
                break;
            }
            self.blocks(1).await;
        }
        job.abort();
    }

    /// Some time passes on the chain.
    async fn blocks(&mut self, count: u64) {
        for _ in 0..count {
            if self.host.points.down().is_some() {
                return;
            }
            let (reorg, intrude) = (self.rng.one_in(12), self.rng.one_in(60));
            let anchors = self.rng.one_in(2);
            let (unmine, replace) = (self.wants("unmined"), self.wants("replaced"));
            let is_quiet = self.plans.is_empty() && self.host.points.is_disarmed();
            let depth = if unmine { 2 } else { 1 + self.rng.below(2) as usize };
            {
                let mut node = self.host.node.lock().expect("no holder of this lock panics");
                if !is_quiet && (intrude || replace && node.has_pending()) {
                    node.intrude(anchors);
                }
                node.mine();
                // Deeper than the configured confirmations no chain may change, by definition.
                if !is_quiet && (reorg || unmine && self.rng.one_in(3)) {
                    node.reorganise(depth, &mut self.rng);
                }
            }
            tokio::time::sleep(BLOCK).await;
        }
    }

    async fn alive<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.host.points.died() => None,
            answer = answer => Some(answer),
            () = tokio::time::sleep(PATIENCE) => None,
        }
    }

    /// Starts the sidecar if there is none.
    async fn is_up(&mut self) -> bool {
        for _ in 0..STARTS_MAX {
            if self.sidecar.is_some() {
                return true;
            }
            match self.host.start() {
                Ok(sidecar) => self.sidecar = Some(sidecar),
                Err(_) if self.host.points.down().is_some() => self.after_crash(),
                Err(Error::Storage { .. }) => tokio::time::sleep(BLOCK).await,
                Err(e) => {
                    self.complaints.push(format!("it doesn't start again: {e}"));
                    return false;
                }
            }
        }
        false
    }

    /// If the sidecar died: what a crash does to everybody.
    fn after_crash(&mut self) {
        let Some(fault) = self.host.points.down() else { return };
        self.collect_statements();
        self.sidecar = None;
        self.link = None;
        self.relay.disconnected();
        if fault == Fault::Power {
            self.relay.power_cut();
        }
        self.host.disk.crash(fault, &mut self.rng);
        self.host.state.crash(fault);
        self.host.points.revive();
        self.arm();
    }

    fn arm(&mut self) {
        let next = (!self.plans.is_empty()).then(|| self.plans.remove(0));
        self.host.points.arm(next);
    }

    /// What the sidecar says of the chain.
    pub(crate) fn view(&self) -> Option<Arc<ChainView>> {
        self.sidecar.as_ref().map(|sidecar| sidecar.driver.view())
    }

    fn node(&self) -> MutexGuard<'_, Node> {
        self.host.node.lock().expect("no holder of this lock panics")
    }
}

/// In memory where there is such a place: thousands of runs sync their files there.
fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

/// Three crashes: the one that is wanted, and others at any step.
fn plans(target: Option<&str>, rng: &mut Rng) -> Vec<Plan> {
    let fault = |rng: &mut Rng| match rng.below(5) {
        0 | 1 => Fault::Kill,
        2 | 3 => Fault::Power,
        _ => Fault::Full,
    };
    let mut plans: Vec<Plan> = (0..2)
        .map(|_| {
            let after = rng.below(250);
            Plan { name: None, after, fault: fault(rng) }
        })
        .collect();
    if let Some(name) = target {
        let after = {
            let first = name.contains("new file") || name.contains("header") || rng.one_in(2);
            if first { 0 } else { rng.below(3) }
        };
        let fault = if rng.one_in(2) { Fault::Kill } else { Fault::Power };
        let wanted = Plan { name: Some(name.into()), after: 0, fault };
        if name.contains("recovered") || name.contains("torn tail") {
            // First something has to be torn.
            let tear = Plan { name: Some("write record".into()), after, fault: Fault::Kill };
            plans.splice(0..0, [tear, wanted]);
        } else {
            plans.insert(0, Plan { after, ..wanted });
        }
    }
    plans
}
