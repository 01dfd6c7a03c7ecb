//! A local EVM node with the real contracts and a funded channel.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::lab::{Host, Lab};
use super::process::Process;
use super::scene::{Binaries, RunDir, SETTLE_ADMIN};
use crate::{contracts, http, sh};

pub const RPC: &str = "127.0.0.1:18545";
const START_LIMIT: Duration = Duration::from_secs(30);

/// One token unit per byte, so that amounts can be compared with byte counts at a glance.
const PRICE_PER_GIB: u128 = 1 << 30;

/// What the payer puts into the channel: 64 GiB worth.
const DEPOSIT: u128 = 64 << 30;

/// First four bytes of the Keccak-256 of `claimed(bytes32,uint32)`.
const CLAIMED_SELECTOR: &str = "20f11531";

/// What the usage records name this exit; any constant does in a lab.
pub const EXIT_ID: &str = "0x7765697220657869742031000000000000000000000000000000000000000000";

/// anvil, and what was deployed on it.
pub struct Chain {
    node: Process,
    pub chain_id: u64,
    pub channel: String,
    pub token_sha256: String,
    escrow: String,
    anchor: String,
    opened: Value,
    price_per_gib: u128,
}

impl Chain {
    pub fn start(lab: &Lab, binaries: &Binaries, dir: &RunDir) -> Result<Chain> {
        let mut node = start_node(lab, dir)?;
        let accounts = dir.join("anvil.json");
        node.wait_until(START_LIMIT, || {
            accounts.exists() && rpc(lab, "eth_chainId", json!([])).is_ok()
        })?;
        let accounts: Value = serde_json::from_str(&std::fs::read_to_string(accounts)?)?;
        let account = |index: usize| -> Result<(String, String)> {
            let text = |list: &str| accounts[list][index].as_str().map(str::to_owned);
            text("available_accounts").zip(text("private_keys")).context("anvil made no accounts")
        };
        let (_, gas_key) = account(0)?;
        let (_, payer_key) = account(1)?;
        let (signer, signer_key) = account(2)?;
        let (receiver, _) = account(3)?;
        dir.write("settle.key", &gas_key)?;
        dir.write("payer-wallet.key", &payer_key)?;
        dir.write("payer-session.key", &signer_key)?;
        let token = dir.write("token", &secret()?)?;
        let token_sha256 = sh::read(sh::cmd("sha256sum").arg(&token))?;
        let token_sha256 = token_sha256.split_whitespace().next().unwrap_or_default().to_owned();

        let url = format!("http://{RPC}");
        let mut deploy = lab.on(Host::Relay, &binaries.settle);
        deploy.args(["deploy", "--rpc", &url, "--test-token", "--json", "--key-file"]);
        let deployed: Value = serde_json::from_str(&sh::read(deploy.arg(dir.join("settle.key")))?)?;
        let address = |what: &str| -> Result<String> {
            let address = deployed[what]["address"].as_str();
            Ok(address.with_context(|| format!("no {what} was deployed: {deployed}"))?.to_owned())
        };
        let (escrow, anchor) = (address("escrow")?, address("anchor")?);

        let mut open = lab.on(Host::Relay, &binaries.settle);
        open.args(["channel", "open", "--json", "--mint", "--rpc", &url, "--escrow", &escrow]);
        open.args(["--token", &address("token")?, "--signer", &signer, "--receiver", &receiver]);
        open.args(["--deposit", &DEPOSIT.to_string(), "--key-file"]);
        let opened: Value =
            serde_json::from_str(&sh::read(open.arg(dir.join("payer-wallet.key")))?)?;
        Ok(Chain {
            node,
            chain_id: deployed["chain_id"].as_u64().context("no chain id")?,
            channel: opened["channel"].as_str().context("no channel was opened")?.to_owned(),
            token_sha256,
            escrow,
            anchor,
            opened,
            price_per_gib: PRICE_PER_GIB,
        })
    }

    /// The sidecar's configuration.
    pub fn settle_config(&self, dir: &RunDir) -> String {
        let run_dir = dir.path().display();
        let opened = |key: &str| self.opened[key].as_str().unwrap_or_default().to_owned();
        let delay = self.opened["withdraw_delay_s"].as_u64().unwrap_or_default();
        format!(
            r#"exit_id = "{EXIT_ID}"

[files]
journal = "{run_dir}/journal"
socket = "{run_dir}/settle.sock"
control = "{run_dir}/settle-control.sock"

[admin]
listen = "{SETTLE_ADMIN}"

[chain]
rpc = "http://{RPC}"
chain_id = {chain_id}
escrow = "{escrow}"
anchor = "{anchor}"
key_file = "{run_dir}/settle.key"
confirmations = 0
poll_ms = 200

[[channel]]
id = "{channel}"
payer = "{payer}"
signer = "{signer}"
receiver = "{receiver}"
token = "{token}"
withdraw_delay_s = {delay}
salt = "{salt}"
price_per_gib = "{price}"
"#,
            chain_id = self.chain_id,
            escrow = self.escrow,
            anchor = self.anchor,
            channel = self.channel,
            payer = opened("payer"),
            signer = opened("signer"),
            receiver = opened("receiver"),
            token = opened("token"),
            salt = opened("salt"),
            price = self.price_per_gib,
        )
    }

    /// What makes `weir client` pay.
    pub fn payer_options(&self, command: &mut Command, dir: &RunDir) {
        command
            .arg("--payer-key")
            .arg(dir.join("payer-session.key"))
            .args(["--payer-channel", &self.channel])
            .args(["--payer-chain-id", &self.chain_id.to_string()])
            .args(["--payer-escrow", &self.escrow])
            .args(["--payer-price-max", &self.price_per_gib.to_string()])
            .arg("--payer-state")
            .arg(dir.join("payer-state.json"))
            .args(["--payer-period-ms", "250"]);
    }

    /// What so many bytes cost, in token units.
    pub fn amount_of(&self, bytes: u64) -> u128 {
        (u128::from(bytes) * self.price_per_gib) >> 30
    }

    /// What the escrow says was claimed for the channel: read from the chain, not from the sidecar.
    pub fn claimed(&self, lab: &Lab) -> Result<u128> {
        let channel = self.channel.trim_start_matches("0x");
        let call = json!([
            { "to": self.escrow, "data": format!("0x{CLAIMED_SELECTOR}{channel}{:064x}", 0) },
            "latest",
        ]);
        let answer = rpc(lab, "eth_call", call)?;
        let word = answer.as_str().context("eth_call answered no string")?;
        u128::from_str_radix(word.trim_start_matches("0x"), 16).context("eth_call answered no word")
    }

    pub fn keep(&mut self) {
        self.node.keep();
    }

    pub fn stop(&mut self) {
        self.node.kill();
    }

    pub fn id(&self) -> u32 {
        self.node.id()
    }
}

fn start_node(lab: &Lab, dir: &RunDir) -> Result<Process> {
    let anvil: PathBuf = contracts::tools()?.anvil;
    let (host, port) = RPC.split_once(':').context("the node's address has a port")?;
    let mut command = lab.on(Host::Relay, anvil);
    // Fresh keys every time: none that means anything is ever written into the project.
    command.args(["--host", host, "--port", port, "--mnemonic-random", "--config-out"]);
    command.arg(dir.join("anvil.json"));
    // It looks for its own folder under HOME; nothing of it may be left behind.
    command.env("HOME", dir.path());
    Process::start("anvil", command, dir.path())
}

fn rpc(lab: &Lab, method: &str, params: Value) -> Result<Value> {
    let addr: SocketAddr = RPC.parse()?;
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let mut answer = http::request(lab, Host::Relay, "POST", addr, "/", &body.to_string())?;
    match answer.get("error") {
        Some(error) => anyhow::bail!("{method}: {error}"),
        None => Ok(answer["result"].take()),
    }
}

/// A credential for this run.
fn secret() -> Result<String> {
    use std::io::Read as _;
    let mut bytes = [0; 24];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
