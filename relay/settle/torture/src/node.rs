//! A chain in a few hundred lines: one node, its pool, blocks that can leave again, and the two
//! contracts as far as the sidecar uses them. Deterministic; it does nothing by itself.

mod anchor;
mod answers;
mod contracts;
mod others;

use alloy::consensus::{Transaction, TxEnvelope};
use alloy::eips::eip2718::Decodable2718;
use alloy::primitives::{Address, B256, Bytes, LogData, keccak256};
use weir_usage::Domain;

use anchor::Call;
pub use anchor::{ANSWER_S, Challenge, State, UsageAnchor};
pub use contracts::{Deposit, World};
pub use others::FOREIGN_EPOCH;

use crate::rng::Rng;

/// What the base fee is when nothing is going on, in wei per gas.
const CALM_FEE: u128 = 1_000_000_000;
/// What nobody outbids.
const RICH_FEE: u128 = 1_000_000_000_000_000;
/// A pool's rule: a transaction replaces another of its nonce for a tenth more.
const BUMP_PERCENT: u128 = 110;

/// The time of the first block, Unix seconds: 22:13 in UTC.
pub const GENESIS_S: u64 = 1_700_000_000;
/// Blocks whose state is kept: none leaves the chain that is deeper.
const STATES_KEPT: usize = 32;

/// A transaction, in the pool or in a block.
#[derive(Debug, Clone)]
pub struct Tx {
    hash: B256,
    from: Address,
    nonce: u64,
    max_fee: u128,
    to: Address,
    input: Bytes,
    /// In wei.
    value: u128,
}

/// What became of a transaction.
#[derive(Debug, Clone)]
struct Receipt {
    tx: Tx,
    success: bool,
    logs: Vec<(Address, LogData)>,
}

#[derive(Debug, Clone)]
struct Block {
    receipts: Vec<Receipt>,
    base_fee: u128,
    /// Two blocks of the same number differ by this.
    fork: u64,
    /// Unix seconds.
    time: u64,
    /// Nobody keeps the state of old blocks.
    after: Option<World>,
}

/// How the node behaves at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    /// As it should.
    #[default]
    Well,
    /// It never answers.
    Hangs,
    /// It answers that it is broken.
    Errors,
    /// It says that it took a transaction, and forgets it.
    Forgets,
    /// It says that it refuses a transaction, and mines it.
    Pretends,
    /// It shows the chain as it was a few blocks ago.
    Stale,
    /// It says that every transaction would revert.
    Pessimist,
    /// The wallet has nothing.
    Poor,
}

/// The node.
#[derive(Debug)]
pub struct Node {
    domain: Domain,
    anchor: Address,
    /// Who sends transactions; only one account does.
    wallet: Address,
    blocks: Vec<Block>,
    pool: Vec<Tx>,
    forks: u64,
    /// Seconds in which there were no blocks.
    skipped_s: u64,
    /// Accounts that challenged so far.
    challengers: u64,
    /// How it behaves.
    pub mood: Mood,
    /// What the next blocks ask for, in wei per gas.
    pub base_fee: u128,
    /// Calls since the last look at the newest block.
    calls: u64,
    /// Calls between two looks at the newest block, at most.
    pub calls_max: u64,
    /// Bytes of the longest input of a transaction that was sent.
    pub input_max: usize,
    /// Whether it mines at all.
    pub stalled: bool,
    /// The next transaction to be mined fails although its estimate was good.
    pub revert_next: bool,
}

impl Node {
    /// A chain with these deposits in its first block.
    pub fn new(
        domain: Domain,
        anchor: weir_usage::Address,
        wallet: Address,
        deposits: Vec<Deposit>,
    ) -> Self {
        let genesis = Block {
            receipts: Vec::new(),
            base_fee: CALM_FEE,
            fork: 0,
            time: GENESIS_S,
            after: Some(World::new(deposits)),
        };
        Self {
            domain,
            anchor: Address::from(anchor.0),
            wallet,
            // A few blocks to look back on.
            blocks: vec![genesis; 8],
            pool: Vec::new(),
            forks: 0,
            skipped_s: 0,
            challengers: 0,
            mood: Mood::Well,
            base_fee: CALM_FEE,
            calls: 0,
            calls_max: 0,
            input_max: 0,
            stalled: false,
            revert_next: false,
        }
    }

    /// From now on all is well.
    pub fn calm(&mut self) {
        self.mood = Mood::Well;
        self.base_fee = CALM_FEE;
        self.stalled = false;
        self.revert_next = false;
    }

    /// Everything that the contracts hold, as of the newest block.
    pub fn world(&self) -> &World {
        self.tip().after.as_ref().expect("the newest state is kept")
    }

    /// The time of the newest block, Unix seconds.
    pub fn time(&self) -> u64 {
        self.tip().time
    }

    /// Time goes by without blocks.
    pub fn skip(&mut self, seconds: u64) {
        self.skipped_s += seconds;
    }

    /// Whether anything of the wallet's waits to be mined.
    pub fn has_pending(&self) -> bool {
        self.pool.iter().any(|tx| tx.from == self.wallet)
    }

    /// Makes a block of what can be mined.
    pub fn mine(&mut self) {
        let mut world = self.world().clone();
        let mut receipts = Vec::new();
        let time = GENESIS_S + self.blocks.len() as u64 + self.skipped_s;
        while let Some(index) = self.pool.iter().position(|tx| {
            !self.stalled
                && tx.max_fee >= self.base_fee
                && tx.nonce == world.nonces.get(&tx.from).copied().unwrap_or(0)
        }) {
            let tx = self.pool.remove(index);
            world.nonces.insert(tx.from, tx.nonce + 1);
            let fails = tx.from == self.wallet && std::mem::take(&mut self.revert_next);
            let done = if fails { None } else { self.execute(&mut world, &tx, time) };
            let success = done.is_some();
            let logs = done.unwrap_or_default().into_iter().map(|log| (tx.to, log)).collect();
            receipts.push(Receipt { tx, success, logs });
        }
        let nonces = &world.nonces;
        self.pool.retain(|tx| tx.nonce >= nonces.get(&tx.from).copied().unwrap_or(0));
        let (base_fee, fork) = (self.base_fee, self.forks);
        self.blocks.push(Block { receipts, base_fee, fork, time, after: Some(world) });
        if let Some(old) = self.blocks.len().checked_sub(STATES_KEPT + 1) {
            self.blocks[old].after = None;
        }
    }

    /// What a transaction does; `None` if it reverts.
    fn execute(&self, world: &mut World, tx: &Tx, time: u64) -> Option<Vec<LogData>> {
        if tx.to == Address::from(self.domain.escrow.0) {
            return world.escrow(&self.domain, &tx.input);
        }
        if tx.to != self.anchor {
            return None;
        }
        let chance = keccak256(format!("chance of {time} in {}", self.forks));
        let call = Call { from: tx.from, value: tx.value, time, chance };
        world.usage.run(&call, &tx.input).map(|()| Vec::new())
    }

    /// The last blocks leave the chain, and others come instead. Their transactions go back to the
    /// pool, or are lost.
    pub fn reorganise(&mut self, depth: usize, rng: &mut Rng) {
        self.forks += 1;
        for _ in 0..depth.min(self.blocks.len() - 1) {
            for receipt in self.blocks.pop().into_iter().flat_map(|b| b.receipts) {
                if !rng.one_in(3) {
                    self.pool.push(receipt.tx);
                }
            }
        }
        let held = std::mem::take(&mut self.pool);
        for _ in 0..=depth {
            self.mine();
        }
        self.pool = held;
    }

    fn tip(&self) -> &Block {
        self.blocks.last().expect("a chain has a first block")
    }

    fn number(&self) -> u64 {
        self.blocks.len() as u64 - 1
    }

    fn hash(&self, number: u64) -> B256 {
        let fork = self.blocks.get(number as usize).map_or(0, |b| b.fork);
        keccak256(format!("block {number} of {fork}"))
    }

    /// Takes a raw transaction into the pool, or says why not.
    fn submit(&mut self, raw: &[u8]) -> Result<B256, String> {
        let envelope = TxEnvelope::decode_2718(&mut &raw[..]).map_err(|e| e.to_string())?;
        let tx = Tx {
            hash: *envelope.tx_hash(),
            from: self.wallet,
            nonce: envelope.nonce(),
            max_fee: envelope.max_fee_per_gas(),
            to: envelope.to().unwrap_or_default(),
            input: envelope.input().clone(),
            value: 0,
        };
        self.input_max = self.input_max.max(tx.input.len());
        if self.mood == Mood::Poor {
            return Err("insufficient funds for gas * price + value".into());
        }
        if tx.nonce < self.world().nonces.get(&tx.from).copied().unwrap_or(0) {
            return Err("nonce too low".into());
        }
        let same = self.pool.iter().position(|t| (t.from, t.nonce) == (tx.from, tx.nonce));
        if let Some(index) = same {
            if self.pool[index].hash == tx.hash {
                return Err("already known".into());
            }
            if tx.max_fee < self.pool[index].max_fee * BUMP_PERCENT / 100 {
                return Err("replacement transaction underpriced".into());
            }
            self.pool.remove(index);
        }
        let hash = tx.hash;
        if self.mood != Mood::Forgets {
            self.pool.push(tx);
        }
        if self.mood == Mood::Pretends {
            return Err("the transaction pool is full".into());
        }
        Ok(hash)
    }
}
