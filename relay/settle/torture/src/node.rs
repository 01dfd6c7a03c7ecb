//! A chain in a few hundred lines: one node, its pool, blocks that can leave again, and the two
//! contracts as far as the sidecar uses them. Deterministic; it does nothing by itself.

mod answers;
mod contracts;

use alloy::consensus::{Transaction, TxEnvelope};
use alloy::eips::eip2718::Decodable2718;
use alloy::primitives::{Address, B256, Bytes, LogData, keccak256};
use weir_usage::Domain;

pub use contracts::{Deposit, World};

use crate::rng::Rng;

/// What the base fee is when nothing is going on, in wei per gas.
const CALM_FEE: u128 = 1_000_000_000;
/// What nobody outbids.
const RICH_FEE: u128 = 1_000_000_000_000_000;
/// A pool's rule: a transaction replaces another of its nonce for a tenth more.
const BUMP_PERCENT: u128 = 110;

/// A transaction, in the pool or in a block.
#[derive(Debug, Clone)]
pub struct Tx {
    hash: B256,
    from: Address,
    nonce: u64,
    max_fee: u128,
    to: Address,
    input: Bytes,
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
    after: World,
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
    /// How it behaves.
    pub mood: Mood,
    /// What the next blocks ask for, in wei per gas.
    pub base_fee: u128,
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
            after: World::new(deposits),
        };
        Self {
            domain,
            anchor: Address::from(anchor.0),
            wallet,
            // A few blocks to look back on.
            blocks: vec![genesis; 8],
            pool: Vec::new(),
            forks: 0,
            mood: Mood::Well,
            base_fee: CALM_FEE,
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
        &self.tip().after
    }

    /// Whether anything waits to be mined.
    pub fn has_pending(&self) -> bool {
        !self.pool.is_empty()
    }

    /// Makes a block of what can be mined.
    pub fn mine(&mut self) {
        let mut world = self.tip().after.clone();
        let mut receipts = Vec::new();
        while let Some(index) = self.pool.iter().position(|tx| {
            !self.stalled
                && tx.max_fee >= self.base_fee
                && tx.nonce == world.nonces.get(&tx.from).copied().unwrap_or(0)
        }) {
            let tx = self.pool.remove(index);
            world.nonces.insert(tx.from, tx.nonce + 1);
            let escrow = Address::from(self.domain.escrow.0);
            let done = if std::mem::take(&mut self.revert_next) {
                None
            } else if tx.to == escrow {
                world.escrow(&self.domain, &tx.input)
            } else if tx.to == self.anchor {
                world.anchor(tx.from, &tx.input)
            } else {
                None
            };
            let success = done.is_some();
            let logs = done.unwrap_or_default().into_iter().map(|log| (tx.to, log)).collect();
            receipts.push(Receipt { tx, success, logs });
        }
        let nonces = &world.nonces;
        self.pool.retain(|tx| tx.nonce >= nonces.get(&tx.from).copied().unwrap_or(0));
        let (base_fee, fork) = (self.base_fee, self.forks);
        self.blocks.push(Block { receipts, base_fee, fork, after: world });
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

    /// Somebody else with the same key uses the next nonce.
    pub fn intrude(&mut self) {
        let from = self.wallet;
        let nonce = self.world().nonces.get(&from).copied().unwrap_or(0);
        let tx = Tx {
            hash: keccak256(format!("intruder {nonce} {}", self.forks)),
            from,
            nonce,
            max_fee: RICH_FEE,
            to: Address::ZERO,
            input: Bytes::new(),
        };
        self.pool.insert(0, tx);
        let stalled = std::mem::take(&mut self.stalled);
        self.mine();
        self.stalled = stalled;
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
        };
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
