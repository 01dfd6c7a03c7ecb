//! JSON-RPC: the methods that the sidecar calls.

use alloy::primitives::{Address, B256, Bytes};
use serde_json::{Value, json};

use super::{Mood, Node, Receipt, Tx, World};

/// Gas of everything; nobody looks closely.
const GAS: u64 = 100_000;
/// Blocks by which a stale node is behind.
const STALE_BLOCKS: u64 = 2;
/// What a wallet has that isn't poor.
const RICH_WEI: u128 = 10_000_000_000_000_000_000;

impl Node {
    /// The result of a method, or the node's error message.
    ///
    /// # Errors
    /// The message.
    pub fn answer(&mut self, method: &str, params: &Value) -> Result<Value, String> {
        let newest = match self.mood {
            Mood::Stale => self.number().saturating_sub(STALE_BLOCKS),
            _ => self.number(),
        };
        self.calls = if method == "eth_blockNumber" { 0 } else { self.calls + 1 };
        self.calls_max = self.calls_max.max(self.calls);
        match method {
            "eth_chainId" => Ok(quantity(self.domain.chain_id)),
            "eth_blockNumber" => Ok(quantity(newest)),
            "eth_getCode" => Ok(json!("0x60")),
            "eth_getBalance" => {
                let wei = if self.mood == Mood::Poor { 0 } else { RICH_WEI };
                Ok(json!(format!("0x{wei:x}")))
            }
            "eth_getTransactionCount" => {
                let of: Address = parse(&params[0])?;
                let world = self.state(self.block(&params[1], newest)?)?;
                Ok(quantity(world.nonces.get(&of).copied().unwrap_or(0)))
            }
            "eth_getTransactionReceipt" => Ok(self.receipt(parse(&params[0])?, newest)),
            "eth_getBlockByNumber" => Ok(self.header(self.block(&params[0], newest)?)),
            "eth_maxPriorityFeePerGas" => Ok(json!("0x3b9aca00")),
            "eth_estimateGas" => match self.mood {
                Mood::Pessimist => Err("execution reverted".into()),
                _ => self.estimate(params, newest),
            },
            "eth_call" => {
                let block = self.block(&params[1], newest)?;
                let input = input(&params[0])?;
                let world = self.state(block)?;
                let output = world.read(&self.domain, &input).ok_or("execution reverted")?;
                Ok(json!(output))
            }
            "eth_sendRawTransaction" => {
                let raw: Bytes = parse(&params[0])?;
                self.submit(&raw).map(|hash| json!(hash))
            }
            other => Err(format!("the method {other} does not exist")),
        }
    }

    /// The gas of a transaction that does something on the state of the block.
    fn estimate(&self, params: &Value, newest: u64) -> Result<Value, String> {
        let number = self.block(&params[1], newest)?;
        let (call, mut world) = (&params[0], self.state(number)?.clone());
        let tx = Tx {
            hash: B256::ZERO,
            from: parse(&call["from"])?,
            nonce: 0,
            max_fee: 0,
            to: parse(&call["to"])?,
            input: input(call)?,
            value: 0,
        };
        let time = self.blocks[number as usize].time;
        self.execute(&mut world, &tx, time).ok_or("execution reverted")?;
        Ok(quantity(GAS))
    }

    fn state(&self, number: u64) -> Result<&World, String> {
        let state = self.blocks.get(number as usize).and_then(|block| block.after.as_ref());
        state.ok_or_else(|| format!("the state of block {number} is gone"))
    }

    fn block(&self, tag: &Value, newest: u64) -> Result<u64, String> {
        let number = match tag.as_str() {
            None | Some("latest" | "pending") => newest,
            Some(hex) => u64::from_str_radix(hex.trim_start_matches("0x"), 16)
                .map_err(|e| format!("{hex}: {e}"))?,
        };
        if number > newest { Err(format!("block {number} is not here")) } else { Ok(number) }
    }

    fn receipt(&self, hash: B256, newest: u64) -> Value {
        for (number, block) in self.blocks.iter().enumerate().take(newest as usize + 1) {
            for (index, receipt) in block.receipts.iter().enumerate() {
                if receipt.tx.hash == hash {
                    return self.show_receipt(number as u64, index, receipt);
                }
            }
        }
        Value::Null
    }

    fn show_receipt(&self, number: u64, index: usize, receipt: &Receipt) -> Value {
        let block = &self.blocks[number as usize];
        let block_hash = self.hash(number);
        let logs: Vec<Value> = receipt
            .logs
            .iter()
            .enumerate()
            .map(|(log_index, (address, log))| {
                json!({
                    "address": address, "topics": log.topics(), "data": log.data,
                    "blockHash": block_hash, "blockNumber": quantity(number),
                    "transactionHash": receipt.tx.hash,
                    "transactionIndex": quantity(index as u64),
                    "logIndex": quantity(log_index as u64), "removed": false,
                })
            })
            .collect();
        json!({
            "transactionHash": receipt.tx.hash, "transactionIndex": quantity(index as u64),
            "blockHash": block_hash, "blockNumber": quantity(number),
            "from": receipt.tx.from, "to": receipt.tx.to, "contractAddress": null,
            "gasUsed": quantity(GAS), "cumulativeGasUsed": quantity(GAS),
            "effectiveGasPrice": format!("0x{:x}", block.base_fee),
            "logs": logs, "logsBloom": zeros(256), "type": "0x2",
            "status": if receipt.success { "0x1" } else { "0x0" },
        })
    }

    fn header(&self, number: u64) -> Value {
        let hash = |n: u64| json!(self.hash(n));
        json!({
            "number": quantity(number), "hash": hash(number),
            "parentHash": hash(number.saturating_sub(1)),
            "sha3Uncles": zeros(32), "miner": zeros(20), "stateRoot": zeros(32),
            "transactionsRoot": zeros(32), "receiptsRoot": zeros(32), "logsBloom": zeros(256),
            "difficulty": "0x0", "gasLimit": "0x1c9c380", "gasUsed": "0x0",
            "timestamp": quantity(self.blocks[number as usize].time), "extraData": "0x",
            "mixHash": zeros(32), "nonce": zeros(8), "size": "0x0",
            "baseFeePerGas": format!("0x{:x}", self.blocks[number as usize].base_fee.max(self.base_fee)),
            "uncles": [], "transactions": [],
        })
    }
}

fn input(call: &Value) -> Result<Bytes, String> {
    parse(if call["input"].is_string() { &call["input"] } else { &call["data"] })
}

fn quantity(value: u64) -> Value {
    json!(format!("0x{value:x}"))
}

fn zeros(bytes: usize) -> String {
    format!("0x{}", "00".repeat(bytes))
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(value: &Value) -> Result<T, String> {
    let text = value.as_str().ok_or_else(|| format!("{value} is no string"))?;
    text.parse().map_err(|e: T::Err| e.to_string())
}
