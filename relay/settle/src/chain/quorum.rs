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
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::sol_types::SolCall;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::error;

pub use endpoint::EndpointView;

use super::rpc::{self, Fees, Rpc, Sent};
use crate::config::{self, ChainConfig};
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

/// The endpoints of a configuration, or of a command.
#[derive(Debug)]
pub struct Quorum {
    endpoints: Vec<Endpoint>,
    /// How many of them must say the same.
    least: usize,
    /// The first pause of one that fell out.
    poll: Duration,
    /// What each must be of before it is believed; any chain if that isn't known, and then they
    /// are asked which one it is.
    expected: Option<Box<ChainConfig>>,
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
        let rpcs = connect(&config.rpc, config.connect_timeout, config.request_timeout)?;
        Ok(Self::over(config, rpcs))
    }

    /// These endpoints instead of the configured ones: nodes in the same process, for example.
    pub fn over(config: &ChainConfig, rpcs: Vec<Rpc>) -> Self {
        let expected = Some(Box::new(config.clone()));
        Self { expected, ..Self::of_any_chain(rpcs, config.quorum, config.poll) }
    }

    /// Endpoints of which `least` must say the same, whatever chain they are of.
    pub fn of_any_chain(rpcs: Vec<Rpc>, least: usize, poll: Duration) -> Self {
        let alone = rpcs.len() == 1;
        let endpoint = |rpc: Rpc| Endpoint::new(if alone { rpc } else { rpc.impatient() });
        let endpoints = rpcs.into_iter().map(endpoint).collect();
        let (block, quarrel) = (AtomicU64::new(0), Mutex::new(None));
        Self { endpoints, least, poll, expected: None, block, quarrel }
    }

    /// How many endpoints there are, and how many must say the same.
    pub fn sizes(&self) -> (usize, usize) {
        (self.endpoints.len(), self.least)
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

    /// Who takes no part, and why.
    pub fn absent(&self) -> Vec<String> {
        let views = self.endpoints.iter().enumerate().map(|(i, e)| (i, e.view(0)));
        let absent = views.filter(|(_, view)| !view.up);
        let words = |(i, view): (usize, EndpointView)| {
            format!("{} takes no part: {}", self.name(i), view.error.unwrap_or_default())
        };
        absent.map(words).collect()
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
            let (rpc, expected) = (endpoint.rpc.clone(), self.expected.clone());
            let is_checked = endpoint.is_up();
            asked.spawn(async move {
                if is_checked || alone {
                    return (index, greet(&rpc, expected.as_deref(), is_checked).await);
                }
                // One that fell out doesn't hold up the others for long.
                let greeted = greet(&rpc, expected.as_deref(), false);
                let greeted = tokio::time::timeout(PROBE, greeted).await;
                (index, greeted.unwrap_or_else(|_| Err(rpc.silent("eth_chainId", PROBE))))
            });
        }
        let mut trouble = None;
        for (index, outcome) in in_order(asked).await {
            match outcome {
                Ok(head) => self.endpoints[index].answered(head),
                Err(e) => {
                    self.endpoints[index].failed(&e, self.poll);
                    trouble.get_or_insert(e);
                }
            }
        }
        let mut heads: Vec<u64> = self.endpoints.iter().filter_map(Endpoint::head).collect();
        if heads.len() < self.least {
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
        let output = self.call(to, C::SIGNATURE, call.abi_encode().into()).await?;
        self.decode::<C>(to, &output)
    }

    /// The same as bytes; `about` is how it is called in an alarm.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    pub async fn call(&self, to: Address, about: &str, input: Bytes) -> Result<Bytes, Error> {
        let block = self.at();
        let answers = self
            .ask(move |rpc| {
                let input = input.clone();
                async move { rpc.call(to, input, block).await }
            })
            .await;
        self.agree("eth_call", about, answers, PartialEq::eq)
    }

    /// What a contract's function returned.
    ///
    /// # Errors
    /// [`Error::Rpc`] if that is something else.
    pub fn decode<C: SolCall>(&self, to: Address, output: &[u8]) -> Result<C::Return, Error> {
        rpc::decode::<C>(&self.shown(), to, output)
    }

    /// The chain's id, where no configuration says which one it must be.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    pub async fn chain_id(&self) -> Result<u64, Error> {
        let answers = self.ask(|rpc| async move { rpc.chain_id().await }).await;
        self.agree("eth_chainId", "the chain", answers, PartialEq::eq)
    }

    /// The code at an address as of the block of the last look.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    pub async fn code(&self, of: Address) -> Result<Bytes, Error> {
        let block = self.at();
        let answers = self.ask(move |rpc| async move { rpc.code_at(of, block).await }).await;
        self.agree("eth_getCode", &of.to_string(), answers, PartialEq::eq)
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

    /// The same as of the block of the last look.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    pub async fn mined(&self, of: Address) -> Result<u64, Error> {
        self.nonce(of, self.block.load(Ordering::Relaxed)).await
    }

    /// The highest next nonce, pending transactions counted, that any of them knows, and which one
    /// that is. What is pending at one is nothing that others could confirm.
    ///
    /// # Errors
    /// [`Error::Rpc`] or [`Error::Unreachable`] if fewer than enough answer.
    pub async fn known(&self, of: Address) -> Result<(u64, String), Error> {
        let pending = BlockNumberOrTag::Pending;
        let answers = self.ask(move |rpc| async move { rpc.nonce(of, pending).await }).await;
        let all: Vec<(u64, usize)> = answers.named().map(|(index, n)| (*n, index)).collect();
        match all.iter().max_by_key(|(nonce, _)| nonce) {
            Some((nonce, index)) if all.len() >= self.least => Ok((*nonce, self.name(*index))),
            _ => Err(self.too_few("eth_getTransactionCount", all.len())),
        }
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
        self.estimate_request(rpc::request(from, Some(to), input)).await
    }

    /// The same for any transaction.
    ///
    /// # Errors
    /// As [`estimate`](Self::estimate).
    pub async fn estimate_request(&self, request: TransactionRequest) -> Result<u64, Error> {
        let block = self.at();
        let answers = self
            .ask(move |rpc| {
                let request = request.clone();
                async move {
                    match rpc.estimate_at(request, block).await {
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
                self.endpoints[*index].failed(e, self.poll);
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
        let vote = answers.vote(self.least, same, |value| format!("{value:?}"));
        for index in &vote.dissent {
            self.endpoints[*index].dissented();
        }
        if !vote.dissent.is_empty() {
            let said: Vec<String> = vote
                .said
                .iter()
                .map(|(index, words)| format!("{} says {words}", self.name(*index)))
                .collect();
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

    /// By number, because two of one provider look alike without their credentials.
    fn name(&self, index: usize) -> String {
        format!("endpoint {} ({})", index + 1, self.endpoints[index].rpc.shown())
    }

    fn too_few(&self, call: &'static str, answered: usize) -> Error {
        let reason = format!("{answered} endpoints answer, {} are needed", self.least);
        Error::Rpc { call, rpc: self.shown(), reason }
    }
}

/// Endpoints, of which none is there twice. Nothing is sent yet.
///
/// # Errors
/// As [`Quorum::of`].
pub(super) fn connect(
    endpoints: &[config::Endpoint],
    connect_timeout: Duration,
    request_timeout: Duration,
) -> Result<Vec<Rpc>, Error> {
    let mut urls: Vec<String> = Vec::new();
    let mut rpcs = Vec::new();
    for endpoint in endpoints {
        let url = endpoint.url()?;
        if urls.contains(&url) {
            return Err(Error::Rpc {
                call: "connect",
                rpc: endpoint.to_string(),
                reason: "named twice: an endpoint can't check itself".into(),
            });
        }
        rpcs.push(Rpc::new(&url, connect_timeout, request_timeout)?);
        urls.push(url);
    }
    Ok(rpcs)
}

/// The newest block of an endpoint, if it is of the chain that is expected.
async fn greet(rpc: &Rpc, expected: Option<&ChainConfig>, is_checked: bool) -> Result<u64, Error> {
    if let Some(config) = expected.filter(|_| !is_checked) {
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
