//! The chain: what vouchers are worth there, and the transactions that collect it.
//!
//! One task, the [`Driver`], looks at the chain every few seconds. It first finishes what the
//! outbox holds, then decides on new intents. A chain that can't be reached stops only this task:
//! records and vouchers are journaled all the same, and the exposure is shown.

mod advance;
pub mod answers;
pub mod bond;
pub mod challenge;
pub mod contracts;
pub mod days;
pub mod deploy;
pub mod force;
mod kept;
pub mod nodes;
pub mod once;
pub mod outbox;
pub mod payer;
mod plan;
pub mod preview;
mod price;
pub mod quorum;
mod refresh;
mod rival;
pub mod rpc;
mod view;
pub mod vouch;
mod wallet;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{error, info, warn};
use weir_usage::SlaId;
use weir_usage::bond::EpochStatement;

pub use force::Report;
pub use price::Waiting;
pub use view::{ChainView, IntentView};

use crate::book::LaneKey;
use crate::clerk::ClerkHandle;
use crate::config::{ChainConfig, Channel, Config, Policy};
use crate::error::Error;
use crate::journal::entry::{Action, ClaimRow, Entry, Item, OutboxStep, Step, Vouched};
use crate::keys::Wallet;
use answers::Answers;
use days::{Days, Decided};
use force::Job;
use outbox::{Intent, Outbox};
use quorum::Quorum;
use rpc::Rpc;
use vouch::Voucher;

/// The longest pause between two attempts to reach a chain that is down.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// While somebody waits for `settle-now`, or a transaction of ours is under way on a fast chain.
const BUSY_POLL: Duration = Duration::from_millis(250);
/// `settle-now` requests that wait for the one that runs.
pub const JOBS_MAX: usize = 8;

/// What the journal says about the outbox, and about when things were last done.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// All intents.
    pub outbox: Outbox,
    /// When each kind of action was last decided on, Unix time in milliseconds.
    pub last_planned_ms: HashMap<&'static str, u64>,
    /// Vouchers that the contract refused to pay, by lane: claiming them again only burns gas.
    pub refused: HashMap<LaneKey, u64>,
    /// What gas cost lately.
    pub spending: wallet::Spending,
    /// When the journal's first entry was written.
    pub started_ms: Option<u64>,
    /// By agreement, the newest day of samples whose root was journaled.
    pub days: BTreeMap<SlaId, Decided>,
    /// The newest usage root whose anchor is final.
    pub anchored: Option<EpochStatement>,
    /// The newest epoch that was signed for.
    pub vouched: Option<Vouched>,
}

impl Past {
    /// Takes an entry of the journal.
    ///
    /// # Errors
    /// [`Error::Contradiction`] for a step that doesn't follow.
    pub fn replay(&mut self, offset: u64, entry: &Entry) -> Result<(), Error> {
        self.started_ms.get_or_insert(entry.at_ms);
        if let Item::Vouched(vouched) = &entry.item {
            self.vouched = Some(*vouched);
        }
        let Item::Outbox(step) = &entry.item else { return Ok(()) };
        self.take(step, entry.at_ms).map_err(|detail| Error::Contradiction { offset, detail })
    }

    fn take(&mut self, step: &OutboxStep, at_ms: u64) -> Result<(), String> {
        self.outbox.apply(step)?;
        if let (Step::Planned { .. }, Some(intent)) = (&step.step, self.outbox.get(step.intent)) {
            self.last_planned_ms.insert(intent.kind(), at_ms);
        }
        self.take_anchor(step);
        if let Step::Final { gas_used, gas_price, .. } = &step.step {
            self.spending.add(at_ms, gas_price.saturating_mul(u128::from(*gas_used)));
        }
        if let Step::Final { claimed, .. } = &step.step
            && let Some(Action::Claim { rows }) = self.outbox.get(step.intent).map(|i| &i.action)
        {
            for row in claimed.iter().filter(|r| contracts::is_hopeless(&r.skipped)) {
                let same = |r: &&ClaimRow| (r.channel, r.lane) == (row.channel, row.lane);
                if let Some(asked) = rows.iter().find(same) {
                    let key = LaneKey { channel: row.channel, lane: row.lane };
                    self.refused.insert(key, asked.seq);
                }
            }
        }
        Ok(())
    }

    fn take_anchor(&mut self, step: &OutboxStep) {
        let Some(intent) = self.outbox.get(step.intent) else { return };
        let is_final = matches!(step.step, Step::Final { success: true, .. });
        match intent.action {
            Action::AnchorDay { sla, day, epoch, root, total }
                if is_final || matches!(step.step, Step::Planned { .. }) =>
            {
                let decided = Decided { day, epoch, root, total, anchored: is_final };
                self.days.insert(sla, decided);
            }
            Action::Anchor { epoch, root, total } if is_final => {
                self.anchored = Some(EpochStatement { epoch, root, total });
            }
            _ => {}
        }
    }
}

/// Does what is to be done on chain.
#[derive(Debug)]
pub struct Driver {
    config: ChainConfig,
    policy: Policy,
    channels: Vec<Channel>,
    rpc: Quorum,
    wallet: Wallet,
    clerk: ClerkHandle,
    past: Past,
    /// Per open intent: what this process did about its newest transaction.
    sent: HashMap<u64, SentAt>,
    /// Since a failed intent of a kind: none of that kind is planned for a while.
    paused: HashMap<&'static str, Instant>,
    /// When each kind was last planned by this process, and when and at what time it began.
    planned: HashMap<&'static str, Instant>,
    started: Instant,
    started_ms: u64,
    /// What is due and isn't done.
    waiting: Vec<Waiting>,
    /// Who else anchors with the claim key, in words; from then on nothing more is signed for.
    rival: Option<String>,
    /// The wallet's nonce of which it was said that somebody else had a part in it.
    stranger: Option<u64>,
    /// When it was last said that the wallet is low.
    wallet_said: Option<Instant>,
    refreshed: Option<Instant>,
    chain: refresh::Known,
    days: Days,
    answers: Answers,
    voucher: Option<Voucher>,
    jobs: mpsc::Receiver<oneshot::Sender<Report>>,
    job: Option<Job>,
    view: watch::Sender<Arc<ChainView>>,
    stop: watch::Receiver<bool>,
}

#[derive(Debug, Clone)]
struct SentAt {
    made: Instant,
    /// When to send it (again); in the past for one that was never sent by this process.
    next: Instant,
    /// Why the node refused it the last time.
    refused: Option<String>,
    /// When its nonce was first seen used, with no receipt of it.
    gone: Option<Instant>,
}

impl SentAt {
    fn now() -> Self {
        let now = Instant::now();
        Self { made: now, next: now, refused: None, gone: None }
    }
}

/// The other end of a [`Driver`].
#[derive(Debug, Clone)]
pub struct DriverHandle {
    jobs: mpsc::Sender<oneshot::Sender<Report>>,
    view: watch::Receiver<Arc<ChainView>>,
}

impl DriverHandle {
    /// Claims, settles and anchors everything there is, and returns once all of it is final.
    ///
    /// # Errors
    /// [`Error::Stopping`].
    pub async fn settle_now(&self) -> Result<Report, Error> {
        let (reply, report) = oneshot::channel();
        self.jobs.send(reply).await.map_err(|_| Error::Stopping)?;
        report.await.map_err(|_| Error::Stopping)
    }

    /// The state as of the last look at the chain.
    pub fn view(&self) -> Arc<ChainView> {
        self.view.borrow().clone()
    }
}

impl Driver {
    /// A driver that goes on where `past` ends.
    pub fn new(
        config: &Config,
        rpc: Quorum,
        wallet: Wallet,
        clerk: ClerkHandle,
        past: Past,
        stop: watch::Receiver<bool>,
    ) -> (Self, DriverHandle) {
        let (jobs, queue) = mpsc::channel(JOBS_MAX);
        let first = ChainView::new(&rpc, &wallet, &past.outbox);
        let (view, watch) = watch::channel(Arc::new(first));
        let driver = Self {
            config: config.chain.clone(),
            policy: config.policy.clone(),
            channels: config.channels.clone(),
            rpc,
            wallet,
            clerk,
            past,
            sent: HashMap::new(),
            paused: HashMap::new(),
            planned: HashMap::new(),
            started: Instant::now(),
            started_ms: crate::now_ms(),
            waiting: Vec::new(),
            rival: None,
            stranger: None,
            wallet_said: None,
            refreshed: None,
            chain: refresh::Known::default(),
            days: Days::new(config),
            answers: Answers::new(config.duties.answer_challenges),
            voucher: None,
            jobs: queue,
            job: None,
            view,
            stop,
        };
        (driver, DriverHandle { jobs, view: watch })
    }

    /// Works until told to stop, or until the clerk is gone.
    pub async fn run(mut self) {
        let mut backoff = self.config.poll;
        loop {
            let mut stop = self.stop.clone();
            let outcome = tokio::select! {
                biased;
                outcome = self.turn() => outcome,
                // A turn may be cut off anywhere: that is what the outbox is for.
                () = crate::stopped(&mut stop) => return,
            };
            let pause = match outcome {
                Ok(()) => {
                    if !self.view.borrow().reachable {
                        info!(rpc = %self.rpc.shown(), "the chain answers");
                    }
                    backoff = self.config.poll;
                    if self.is_busy() { self.config.poll.min(BUSY_POLL) } else { self.config.poll }
                }
                Err(Error::Stopping) => return,
                Err(e) => {
                    if self.view.borrow().error.as_deref() != Some(&e.to_string()) {
                        error!("chain: {e}; records and vouchers are kept, this is tried again");
                    }
                    self.fail(&e);
                    backoff = (backoff * 2).min(BACKOFF_MAX.max(self.config.poll));
                    backoff
                }
            };
            tokio::select! {
                // A set order, so that a seed of the torture test means one course of events.
                biased;
                () = tokio::time::sleep(pause) => {}
                Some(reply) = self.jobs.recv(), if self.job.is_none() => {
                    self.job = Some(Job::new(reply));
                    self.refreshed = None;
                }
                () = crate::stopped(&mut stop) => return,
            }
        }
    }

    /// One look at the chain, and everything that follows from it.
    async fn turn(&mut self) -> Result<(), Error> {
        let head = self.rpc.look().await?;
        self.advance(head).await?;
        self.refresh(head).await?;
        if self.job.is_some() {
            let view = self.clerk.view().await?;
            self.plan_leaving(&view).await?;
            // Somebody's settle-now may take longer than a challenge has.
            self.plan_answers().await?;
            self.run_job(head).await?;
        } else {
            self.plan().await?;
        }
        self.vouch().await?;
        self.show(head);
        Ok(())
    }

    /// Journals a step and takes it, in that order.
    async fn step(&mut self, intent: u64, step: Step) -> Result<(), Error> {
        let step = OutboxStep { intent, step };
        self.clerk.journal(vec![Item::Outbox(step.clone())]).await?;
        self.take(&step)
    }

    fn take(&mut self, step: &OutboxStep) -> Result<(), Error> {
        self.past
            .take(step, crate::now_ms())
            .map_err(|detail| Error::Contradiction { offset: 0, detail })?;
        if let Some(intent) = self.past.outbox.get(step.intent) {
            log_step(intent, &step.step);
            if matches!(step.step, Step::Planned { .. }) {
                self.planned.insert(intent.kind(), Instant::now());
            }
            if !intent.is_open() {
                self.sent.remove(&step.intent);
                // What the lanes are worth has changed.
                self.refreshed = None;
            }
        }
        Ok(())
    }

    fn is_busy(&self) -> bool {
        self.job.is_some() || self.past.outbox.open().next().is_some()
    }

    fn address(&self) -> Address {
        self.wallet.address()
    }
}

/// Is the node of the configured chain, and are the contracts there?
///
/// # Errors
/// [`Error::WrongChain`], [`Error::NoContract`] or [`Error::Rpc`].
pub async fn check_chain(rpc: &Rpc, config: &ChainConfig) -> Result<(), Error> {
    let found = rpc.chain_id().await?;
    let expected = config.domain.chain_id;
    if found != expected {
        return Err(Error::WrongChain { rpc: rpc.shown().into(), found, expected });
    }
    let escrow = contracts::address(config.domain.escrow);
    let missing = |contract, at: Address, reason: &str| Error::NoContract {
        contract,
        address: at.to_string(),
        chain_id: found,
        reason: reason.into(),
    };
    if rpc.code(escrow).await?.is_empty() {
        return Err(missing("ExitEscrow", escrow, "there is no code"));
    }
    let separator = rpc
        .view(escrow, contracts::IExitEscrow::domainSeparatorCall {})
        .await
        .map_err(|e| missing("ExitEscrow", escrow, &e.to_string()))?;
    if separator.0 != config.domain.separator().0 {
        return Err(missing("ExitEscrow", escrow, "its EIP-712 domain is another one"));
    }
    if let Some(anchor) = config.anchor {
        let anchor = contracts::address(anchor);
        if rpc.code(anchor).await?.is_empty() {
            return Err(missing("UsageAnchor", anchor, "there is no code"));
        }
    }
    Ok(())
}

fn log_step(intent: &Intent, step: &Step) {
    let (id, kind) = (intent.id, intent.kind());
    match step {
        Step::Planned { .. } => info!(id, kind, "planned"),
        Step::Signed { nonce, hash, .. } => info!(id, kind, nonce, %hash, "signed"),
        Step::Broadcast { hash } => info!(id, kind, %hash, "broadcast"),
        Step::Mined { hash, block } => info!(id, kind, %hash, block, "mined"),
        Step::Unmined => warn!(id, kind, "its block left the chain; sending it again"),
        Step::Final { hash, block, success: true, gas_used, .. } => {
            info!(id, kind, %hash, block, gas_used, "final");
        }
        Step::Final { hash, block, .. } => error!(id, kind, %hash, block, "reverted"),
        Step::Abandoned { reason } => warn!(id, kind, reason, "abandoned before it was signed"),
        Step::Replaced => {
            error!(id, kind, "its nonce was used by another transaction: who else has the key?");
        }
    }
}
