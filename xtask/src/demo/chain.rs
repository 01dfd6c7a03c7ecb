//! A local EVM node with the real contracts and a funded channel.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
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

/// What measurers may spend together: 1 GiB worth.
const MEASURERS_DEPOSIT: u128 = 1 << 30;

/// First four bytes of the Keccak-256 of `claimed(bytes32,uint32)`.
const CLAIMED_SELECTOR: &str = "20f11531";
/// The same of ERC-20's `balanceOf(address)`.
const BALANCE_SELECTOR: &str = "70a08231";

/// What the usage records name this exit; any constant does in a lab.
pub const EXIT_ID: &str = "0x7765697220657869742031000000000000000000000000000000000000000000";

/// anvil, and what was deployed on it.
pub struct Chain {
    node: Process,
    pub chain_id: u64,
    pub channel: String,
    pub token_sha256: String,
    pub escrow: String,
    anchor: String,
    pub bond: String,
    pub token: String,
    /// The session key's address of the payer, which signs samples too.
    pub signer: String,
    opened: Value,
    /// The measurers' channel, one lane for each.
    pub measurers: Value,
    pub price_per_gib: u128,
    accounts: Accounts,
    /// The agreement that the sidecar serves, once there is one.
    pub agreement: Option<PathBuf>,
}

/// anvil's ten accounts; each has coins for gas.
pub struct Accounts(Value);

/// Who is which account.
#[derive(Clone, Copy)]
pub enum Who {
    Claim = 0,
    Payer = 1,
    Session = 2,
    Receiver = 3,
    /// Its key is the usage key, too.
    Operator = 4,
    MeasurersPayer = 8,
    MeasurersSession = 9,
}

/// The first of the accounts that are measurers' own keys.
const FIRST_MEASURER: usize = 5;
pub const MEASURERS: usize = 3;

impl Accounts {
    pub fn of(&self, who: Who) -> Result<(String, String)> {
        self.at(who as usize)
    }

    pub fn measurer(&self, number: usize) -> Result<(String, String)> {
        self.at(FIRST_MEASURER + number)
    }

    /// Address and key.
    fn at(&self, index: usize) -> Result<(String, String)> {
        let text = |list: &str| self.0[list][index].as_str().map(str::to_owned);
        text("available_accounts").zip(text("private_keys")).context("anvil made no accounts")
    }
}

impl Chain {
    pub fn start(lab: &Lab, binaries: &Binaries, dir: &RunDir) -> Result<Chain> {
        let mut node = start_node(lab, dir)?;
        let accounts = dir.join("anvil.json");
        node.wait_until(START_LIMIT, || {
            accounts.exists() && rpc(lab, "eth_chainId", json!([])).is_ok()
        })?;
        let accounts = Accounts(serde_json::from_str(&std::fs::read_to_string(accounts)?)?);
        let (signer, signer_key) = accounts.of(Who::Session)?;
        let (receiver, _) = accounts.of(Who::Receiver)?;
        dir.write("settle.key", &accounts.of(Who::Claim)?.1)?;
        dir.write("payer-wallet.key", &accounts.of(Who::Payer)?.1)?;
        dir.write("payer-session.key", &signer_key)?;
        dir.write("operator.key", &accounts.of(Who::Operator)?.1)?;
        dir.write("measurers-wallet.key", &accounts.of(Who::MeasurersPayer)?.1)?;
        let (measurers_signer, measurers_key) = accounts.of(Who::MeasurersSession)?;
        dir.write("measurers-session.key", &measurers_key)?;
        let token = dir.write("token", &secret()?)?;
        let token_sha256 = sha256(&token)?;
        for number in 0..MEASURERS {
            dir.write(&format!("measurer-{number}.key"), &accounts.measurer(number)?.1)?;
            dir.write(&format!("measurer-{number}.token"), &secret()?)?;
        }

        let url = format!("http://{RPC}");
        let mut deploy = lab.on(Host::Relay, &binaries.settle);
        deploy.args(["deploy", "--rpc", &url, "--test-token", "--json", "--key-file"]);
        let deployed: Value = serde_json::from_str(&sh::read(deploy.arg(dir.join("settle.key")))?)?;
        let address = |what: &str| -> Result<String> {
            let address = deployed[what]["address"].as_str();
            Ok(address.with_context(|| format!("no {what} was deployed: {deployed}"))?.to_owned())
        };
        let (escrow, anchor) = (address("escrow")?, address("anchor")?);
        let (bond, token) = (address("bond")?, address("token")?);

        let open = |signer: &str, deposit: u128, key: &str| -> Result<Value> {
            let mut open = lab.on(Host::Relay, &binaries.settle);
            open.args(["channel", "open", "--json", "--mint", "--rpc", &url, "--escrow", &escrow]);
            open.args(["--token", &token, "--signer", signer, "--receiver", &receiver]);
            open.args(["--deposit", &deposit.to_string(), "--key-file"]).arg(dir.join(key));
            Ok(serde_json::from_str(&sh::read(&mut open)?)?)
        };
        let opened = open(&signer, DEPOSIT, "payer-wallet.key")?;
        let measurers = open(&measurers_signer, MEASURERS_DEPOSIT, "measurers-wallet.key")?;
        Ok(Chain {
            node,
            chain_id: deployed["chain_id"].as_u64().context("no chain id")?,
            channel: opened["channel"].as_str().context("no channel was opened")?.to_owned(),
            token_sha256,
            escrow,
            anchor,
            bond,
            token,
            signer,
            opened,
            measurers,
            price_per_gib: PRICE_PER_GIB,
            accounts,
            agreement: None,
        })
    }

    /// The sidecar's configuration.
    pub fn settle_config(&self, dir: &RunDir) -> String {
        let run_dir = dir.path().display();
        let service = match &self.agreement {
            Some(path) => format!("[[service]]\nagreement = \"{}\"\n", path.display()),
            None => String::new(),
        };
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
key = "{run_dir}/settle.key"
confirmations = 0
poll_ms = 200

[usage]
key = "{run_dir}/operator.key"

{channel}
{measurers}
{service}"#,
            chain_id = self.chain_id,
            escrow = self.escrow,
            anchor = self.anchor,
            channel = self.channel_section(&self.opened, 1),
            measurers = self.channel_section(&self.measurers, MEASURERS),
        )
    }

    fn channel_section(&self, opened: &Value, lanes: usize) -> String {
        let text = |key: &str| opened[key].as_str().unwrap_or_default();
        let mut section = "[[channel]]\n".to_owned();
        for (key, name) in [
            ("id", "channel"),
            ("payer", "payer"),
            ("signer", "signer"),
            ("receiver", "receiver"),
            ("token", "token"),
            ("salt", "salt"),
        ] {
            section.push_str(&format!("{key} = \"{}\"\n", text(name)));
        }
        let delay = opened["withdraw_delay_s"].as_u64().unwrap_or_default();
        section.push_str(&format!("withdraw_delay_s = {delay}\n"));
        section.push_str(&format!("lanes = {:?}\n", (0..lanes).collect::<Vec<_>>()));
        section.push_str(&format!("price_per_gib = \"{}\"\n", self.price_per_gib));
        section
    }

    /// The grants of the measurers, each with a lane of their channel.
    pub fn measurer_grants(&self, dir: &RunDir) -> Result<String> {
        let channel = self.measurers["channel"].as_str().context("no measurers' channel")?;
        let mut grants = String::new();
        for number in 0..MEASURERS {
            let hash = sha256(&dir.join(&format!("measurer-{number}.token")))?;
            grants.push_str(&format!(
                "\n[[grant]]\nname = \"measurer-{number}\"\ntoken_sha256 = \"{hash}\"\n\
                 channel = \"{channel}\"\nlane = {number}\n"
            ));
        }
        Ok(grants)
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
        self.claimed_of(lab, &self.channel, 0)
    }

    /// The same of any channel's lane.
    pub fn claimed_of(&self, lab: &Lab, channel: &str, lane: usize) -> Result<u128> {
        let channel = channel.trim_start_matches("0x");
        self.number(lab, &self.escrow, &format!("0x{CLAIMED_SELECTOR}{channel}{lane:064x}"))
    }

    /// What an account has of the token, in the token's smallest unit.
    pub fn balance(&self, lab: &Lab, account: &str) -> Result<u128> {
        let account = account.trim_start_matches("0x");
        self.number(lab, &self.token, &format!("0x{BALANCE_SELECTOR}{account:0>64}"))
    }

    fn number(&self, lab: &Lab, contract: &str, data: &str) -> Result<u128> {
        let answer = rpc(lab, "eth_call", json!([{ "to": contract, "data": data }, "latest"]))?;
        let word = answer.as_str().context("eth_call answered no string")?;
        u128::from_str_radix(word.trim_start_matches("0x"), 16).context("eth_call answered no word")
    }

    /// Who has which account.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Makes an empty block, so that the newest one is of now: transactions are tried on it first.
    pub fn mine(&self, lab: &Lab) -> Result<()> {
        rpc(lab, "evm_mine", json!([])).map(drop)
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

fn sha256(file: &Path) -> Result<String> {
    let line = sh::read(sh::cmd("sha256sum").arg(file))?;
    Ok(line.split_whitespace().next().unwrap_or_default().to_owned())
}

/// A credential for this run.
fn secret() -> Result<String> {
    use std::io::Read as _;
    let mut bytes = [0; 24];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
