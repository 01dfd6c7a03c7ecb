//! What can go wrong in the sidecar, and whose fault it is.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::Problem;

/// Every error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or socket operation failed. Operator.
    #[error("can't {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The journal's storage failed: disk full, I/O error. Operator.
    #[error("can't {action} (journal): {source}")]
    Storage {
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// Another sidecar runs on this journal. Operator.
    #[error("{} is in use by another process; one journal has one sidecar", path.display())]
    Locked {
        /// The journal.
        path: PathBuf,
    },
    /// Another sidecar signs with this usage key. Operator.
    #[error(
        "the usage key in {} is in use by another weir-settle: what two of them sign contradicts \
         itself, and costs the stake. Stop the other one, or give this exit a usage key and a stake \
         of its own",
        path.display()
    )]
    KeyInUse {
        /// The key's file.
        path: PathBuf,
    },
    /// The journal was damaged after it was written. Operator.
    #[error(
        "journal is damaged at offset {offset}: {detail}. Entries after it were acked, so nothing \
         is repaired by guessing: keep a copy of the file, restore it from a backup or from the \
         disk's snapshot, and start again"
    )]
    JournalCorrupt {
        /// First byte that can't be trusted.
        offset: u64,
        /// What was found there.
        detail: String,
    },
    /// The journal belongs to another exit. Operator.
    #[error("the journal is of exit {found}, the configuration says {expected}")]
    JournalForeign {
        /// Exit in the file.
        found: String,
        /// Exit in the configuration.
        expected: String,
    },
    /// There is no journal where one is needed. Operator.
    #[error("there is no journal there, or nothing was ever written to it")]
    NoJournal,
    /// The kept state can't be written; the log says why. Operator.
    #[error("the kept state can't be written")]
    State,
    /// An entry contradicts what came before it: written by a bug. Sidecar.
    #[error("journal entry at offset {offset} contradicts an earlier one: {detail}")]
    Contradiction {
        /// Where the group of the entry starts.
        offset: u64,
        /// What doesn't fit.
        detail: String,
    },
    /// Not an error: a dry run came to the first transaction that would be sent.
    #[error(
        "dry run: next would be {action}, a transaction to {to} with {value_wei} wei and about \
         {gas} gas, {cost_wei} wei at the price of now. Nothing was signed or sent; what would \
         follow it shows when it is mined"
    )]
    DryRun {
        /// What it is for.
        action: String,
        /// The contract.
        to: String,
        /// Wei that it would bring.
        value_wei: String,
        /// Gas by the node's estimate.
        gas: u64,
        /// Its price, in wei.
        cost_wei: u128,
    },
    /// The configuration isn't one. Operator.
    #[error("{}", list(path, problems))]
    Config {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong with it.
        problems: Vec<Problem>,
    },
    /// The configuration can't be read. Operator.
    #[error("can't read the configuration {}: {source}", path.display())]
    NoConfig {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A lane that was used would change its price. Operator.
    #[error(
        "lane {lane} of channel {channel} was billed at {journal} units/GiB and is configured \
         with {config}: vouchers are cumulative, so give the new price a new lane"
    )]
    PriceChanged {
        /// The channel.
        channel: weir_usage::ChannelId,
        /// The lane.
        lane: u32,
        /// Price in the journal.
        journal: u128,
        /// Price in the configuration.
        config: u128,
    },
    /// A key or password file can't be used. Operator.
    #[error("key file {}: {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not. Never holds any of its content.
        reason: String,
    },
    /// A file of terms, statements or proofs isn't one. Whoever wrote it.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Keys that must be apart aren't. Operator.
    #[error("{what} are one, {address}: whoever steals one would have the other")]
    KeysAreOne {
        /// Which.
        what: &'static str,
        /// What they share.
        address: String,
    },
    /// An audit can't be made, or doesn't hold. Operator or verifier.
    #[error("audit: {0}")]
    Audit(String),
    /// A socket path is taken by a live process. Operator.
    #[error("{} is in use: another weir-settle listens there", path.display())]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// A socket path is something else. Operator.
    #[error("{} exists and is not a socket; remove it or choose another path", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// A node doesn't answer, or not in time, or not in JSON-RPC. Node.
    #[error("{call} at {rpc}: {reason}")]
    Unreachable {
        /// The JSON-RPC method.
        call: &'static str,
        /// The endpoint, without credentials.
        rpc: String,
        /// What happened.
        reason: String,
    },
    /// Nodes say different things, so none of them is believed. Node.
    #[error(
        "the RPC endpoints disagree, so nothing is done: {words}. One of them lies, is broken or is \
         on another fork: find out which, with a third one if need be, and leave it out"
    )]
    Disagreement {
        /// On what, and who says what.
        words: String,
    },
    /// A node answers with an error, or with nonsense. Node.
    #[error("{call} at {rpc}: {reason}")]
    Rpc {
        /// The JSON-RPC method.
        call: &'static str,
        /// The endpoint, without credentials.
        rpc: String,
        /// What happened.
        reason: String,
    },
    /// The node is of another chain. Operator.
    #[error("{rpc} is chain {found}, the configuration says {expected}")]
    WrongChain {
        /// The endpoint.
        rpc: String,
        /// What the node says.
        found: u64,
        /// What is configured.
        expected: u64,
    },
    /// There is no such contract. Operator.
    #[error("no {contract} at {address} on chain {chain_id}: {reason}")]
    NoContract {
        /// Its name.
        contract: &'static str,
        /// Where it should be.
        address: String,
        /// On which chain.
        chain_id: u64,
        /// What was found instead.
        reason: String,
    },
    /// A transaction was mined and reverted, or would revert. Operator or node.
    #[error("{action} failed: {reason}")]
    Transaction {
        /// What it was to do.
        action: String,
        /// Why it didn't.
        reason: String,
    },
    /// A message that must be one isn't. Peer.
    #[error(transparent)]
    Usage(#[from] weir_usage::Error),
    /// A sample, a report or an agreement doesn't hold. Who made it.
    #[error(transparent)]
    Sla(#[from] weir_sla::Error),
    /// The sidecar is shutting down. Nobody.
    #[error("the sidecar is stopping")]
    Stopping,
}

impl Error {
    /// For `map_err` on file operations.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// For `map_err` on storage operations.
    pub fn storage(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Storage { action, source }
    }

    /// Exit status for the command line (sysexits.h): 78 for configuration, 77 for a missing
    /// permission, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        let denied = |e: &io::Error| e.kind() == io::ErrorKind::PermissionDenied;
        match self {
            Self::DryRun { .. } => 0,
            Self::NoConfig { source, .. } if denied(source) => 77,
            Self::Config { .. }
            | Self::NoConfig { .. }
            | Self::Key { .. }
            | Self::KeysAreOne { .. }
            | Self::PriceChanged { .. }
            | Self::JournalForeign { .. } => 78,
            Self::Io { source, .. } | Self::Storage { source, .. } if denied(source) => 77,
            _ => 1,
        }
    }
}

fn list(path: &Path, problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(|p| format!("{}:{p}", path.display())).collect();
    lines.join("\n")
}
