//! Blind tokens: verified and spent by a thread of their own, so that neither a signature check nor
//! a sync to disk is in anybody's way. What came while the last sync ran is spent with the next
//! one.

mod judge;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use weir_blind::spent::DirDisk;
use weir_blind::{Epoch, Outcome, Spent};
use weir_core::{Command, ControlReply, CreditLine, Grant, QueryId, TokenRefusal};
use weir_proto::request::Credential;

use crate::config::TokensConfig;
use crate::failure::Failure;
use crate::worker::Peers;
use judge::{Judge, Verdict};

/// Tokens that wait. With a thousand syncs per second and 256 in each, none waits for long; beyond
/// it they are refused as "not now".
const QUEUE: usize = 4_096;

/// Tokens spent with one sync.
const BATCH: usize = 256;

/// How late a new epoch may begin while nobody shows a token.
const TICK: Duration = Duration::from_secs(1);

/// What became of tokens, for metrics.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    accepted: AtomicU64,
    spent: AtomicU64,
    invalid: AtomicU64,
    wrong_epoch: AtomicU64,
    wrong_issuer: AtomicU64,
    unavailable: AtomicU64,
}

impl Counters {
    /// Outcomes and how often each was.
    pub(crate) fn entries(&self) -> [(&'static str, u64); 6] {
        [
            ("accepted", &self.accepted),
            ("spent_before", &self.spent),
            ("invalid", &self.invalid),
            ("wrong_epoch", &self.wrong_epoch),
            ("wrong_issuer", &self.wrong_issuer),
            ("unavailable", &self.unavailable),
        ]
        .map(|(outcome, counter)| (outcome, counter.load(Relaxed)))
    }

    fn count(&self, result: Result<(), TokenRefusal>) {
        let counter = match result {
            Ok(()) => &self.accepted,
            Err(TokenRefusal::Spent) => &self.spent,
            Err(TokenRefusal::Invalid) => &self.invalid,
            Err(TokenRefusal::WrongEpoch) => &self.wrong_epoch,
            Err(TokenRefusal::WrongIssuer) => &self.wrong_issuer,
            Err(TokenRefusal::Unavailable) => &self.unavailable,
        };
        counter.fetch_add(1, Relaxed);
    }
}

/// The way to the thread.
#[derive(Debug)]
pub(crate) struct Tokens {
    jobs: SyncSender<Job>,
    pub(crate) counters: Arc<Counters>,
}

#[derive(Debug)]
struct Job {
    worker: usize,
    query: QueryId,
    credential: Credential,
}

struct Desk {
    judge: Judge,
    spent: Spent<DirDisk>,
    issuers: Vec<Grant>,
    bytes: u64,
    counters: Arc<Counters>,
    peers: Arc<Peers>,
}

impl Tokens {
    /// Opens the record of spent tokens and starts the thread, which ends when this is dropped.
    pub(crate) fn start(
        config: &TokensConfig,
        exit: [u8; 32],
        issuers: Vec<Grant>,
        peers: Arc<Peers>,
    ) -> Result<Arc<Self>, Failure> {
        let dir = config.dir.display();
        let failed = |error: &dyn std::fmt::Display| {
            Failure::Unavailable(format!("access.tokens.dir {dir}: {error}"))
        };
        let disk = DirDisk::open(&config.dir).map_err(|error| failed(&error))?;
        let spent =
            Spent::new(disk, exit, config.per_epoch as usize).map_err(|error| failed(&error))?;
        let (jobs, taken) = sync_channel(QUEUE);
        let counters = Arc::new(Counters::default());
        let mut desk = Desk {
            judge: Judge::new(config, exit),
            spent,
            issuers,
            bytes: config.bytes,
            counters: Arc::clone(&counters),
            peers,
        };
        desk.turn_epoch();
        let spawned = std::thread::Builder::new().name("tokens".to_owned());
        spawned.spawn(move || desk.serve(&taken)).map_err(|error: io::Error| failed(&error))?;
        Ok(Arc::new(Tokens { jobs, counters }))
    }

    /// Takes a token; the answer goes to its worker. `false` when too many wait.
    pub(crate) fn take(&self, worker: usize, query: QueryId, credential: Credential) -> bool {
        let taken = self.jobs.try_send(Job { worker, query, credential }).is_ok();
        if !taken {
            self.counters.count(Err(TokenRefusal::Unavailable));
        }
        taken
    }
}

impl Desk {
    fn serve(&mut self, jobs: &Receiver<Job>) {
        loop {
            let first = match jobs.recv_timeout(TICK) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let batch: Vec<Job> = first.into_iter().chain(jobs.try_iter().take(BATCH)).collect();
            self.turn_epoch();
            self.decide(batch);
        }
    }

    /// Tells the engines what to ask for, and forgets what is over.
    fn turn_epoch(&mut self) {
        if !self.judge.turn(unix_s()) {
            return;
        }
        let challenges: Arc<[String]> = self.judge.challenges().into();
        self.peers.command(&Command::TokenChallenges(challenges));
        if let Err(error) = self.spent.retire(self.judge.first()) {
            tracing::error!("{error}");
        }
    }

    fn decide(&mut self, batch: Vec<Job>) {
        let spent = &self.spent;
        let known = |epoch: Epoch, nullifier: &_| spent.is_spent(epoch, nullifier);
        let verdicts: Vec<Result<Verdict, TokenRefusal>> =
            batch.iter().map(|job| self.judge.look(&job.credential, known)).collect();
        let good: Vec<_> =
            verdicts.iter().flatten().map(|verdict| (verdict.epoch, verdict.nullifier)).collect();
        let mut outcomes = self.spent.spend(&good).into_iter();
        if let Some(problem) = self.spent.take_problem() {
            tracing::error!("{problem}");
        }
        for (job, verdict) in batch.into_iter().zip(verdicts) {
            let result = verdict.and_then(|verdict| {
                let outcome = outcomes.next().unwrap_or(Outcome::Storage);
                accepted(outcome).map(|()| self.grant(verdict.issuer))
            });
            self.counters.count(result.as_ref().map(|_| ()).map_err(|refusal| *refusal));
            self.peers.reply(job.worker, ControlReply::Token { query: job.query, result });
        }
    }

    /// What one token buys: its issuer's credit, as far as the allowance goes.
    fn grant(&self, issuer: usize) -> Arc<Grant> {
        let allowance = Some(Arc::new(CreditLine::new(self.bytes)));
        Arc::new(Grant { allowance, ..self.issuers[issuer].clone() })
    }
}

fn accepted(outcome: Outcome) -> Result<(), TokenRefusal> {
    match outcome {
        Outcome::Accepted => Ok(()),
        Outcome::SpentBefore => Err(TokenRefusal::Spent),
        Outcome::EpochClosed => Err(TokenRefusal::WrongEpoch),
        Outcome::EpochFull | Outcome::Storage => Err(TokenRefusal::Unavailable),
    }
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
