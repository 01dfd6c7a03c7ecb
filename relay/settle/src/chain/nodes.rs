//! Whom a command asks: one endpoint, which is believed, or several that check each other as those
//! of a running sidecar do ([`super::quorum`]).
//!
//! A command runs once, so what several say is asked for a few times before they count as
//! disagreeing: a node behind a balancer may not have the newest block yet, and two nodes may see
//! the end of a chain differently for a moment.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy::eips::BlockNumberOrTag;
use alloy::primitives::{Address, B256, Bytes};
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::sol_types::SolCall;

use super::quorum::{self, Quorum};
use super::rpc::{Fees, Rpc, Sent};
use crate::config::{ChainConfig, Endpoint};
use crate::error::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Before an endpoint that fell out is asked again.
const POLL: Duration = Duration::from_millis(100);
/// Before what couldn't be agreed on is asked for again.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(250), Duration::from_millis(750), Duration::from_millis(1500)];

/// One endpoint, or several. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Nodes(Kind);

#[derive(Debug, Clone)]
enum Kind {
    /// What it says of its newest block counts.
    One(Rpc),
    /// What enough of them say of a block that most have.
    Several(Arc<Several>),
}

#[derive(Debug)]
struct Several {
    quorum: Quorum,
    /// The newest block that was asked about: what is read after a transaction includes it.
    newest: AtomicU64,
}

impl From<Rpc> for Nodes {
    fn from(rpc: Rpc) -> Self {
        Self(Kind::One(rpc))
    }
}

impl From<&Rpc> for Nodes {
    fn from(rpc: &Rpc) -> Self {
        rpc.clone().into()
    }
}

impl From<&Nodes> for Nodes {
    fn from(nodes: &Nodes) -> Self {
        nodes.clone()
    }
}

impl From<Quorum> for Nodes {
    fn from(quorum: Quorum) -> Self {
        Self(Kind::Several(Arc::new(Several { quorum, newest: AtomicU64::new(0) })))
    }
}

impl Nodes {
    /// The endpoints of a command line. Of several, more than half must say the same: with two,
    /// both. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Rpc`] for none, for a URL that isn't one or is there twice; [`Error::Key`] or
    /// [`Error::Io`] for one that can't be read.
    pub fn of(endpoints: &[Endpoint]) -> Result<Self, Error> {
        let rpcs = quorum::connect(endpoints, CONNECT_TIMEOUT, REQUEST_TIMEOUT)?;
        match <[Rpc; 1]>::try_from(rpcs) {
            Ok([one]) => Ok(one.into()),
            Err(rpcs) => {
                let most = rpcs.len() / 2 + 1;
                Ok(Quorum::of_any_chain(rpcs, most, POLL).into())
            }
        }
    }

    /// The endpoints of a configuration, under its own rule.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn configured(config: &ChainConfig) -> Result<Self, Error> {
        if let [one] = &config.rpc[..] {
            return Ok(
                Rpc::new(&one.url()?, config.connect_timeout, config.request_timeout)?.into()
            );
        }
        Ok(Quorum::of(config)?.into())
    }

    /// The endpoints, without credentials.
    pub fn shown(&self) -> String {
        match &self.0 {
            Kind::One(rpc) => rpc.shown().into(),
            Kind::Several(several) => several.quorum.shown(),
        }
    }

    /// The chain's id.
    ///
    /// # Errors
    /// [`Error::Disagreement`], [`Error::Unreachable`] or [`Error::Rpc`], here and below.
    pub async fn chain_id(&self) -> Result<u64, Error> {
        match &self.0 {
            Kind::One(rpc) => rpc.chain_id().await,
            Kind::Several(several) => several.ask(|| several.quorum.chain_id()).await,
        }
    }

    /// The newest block, or the newest that most of several have.
    pub async fn block_number(&self) -> Result<u64, Error> {
        match &self.0 {
            Kind::One(rpc) => rpc.block_number().await,
            Kind::Several(several) => several.look().await,
        }
    }

    /// The code at an address; empty if there is none.
    pub async fn code(&self, at: Address) -> Result<Bytes, Error> {
        match &self.0 {
            Kind::One(rpc) => rpc.code(at).await,
            Kind::Several(several) => several.ask(|| several.quorum.code(at)).await,
        }
    }

    /// `eth_call` of a contract's function.
    pub async fn view<C: SolCall>(&self, to: Address, call: C) -> Result<C::Return, Error> {
        match &self.0 {
            Kind::One(rpc) => rpc.view(to, call).await,
            Kind::Several(several) => {
                let input = Bytes::from(call.abi_encode());
                let quorum = &several.quorum;
                let asked = || quorum.call(to, C::SIGNATURE, input.clone());
                quorum.decode::<C>(to, &several.ask(asked).await?)
            }
        }
    }

    /// The time of the newest block, Unix seconds.
    pub async fn time(&self) -> Result<u64, Error> {
        match &self.0 {
            Kind::One(rpc) => Ok(rpc.time(BlockNumberOrTag::Latest).await?.unwrap_or(0)),
            Kind::Several(several) => several.ask(|| several.quorum.time()).await,
        }
    }

    /// How many transactions of an account are mined.
    pub async fn mined(&self, of: Address) -> Result<u64, Error> {
        match &self.0 {
            Kind::One(rpc) => rpc.nonce(of, BlockNumberOrTag::Latest).await,
            Kind::Several(several) => several.ask(|| several.quorum.mined(of)).await,
        }
    }

    /// The same with those that wait to be mined, and who says so. No node knows what waits at
    /// another, so of several the one that knows most counts.
    pub async fn known(&self, of: Address) -> Result<(u64, String), Error> {
        match &self.0 {
            Kind::One(rpc) => {
                Ok((rpc.nonce(of, BlockNumberOrTag::Pending).await?, rpc.shown().into()))
            }
            Kind::Several(several) => several.ask(|| several.quorum.known(of)).await,
        }
    }

    /// The nonce for a transaction. Of several only what they agree on counts: one of them alone
    /// could otherwise have something signed that is mined some day.
    pub async fn next_nonce(&self, of: Address) -> Result<u64, Error> {
        match &self.0 {
            Kind::One(rpc) => rpc.nonce(of, BlockNumberOrTag::Pending).await,
            Kind::Several(_) => self.mined(of).await,
        }
    }

    /// `eth_estimateGas`.
    ///
    /// # Errors
    /// [`Error::Transaction`] if it would revert.
    pub async fn estimate(&self, request: TransactionRequest) -> Result<u64, Error> {
        match &self.0 {
            Kind::One(rpc) => rpc.estimate_request(request).await,
            Kind::Several(several) => {
                several.ask(|| several.quorum.estimate_request(request.clone())).await
            }
        }
    }

    /// What a transaction should offer now.
    pub async fn fees(&self) -> Result<Fees, Error> {
        match &self.0 {
            Kind::One(rpc) => rpc.fees().await,
            Kind::Several(several) => several.ask(|| several.quorum.fees()).await,
        }
    }

    /// Sends a raw transaction to every endpoint; it counts as taken if one took it.
    pub async fn send_raw(&self, raw: &[u8]) -> Result<Sent, Error> {
        match &self.0 {
            Kind::One(rpc) => rpc.send_raw(raw).await,
            Kind::Several(several) => several.quorum.send_raw(&Bytes::copy_from_slice(raw)).await,
        }
    }

    /// Where a transaction is; `None` if it isn't in a block that most of several have. Asked
    /// once: whoever waits for it asks again.
    pub async fn receipt(&self, hash: B256) -> Result<Option<TransactionReceipt>, Error> {
        match &self.0 {
            Kind::One(rpc) => rpc.receipt(hash).await,
            Kind::Several(several) => {
                several.look().await?;
                several.quorum.receipt(hash).await
            }
        }
    }

    /// Whether they check each other.
    pub fn are_several(&self) -> bool {
        matches!(self.0, Kind::Several(_))
    }
}

impl Several {
    /// Asks as of a new block, and again if that brings nothing.
    async fn ask<T, F>(&self, question: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut pauses = PAUSES.iter();
        loop {
            let outcome = match self.look().await {
                Ok(_) => question().await,
                Err(e) => Err(e),
            };
            let again = matches!(
                outcome,
                Err(Error::Disagreement { .. } | Error::Rpc { .. } | Error::Unreachable { .. })
            );
            match pauses.next() {
                Some(pause) if again => tokio::time::sleep(*pause).await,
                _ => return outcome,
            }
        }
    }

    async fn look(&self) -> Result<u64, Error> {
        let block = self.quorum.look().await.map_err(|_| self.too_few())?;
        let newest = self.newest.fetch_max(block, Ordering::Relaxed);
        if block < newest {
            return Err(Error::Rpc {
                call: "eth_blockNumber",
                rpc: self.quorum.shown(),
                reason: format!("block {block} is the newest that most have, after {newest}"),
            });
        }
        Ok(block)
    }

    /// Who takes no part and why, and why that is in the way.
    fn too_few(&self) -> Error {
        let (all, least) = self.quorum.sizes();
        let absent = self.quorum.absent().join("; ");
        Error::Rpc {
            call: "eth_blockNumber",
            rpc: self.quorum.shown(),
            reason: format!(
                "of {all} endpoints {least} must say the same before a command believes it, and \
                 {absent}. Try later, or name another one in its place"
            ),
        }
    }
}
