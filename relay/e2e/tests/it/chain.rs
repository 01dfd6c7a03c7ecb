//! A development chain with the contracts on it, asked by itself and not through the sidecar.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::lab::binary::built;
use crate::lab::{PATIENCE, free_port, wait_for};

/// First four bytes of the Keccak-256 of `claimed(bytes32,uint32)`.
const CLAIMED_SELECTOR: &str = "20f11531";
/// The same of ERC-20's `balanceOf(address)`.
const BALANCE_SELECTOR: &str = "70a08231";

/// Which of the chain's accounts is whose; each has coins for gas.
#[derive(Clone, Copy)]
pub(crate) enum Who {
    Claim,
    Payer,
    Session,
    Receiver,
}

/// anvil, the contracts, and a directory for all files of the test. It ends with its value.
pub(crate) struct Chain {
    node: Child,
    port: u16,
    pub(crate) dir: tempfile::TempDir,
    accounts: Value,
    contracts: Value,
}

impl Drop for Chain {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}

impl Chain {
    /// `None` where there is no anvil.
    pub(crate) fn start() -> Option<Chain> {
        let Some(anvil) = anvil() else {
            let reason = "no anvil: run `cargo xtask setup`";
            assert!(std::env::var_os("WEIR_REQUIRE_PRIVILEGED").is_none(), "{reason}");
            eprintln!("SKIP: {reason}");
            return None;
        };
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        // Fresh keys every time, and nothing of it under HOME.
        let node = Command::new(anvil)
            .args(["--port", &port.to_string(), "--mnemonic-random", "--config-out"])
            .arg(dir.path().join("anvil.json"))
            .env("HOME", dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (accounts, contracts) = (Value::Null, Value::Null);
        let mut chain = Chain { node, port, dir, accounts, contracts };
        chain.accounts = wait_for("anvil", || {
            let accounts = std::fs::read(chain.path("anvil.json")).ok()?;
            chain.try_call("eth_chainId", json!([]))?;
            serde_json::from_slice(&accounts).ok()
        });
        for (who, file) in
            [(Who::Claim, "claim.key"), (Who::Payer, "payer.key"), (Who::Session, "session.key")]
        {
            write_secret(&chain.path(file), &chain.account(who).1);
        }
        let deploy = ["deploy", "--test-token", "--json"];
        chain.contracts = chain.sent_by("claim.key", &deploy);
        Some(chain)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn id(&self) -> u64 {
        self.contracts["chain_id"].as_u64().unwrap()
    }

    /// `escrow`, `anchor` or `token`.
    pub(crate) fn contract(&self, name: &str) -> &str {
        self.contracts[name]["address"].as_str().unwrap()
    }

    /// Address and key.
    pub(crate) fn account(&self, who: Who) -> (String, String) {
        let text =
            |list: &str| self.accounts[list][who as usize].as_str().expect("an account").to_owned();
        (text("available_accounts"), text("private_keys"))
    }

    /// Opens the payer's channel; what `weir-settle channel open` says of it.
    pub(crate) fn open(&self, deposit: u128) -> Value {
        let (signer, receiver) = (self.account(Who::Session).0, self.account(Who::Receiver).0);
        let deposit = deposit.to_string();
        let mut open = vec!["channel", "open", "--mint", "--json", "--deposit", &deposit];
        open.extend(["--escrow", self.contract("escrow"), "--token", self.contract("token")]);
        open.extend(["--signer", &signer, "--receiver", &receiver]);
        self.sent_by("payer.key", &open)
    }

    fn sent_by(&self, key: &str, arguments: &[&str]) -> Value {
        let mut command = Command::new(built("weir-settle"));
        command.args(arguments).args(["--rpc", &self.url(), "--key-file"]).arg(self.path(key));
        json_of(&command.output().unwrap())
    }

    /// What the escrow says was claimed of a channel's lane.
    pub(crate) fn claimed(&self, channel: &str, lane: u32) -> u128 {
        let channel = channel.trim_start_matches("0x");
        self.number("escrow", &format!("0x{CLAIMED_SELECTOR}{channel}{lane:064x}"))
    }

    /// What an account has of the token.
    pub(crate) fn balance(&self, account: &str) -> u128 {
        let account = account.trim_start_matches("0x");
        self.number("token", &format!("0x{BALANCE_SELECTOR}{account:0>64}"))
    }

    fn number(&self, contract: &str, data: &str) -> u128 {
        let call = json!([{ "to": self.contract(contract), "data": data }, "latest"]);
        let word = self.try_call("eth_call", call).expect("a node that answers");
        u128::from_str_radix(word.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    }

    /// `None` as long as nobody answers.
    fn try_call(&self, method: &str, params: Value) -> Option<Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let body = body.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let json = answer.get(answer.find('{')?..=answer.rfind('}')?)?;
        let mut answer: Value = serde_json::from_str(json).ok()?;
        assert!(answer["error"].is_null(), "{method}: {answer}");
        Some(answer["result"].take())
    }
}

/// What a program printed, which went well.
pub(crate) fn text_of(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn json_of(output: &Output) -> Value {
    let text = text_of(output);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn write_secret(path: &Path, text: &str) {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

fn anvil() -> Option<PathBuf> {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy/contracts/node_modules/@foundry-rs");
    // The package's own launcher is a script, which would not pass a kill on.
    let packages = std::fs::read_dir(modules).into_iter().flatten().flatten();
    let from_npm = packages
        .filter(|package| package.file_name().to_string_lossy().starts_with("anvil-"))
        .map(|package| package.path().join("bin/anvil"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|folder| folder.join("anvil"));
    from_npm.chain(installed.collect::<Vec<_>>()).find(|file| file.is_file())
}
