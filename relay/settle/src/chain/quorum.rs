//! Several endpoints that check each other: what decides about money is believed only if they
//! agree on it, as of a block that they all have.
//!
//! - An endpoint that doesn't answer in time falls out, and is asked again after a pause.
//! - One that is behind is no liar: the block that reads are compared at is one that most have.
//! - A value counts if more than half of those who answered gave it, and at least `quorum` did;
//!   otherwise nothing is done ([`Error::Disagreement`]), the alarm is raised, and it is tried
//!   again.
//! - A signed transaction goes to all of them: it can't be changed, and whoever has it may mine it.

mod endpoint;
mod vote;

use std::fmt::Debug;
use std::future::Future;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy::eips::BlockNumberOrTag;
use alloy::primitives::{Address, B256, Bytes};
use alloy::rpc::types::TransactionReceipt;
use alloy::sol_types::SolCall;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::error;

pub use endpoint::EndpointView;

use super::rpc::{Fees, Rpc, Sent};
use crate::config::ChainConfig;
use crate::error::Error;
use endpoint::Endpoint;
use vote::{Answers, Outcome};

/// Two estimates of the same gas differ by what happened in a few blocks, not by more.
const ESTIMATE_RATIO_MAX: u64 = 2;
/// For an endpoint that is not known to be well.
const PROBE: Duration = Duration::from_secs(3);
/// How long a disagreement is shown. Most reads come every few seconds; one that doesn't come up
/// again by then is over.
const QUARREL: Duration = Duration::from_secs(60);

/// The endpoints of a configuration.
#[derive(Debug)]
pub struct Quorum {
    config: ChainConfig,
    endpoints: Vec<Endpoint>,
    /// The block of the last [`look`](Self::look), which reads are made at.
    block: AtomicU64,
    /// When they last disagreed, and on what.
    quarrel: Mutex<Option<(Instant, String)>>,
}

impl Quorum {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Rpc`] for a URL that isn't one or is there twice; [`Error::Key`] or [`Error::Io`]
    /// for one that can't be read.
    pub fn of(config: &ChainConfig) -> Result<Self, Error> {
        let mut urls: Vec<String> = Vec::new();
        for endpoint in &config.rpc {
            let url = endpoint.url()?;
            if urls.contains(&url) {
                return Err(Error::Rpc {
                    call: "connect",
                    rpc: endpoint.to_string(),
                    reason: "named twice: an endpoint can't check itself".into(),
                });
            }
            urls.push(url);
        }
        let connect = |url: &String| Rpc::new(url, config.connect_timeout, config.request_timeout);
        let rpcs = urls.iter().map(connect).collect::<Result<_, Error>>()?;
        Ok(Self::over(config, rpcs))
    }

    /// These endpoints instead of the configured ones: nodes in the same process, for example.
    pub fn over(config: &ChainConfig, rpcs: Vec<Rpc>) -> Self {
        let alone = rpcs.len() == 1;
        let endpoint = |rpc: Rpc| Endpoint::new(if alone { rpc } else { rpc.impatient() });
        let endpoints = rpcs.into_iter().map(endpoint).collect();
        let config = config.clone();
        Self { config, endpoints, block: AtomicU64::new(0), quarrel: Mutex::new(None) }
    }

    /// The endpoints without credentials, in the order of the configuration.
    pub fn shown(&self) -> String {
        let names: Vec<&str> = self.endpoints.iter().map(|e| e.rpc.shown()).collect();
        names.join(", ")
    }

    /// How each endpoint is.
    pub fn endpoints(&self) -> Vec<EndpointView> {
        let newest = self.endpoints.iter().filter_map(Endpoint::head).max().unwrap_or(0);
        self.endpoints.iter().map(|e| e.view(newest)).collect()
    }

    /// What they disagreed on during the last minute.
    pub fn quarrel(&self) -> Option<String> {
        let quarrel = self.quarrel.lock().expect("no holder of this lock panics").clone();
        quarrel.filter(|(at, _)| at.elapsed() < QUARREL).map(|(_, words)| words)
    }

    /// Asks every endpoint for its newest block, whether it is of the configured chain and has the
    /// contracts (once), and returns the newest block that more than half of them have.
    ///
    /// # Errors
    /// The first endpoint's trouble if fewer than the quorum are well.
    pub async fn look(&self) -> Result<u64, Error> {
        let mut asked = JoinSet::new();
        let alone = self.endpoints.len() == 1;
        // The driver itself makes a pause for a single one.
        let due = |e: &Endpoint| alone || e.is_due();
        for (index, endpoint) in self.endpoints.iter().enumerate().filter(|(_, e)| due(e)) {
            let (rpc, config) = (endpoint.rpc.clone(), self.config.clone());
            let is_checked = endpoint.is_up();
            asked.spawn(async move {
                if is_checked || alone {
                    return (index, greet(&rpc, &config, is_checked).await);
                }
                // One that fell out doesn't hold up the others for long.
                let greeted = tokio::time::timeout(PROBE, greet(&rpc, &config, false)).await;
                (index, greeted.unwrap_or_else(|_| Err(rpc.silent("eth_chainId", PROBE))))
            });
        }
        let mut trouble = None;
        for (index, outcome) in in_order(asked).await {
            match outcome {
                Ok(head) => self.endpoints[index].answered(head),
                Err(e) => {
                    self.endpoints[index].failed(&e, self.config.poll);
                    trouble.get_or_insert(e);
                }
            }
        }
        let mut heads: Vec<u64> = self.endpoints.iter().filter_map(Endpoint::head).collect();
        if heads.len() < self.config.quorum {
            return Err(trouble.unwrap_or_else(|| self.too_few("eth_blockNumber", heads.len())));
        }
        heads.sort_unstable_by(|a, b| b.cmp(a));
        // The lower of two, the middle of three: a minority can't move it where nobody else is.
        let block = heads[heads.len() / 2];
        self.block.store(block, Ordering::Relaxed);
        Ok(block)
    }

    /// `eth_call` as of the block of the last look.
    ///
    /// # Errors
    /// [`Error::Disagreement`] or [`Error::Rpc`].
    pub async fn view<C: SolCall>(&self, to: Address, call: C) -> Result<C::Return, Error> {
        let (input, block) = (Bytes::from(call.abi_encode()), self.at());
        let answers = self
            .ask(move |rpc| {
                let input = input.clone();
                async move { rpc.call(to, input, block).await }
            })
            .await;
        let output = self.agree("eth_call", C::SIGNATURE, answers, PartialEq::eq)?;
        self.endpoints[0].rpc.decode::<C>(to, &output)
    }

    /// The wallet's wei as of the block of the last look.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    pub async fn balance(&self, of: Address) -> Result<u128, Error> {
        let block = self.at();
        let answers = self.ask(move |rpc| async move { rpc.balance_at(of, block).await }).await;
        self.agree("eth_getBalance", "the wallet", answers, PartialEq::eq)
    }

    /// The time of the block of the last look, Unix seconds.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    pub async fn time(&self) -> Result<u64, Error> {
        let block = self.at();
        let answers = self.ask(move |rpc| async move { rpc.time(block).await }).await;
        let time = self.agree("eth_getBlockByNumber", "its time", answers, PartialEq::eq)?;
        time.ok_or_else(|| self.too_few("eth_getBlockByNumber", 0))
    }

    /// The next nonce as of a block.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    pub async fn nonce(&self, of: Address, block: u64) -> Result<u64, Error> {
        let block = BlockNumberOrTag::Number(block);
        let answers = self.ask(move |rpc| async move { rpc.nonce(of, block).await }).await;
        self.agree("eth_getTransactionCount", "the wallet", answers, PartialEq::eq)
    }

    /// Where a transaction is, as of the block of the last look. An endpoint that doesn't have the
    /// block yet has no say in it.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    pub async fn receipt(&self, hash: B256) -> Result<Option<TransactionReceipt>, Error> {
        let block = self.block.load(Ordering::Relaxed);
        let ask = move |rpc: Rpc| async move {
            // Mined later than that is not mined yet; or a number that somebody made up.
            let then = |r: &TransactionReceipt| r.block_number.is_some_and(|mined| mined <= block);
            Ok(rpc.receipt(hash).await?.filter(then))
        };
        let has_it = |index: usize, receipt: &Option<TransactionReceipt>| {
            receipt.is_some() || self.endpoints[index].head() >= Some(block)
        };
        let answers = self.ask(ask).await.only(has_it);
        self.agree("eth_getTransactionReceipt", &hash.to_string(), answers, same_receipt)
    }

    /// `eth_estimateGas`: the highest estimate, if they are near each other.
    ///
    /// # Errors
    /// [`Error::Transaction`] if they agree that it would revert; else as [`view`](Self::view).
    pub async fn estimate(&self, from: Address, to: Address, input: Bytes) -> Result<u64, Error> {
        let block = self.at();
        let answers = self
            .ask(move |rpc| {
                let input = input.clone();
                async move {
                    match rpc.estimate(from, to, input, block).await {
                        Ok(gas) => Ok(Ok(gas)),
                        Err(Error::Transaction { reason, .. }) => Ok(Err(reason)),
                        Err(other) => Err(other),
                    }
                }
            })
            .await;
        let highest = answers.values().filter_map(|gas| gas.as_ref().ok().copied()).max();
        let near = |a: &Result<u64, String>, b: &Result<u64, String>| match (a, b) {
            (Ok(a), Ok(b)) => a.max(b) / ESTIMATE_RATIO_MAX <= *a.min(b),
            // Each node has its own words for a revert.
            (Err(_), Err(_)) => true,
            _ => false,
        };
        match self.agree("eth_estimateGas", "the transaction", answers, near)? {
            // Somebody outvoted may have said more, or nobody did.
            Ok(gas) => Ok(highest.unwrap_or(gas).min(gas.saturating_mul(ESTIMATE_RATIO_MAX))),
            Err(reason) => Err(Error::Transaction { action: "eth_estimateGas".into(), reason }),
        }
    }

    /// What to offer now: by the base fee that they agree on, and the middle of the tips, which a
    /// minority can push neither down, where nobody mines it, nor up.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    pub async fn fees(&self) -> Result<Fees, Error> {
        let block = self.at();
        let answers = self.ask(move |rpc| async move { rpc.base_fee(block).await }).await;
        let base = self.agree("eth_getBlockByNumber", "the base fee", answers, PartialEq::eq)?;
        let tips = self.ask(|rpc| async move { rpc.tip().await }).await;
        let tip = self.taken("eth_maxPriorityFeePerGas", tips.middle())?;
        Ok(Fees::over(base, tip))
    }

    /// Sends a raw transaction to every endpoint. It counts as taken if one took it.
    ///
    /// # Errors
    /// [`Error::Rpc`] if none answered.
    pub async fn send_raw(&self, raw: &Bytes) -> Result<Sent, Error> {
        let raw = raw.clone();
        let answers = self
            .ask(move |rpc| {
                let raw = raw.clone();
                async move { rpc.send_raw(&raw).await }
            })
            .await;
        let taken = answers.values().any(|sent| *sent == Sent::Taken);
        if taken {
            return Ok(Sent::Taken);
        }
        self.taken("eth_sendRawTransaction", answers.first())
    }

    fn at(&self) -> BlockNumberOrTag {
        BlockNumberOrTag::Number(self.block.load(Ordering::Relaxed))
    }

    /// Asks all endpoints that are well, at the same time.
    async fn ask<T, F>(&self, question: impl Fn(Rpc) -> F) -> Answers<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let mut asked = JoinSet::new();
        for (index, endpoint) in self.endpoints.iter().enumerate().filter(|(_, e)| e.is_up()) {
            let answer = question(endpoint.rpc.clone());
            asked.spawn(async move { (index, answer.await) });
        }
        let answers = in_order(asked).await;
        for (index, outcome) in &answers {
            // One that says no is there; one that says nothing isn't.
            if let Err(e @ Error::Unreachable { .. }) = outcome {
                self.endpoints[*index].failed(e, self.config.poll);
            }
        }
        Answers::new(answers)
    }

    fn agree<T: Debug>(
        &self,
        call: &'static str,
        about: &str,
        answers: Answers<T>,
        same: impl Fn(&T, &T) -> bool,
    ) -> Result<T, Error> {
        let vote = answers.vote(self.config.quorum, same, |value| format!("{value:?}"));
        for index in &vote.dissent {
            self.endpoints[*index].dissented();
        }
        if !vote.dissent.is_empty() {
            let shown = |index: usize| self.endpoints[index].rpc.shown();
            let said: Vec<String> =
                vote.said.iter().map(|(i, words)| format!("{} says {words}", shown(*i))).collect();
            let words = format!("{call} ({about}): {}", said.join("; "));
            // Said once, not at every look.
            if self.quarrel().is_none() {
                error!("the RPC endpoints disagree on {words}");
            }
            *self.quarrel.lock().expect("no holder of this lock panics") =
                Some((Instant::now(), words));
        }
        self.taken(call, vote.outcome)
    }

    fn taken<T>(&self, call: &'static str, outcome: Outcome<T>) -> Result<T, Error> {
        match outcome {
            Outcome::Agreed(value) => Ok(value),
            Outcome::Disagreed => {
                Err(Error::Disagreement { words: self.quarrel().unwrap_or_default() })
            }
            Outcome::TooFew(_, Some(e)) => Err(e),
            Outcome::TooFew(answered, None) => Err(self.too_few(call, answered)),
        }
    }

    fn too_few(&self, call: &'static str, answered: usize) -> Error {
        let quorum = self.config.quorum;
        let reason = format!("{answered} endpoints answer, {quorum} are needed");
        Error::Rpc { call, rpc: self.shown(), reason }
    }
}

/// The newest block of an endpoint that is of the configured chain.
async fn greet(rpc: &Rpc, config: &ChainConfig, is_checked: bool) -> Result<u64, Error> {
    if !is_checked {
        super::check_chain(rpc, config).await?;
    }
    rpc.block_number().await
}

async fn in_order<T: 'static>(mut asked: JoinSet<(usize, T)>) -> Vec<(usize, T)> {
    let mut answers = Vec::with_capacity(asked.len());
    while let Some(joined) = asked.join_next().await {
        // A task that panicked has no answer.
        answers.extend(joined.ok());
    }
    answers.sort_by_key(|(index, _)| *index);
    answers
}

/// What a receipt says that matters; nodes differ in which optional fields they fill.
fn same_receipt(a: &Option<TransactionReceipt>, b: &Option<TransactionReceipt>) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return a.is_none() && b.is_none() };
    let logs = |r: &TransactionReceipt| -> Vec<_> {
        r.inner.logs().iter().map(|log| log.inner.clone()).collect()
    };
    (a.block_hash, a.block_number, a.status(), a.gas_used, a.effective_gas_price)
        == (b.block_hash, b.block_number, b.status(), b.gas_used, b.effective_gas_price)
        && logs(a) == logs(b)
}
