//! One JSON-RPC endpoint: every call has a time limit, reads are retried, and errors say what was
//! asked of whom. Whether it is believed is decided in `quorum.rs`.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use alloy::eips::BlockNumberOrTag;
use alloy::network::{Ethereum, TransactionBuilder};
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::{Provider, RootProvider};
use alloy::rpc::client::RpcClient;
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::sol_types::SolCall;
use alloy::transports::{RpcError, TransportError};

use crate::error::Error;

/// Attempts of a call that only reads.
const ATTEMPTS: u32 = 3;
/// Before the second attempt; doubled before each further one.
const BACKOFF: Duration = Duration::from_millis(250);
/// The tip when a node has no opinion.
const DEFAULT_TIP_WEI: u128 = 1_000_000_000;

/// A node. `Debug` shows the endpoint without credentials.
#[derive(Clone)]
pub struct Rpc {
    provider: RootProvider<Ethereum>,
    shown: String,
    /// What must not get into a log: the URL, which may hold an API key.
    secret: String,
    timeout: Duration,
    attempts: u32,
}

/// What a transaction should offer now, in wei per gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fees {
    /// `maxFeePerGas`.
    pub max_fee: u128,
    /// `maxPriorityFeePerGas`.
    pub tip: u128,
}

impl Fees {
    /// Twice the base fee and the tip, so that it stays good for half a dozen full blocks.
    pub fn over(base: u128, tip: u128) -> Self {
        Self { max_fee: base.saturating_mul(2).saturating_add(tip), tip }
    }

    /// What a transaction would pay in the next block, in wei per gas.
    pub fn now(&self) -> u128 {
        (self.max_fee.saturating_sub(self.tip) / 2).saturating_add(self.tip)
    }
}

/// What a node said to a raw transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// It has it.
    Taken,
    /// It refuses it, and would again: its nonce is used, its fee too low, its sender too poor.
    Refused(String),
}

impl Rpc {
    /// An endpoint; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Rpc`] for a URL that isn't one.
    pub fn new(url: &str, connect: Duration, request: Duration) -> Result<Self, Error> {
        let shown = without_credentials(url);
        let fail = |reason: String| Error::Rpc { call: "connect", rpc: shown.clone(), reason };
        let parsed: reqwest::Url = url.parse().map_err(|e| fail(format!("not a URL: {e}")))?;
        // The process-wide TLS provider; that somebody set it before is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = reqwest::Client::builder()
            .connect_timeout(connect)
            .timeout(request)
            // A node has no reason to send a signed transaction somewhere else.
            .redirect(reqwest::redirect::Policy::none());
        if parsed.scheme() == "http" {
            // Otherwise a container without CA certificates couldn't even talk to a local node.
            client = client.tls_certs_only(Vec::<reqwest::Certificate>::new());
        }
        let client = client.build().map_err(|e| {
            fail(format!("TLS can't be set up, are CA certificates installed? {e:?}"))
        })?;
        let secret = parsed.to_string();
        let client = RpcClient::new_http_with_client(client, parsed);
        Ok(Self {
            provider: RootProvider::new(client),
            shown,
            secret,
            timeout: request,
            attempts: ATTEMPTS,
        })
    }

    /// An endpoint behind any transport: a node in the same process, for example.
    pub fn over(client: RpcClient, shown: &str, request: Duration) -> Self {
        Self {
            provider: RootProvider::new(client),
            shown: shown.into(),
            secret: shown.into(),
            timeout: request,
            attempts: ATTEMPTS,
        }
    }

    /// The same endpoint for a caller that has others to ask: one attempt, no patience.
    #[must_use]
    pub fn impatient(mut self) -> Self {
        self.attempts = 1;
        self
    }

    /// The endpoint, without credentials.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// `eth_chainId`.
    pub async fn chain_id(&self) -> Result<u64, Error> {
        self.read("eth_chainId", || async { self.provider.get_chain_id().await }).await
    }

    /// `eth_blockNumber`.
    pub async fn block_number(&self) -> Result<u64, Error> {
        self.read("eth_blockNumber", || async { self.provider.get_block_number().await }).await
    }

    /// `eth_getCode`.
    pub async fn code(&self, at: Address) -> Result<Bytes, Error> {
        self.code_at(at, BlockNumberOrTag::Latest).await
    }

    /// `eth_getCode` as of a block.
    pub async fn code_at(&self, at: Address, block: BlockNumberOrTag) -> Result<Bytes, Error> {
        self.read("eth_getCode", || async {
            self.provider.get_code_at(at).block_id(block.into()).await
        })
        .await
    }

    /// `eth_getBalance`, in wei, as of the newest block.
    pub async fn balance(&self, of: Address) -> Result<u128, Error> {
        self.balance_at(of, BlockNumberOrTag::Latest).await
    }

    /// `eth_getBalance`, in wei, as of a block.
    pub async fn balance_at(&self, of: Address, block: BlockNumberOrTag) -> Result<u128, Error> {
        let balance = self
            .read("eth_getBalance", || async {
                self.provider.get_balance(of).block_id(block.into()).await
            })
            .await?;
        Ok(u128::try_from(balance).unwrap_or(u128::MAX))
    }

    /// `eth_getTransactionCount`: the next nonce as of a block.
    pub async fn nonce(&self, of: Address, block: BlockNumberOrTag) -> Result<u64, Error> {
        self.read("eth_getTransactionCount", || async {
            self.provider.get_transaction_count(of).block_id(block.into()).await
        })
        .await
    }

    /// `eth_getTransactionReceipt`; `None` if it isn't in a block.
    pub async fn receipt(&self, hash: B256) -> Result<Option<TransactionReceipt>, Error> {
        self.read("eth_getTransactionReceipt", || async {
            self.provider.get_transaction_receipt(hash).await
        })
        .await
    }

    /// `eth_estimateGas` of any transaction, as of the newest block.
    pub async fn estimate_request(&self, request: TransactionRequest) -> Result<u64, Error> {
        self.estimate_at(request, BlockNumberOrTag::Latest).await
    }

    /// The same as of a block; [`Error::Transaction`] if it would revert.
    pub async fn estimate_at(
        &self,
        request: TransactionRequest,
        block: BlockNumberOrTag,
    ) -> Result<u64, Error> {
        let attempt = self.provider.estimate_gas(request).block(block.into()).into_future();
        match self.timed("eth_estimateGas", attempt).await? {
            Ok(gas) => Ok(gas),
            Err(RpcError::ErrorResp(e)) => {
                Err(Error::Transaction { action: "eth_estimateGas".into(), reason: e.to_string() })
            }
            Err(e) => Err(self.error("eth_estimateGas", &e)),
        }
    }

    /// What to offer now.
    pub async fn fees(&self) -> Result<Fees, Error> {
        let base = self.base_fee(BlockNumberOrTag::Latest).await?;
        Ok(Fees::over(base, self.tip().await?))
    }

    /// The base fee of a block, in wei per gas; 0 where blocks have none.
    pub async fn base_fee(&self, block: BlockNumberOrTag) -> Result<u128, Error> {
        let found = self
            .read("eth_getBlockByNumber", || async {
                self.provider.get_block_by_number(block).await
            })
            .await?;
        Ok(found.and_then(|b| b.header.base_fee_per_gas).map_or(0, u128::from))
    }

    /// The Unix time of a block, in seconds; `None` if the node doesn't have it.
    pub async fn time(&self, block: BlockNumberOrTag) -> Result<Option<u64>, Error> {
        let found = self
            .read("eth_getBlockByNumber", || async {
                self.provider.get_block_by_number(block).await
            })
            .await?;
        Ok(found.map(|b| b.header.timestamp))
    }

    /// `eth_maxPriorityFeePerGas`, in wei per gas.
    pub async fn tip(&self) -> Result<u128, Error> {
        self.read("eth_maxPriorityFeePerGas", || async {
            match self.provider.get_max_priority_fee_per_gas().await {
                Err(RpcError::ErrorResp(_)) => Ok(DEFAULT_TIP_WEI),
                other => other,
            }
        })
        .await
    }

    /// `eth_sendRawTransaction`. A transaction that the node already has counts as taken.
    pub async fn send_raw(&self, raw: &[u8]) -> Result<Sent, Error> {
        let call = "eth_sendRawTransaction";
        let attempt = async { self.provider.send_raw_transaction(raw).await.map(drop) };
        match self.timed(call, attempt).await? {
            Ok(()) => Ok(Sent::Taken),
            Err(RpcError::ErrorResp(e)) => {
                let message = e.message.to_lowercase();
                // Nodes agree on the meaning, not on the words (geth, reth, anvil, nethermind).
                let known =
                    ["already known", "already imported", "alreadyknown", "known transaction"];
                if known.iter().any(|k| message.contains(k)) {
                    Ok(Sent::Taken)
                } else {
                    Ok(Sent::Refused(e.message.to_string()))
                }
            }
            Err(e) => Err(self.error(call, &e)),
        }
    }

    /// `eth_call` of a contract function, as of the newest block.
    pub async fn view<C: SolCall>(&self, to: Address, call: C) -> Result<C::Return, Error> {
        let output = self.call(to, call.abi_encode().into(), BlockNumberOrTag::Latest).await?;
        decode::<C>(&self.shown, to, &output)
    }

    /// `eth_call` as of a block: what the contract returned, as it came.
    pub async fn call(
        &self,
        to: Address,
        input: Bytes,
        block: BlockNumberOrTag,
    ) -> Result<Bytes, Error> {
        self.read("eth_call", || async {
            let request = request(Address::ZERO, Some(to), input.clone());
            self.provider.call(request).block(block.into()).await
        })
        .await
    }

    async fn read<T, F>(&self, call: &'static str, attempt: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, TransportError>>,
    {
        let mut backoff = BACKOFF;
        for round in 1.. {
            let error = match self.timed(call, attempt()).await {
                Ok(Ok(value)) => return Ok(value),
                // The node understood and said no: asking again won't help.
                Ok(Err(e @ RpcError::ErrorResp(_))) => return Err(self.error(call, &e)),
                Ok(Err(e)) => self.error(call, &e),
                Err(timeout) => timeout,
            };
            if round >= self.attempts {
                return Err(error);
            }
            tokio::time::sleep(backoff).await;
            backoff *= 2;
        }
        unreachable!("the loop returns on its last round")
    }

    async fn timed<T>(
        &self,
        call: &'static str,
        attempt: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<Result<T, TransportError>, Error> {
        tokio::time::timeout(self.timeout, attempt)
            .await
            .map_err(|_| self.silent(call, self.timeout))
    }

    /// The error of a call that got no answer in time.
    pub fn silent(&self, call: &'static str, limit: Duration) -> Error {
        let reason = format!("no answer within {} s", limit.as_secs());
        Error::Unreachable { call, rpc: self.shown.clone(), reason }
    }

    fn error(&self, call: &'static str, error: &TransportError) -> Error {
        use std::error::Error as _;
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !reason.contains(&text) {
                reason = format!("{reason}: {text}");
            }
            cause = inner.source();
        }
        let reason = reason.replace(&self.secret, &self.shown);
        let rpc = self.shown.clone();
        match error {
            RpcError::ErrorResp(_) => Error::Rpc { call, rpc, reason },
            _ => Error::Unreachable { call, rpc, reason },
        }
    }
}

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rpc").field("endpoint", &self.shown).finish_non_exhaustive()
    }
}

/// What a contract function returned, according to `shown`.
///
/// # Errors
/// [`Error::Rpc`] if that is something else.
pub fn decode<C: SolCall>(shown: &str, to: Address, output: &[u8]) -> Result<C::Return, Error> {
    C::abi_decode_returns(output).map_err(|e| Error::Rpc {
        call: "eth_call",
        rpc: shown.into(),
        reason: format!("{} at {to} answered something else: {e}", C::SIGNATURE),
    })
}

/// A transaction request.
pub fn request(from: Address, to: Option<Address>, input: Bytes) -> TransactionRequest {
    let request = TransactionRequest::default().with_from(from).with_input(input);
    match to {
        Some(to) => request.with_to(to).with_value(U256::ZERO),
        None => request.into_create(),
    }
}

/// Providers put API keys into the path, the query or the user part of the URL.
pub(crate) fn without_credentials(url: &str) -> String {
    match url.parse::<reqwest::Url>() {
        Ok(url) => {
            let port = url.port().map_or(String::new(), |p| format!(":{p}"));
            format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or("?"))
        }
        Err(_) => "the configured URL".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn credentials_in_the_url_are_never_shown() {
        let short = Duration::from_millis(200);
        for url in [
            "http://127.0.0.1:9/v3/SECRET",
            "http://127.0.0.1:9/?key=SECRET",
            "http://user:SECRET@127.0.0.1:9/",
        ] {
            let rpc = Rpc::new(url, short, short).unwrap();
            let error = rpc.chain_id().await.unwrap_err().to_string();
            assert!(error.contains("http://127.0.0.1:9"), "{error}");
            assert!(!format!("{error} {rpc:?}").contains("SECRET"), "{error}");
        }
        let error = Rpc::new("http://SECRET:x:y", short, short).unwrap_err().to_string();
        assert!(!error.contains("SECRET"), "{error}");
    }
}
