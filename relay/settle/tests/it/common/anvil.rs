//! A development chain with the contracts on it.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use alloy::eips::BlockNumberOrTag;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_settle::chain::contracts::{IERC20, address};
use weir_settle::chain::deploy::{Contract, deploy, open_channel};
use weir_settle::chain::rpc::Rpc;
use weir_settle::config::Config;
use weir_settle::keys::Wallet;
use weir_usage::{Address, ChannelTerms, Domain};

use super::{config_text, config_with, eventually, payer};

/// The first two accounts of every development chain.
const EXIT_KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
pub(crate) const PAYER_KEY: &str =
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
pub(crate) const CHAIN_ID: u64 = 31337;

/// A node and a directory for keys, sockets and journals. The node ends with it.
pub(crate) struct Anvil {
    child: Child,
    port: u16,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) rpc: Rpc,
}

/// The contracts on one node.
pub(crate) struct Contracts {
    pub(crate) domain: Domain,
    pub(crate) anchor: Address,
    pub(crate) token: Address,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Anvil {
    /// `None` where there is no anvil; says so, and panics if that isn't acceptable.
    pub(crate) async fn start(arguments: &[&str]) -> Option<Self> {
        let Some(binary) = binary() else {
            let reason = "no anvil: run `cargo xtask setup`";
            assert!(std::env::var_os("WEIR_REQUIRE_PRIVILEGED").is_none(), "{reason}");
            eprintln!("SKIP: {reason}");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(binary)
            .args(["--port", &port.to_string(), "--quiet"])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let rpc = Rpc::new(&url, Duration::from_secs(1), Duration::from_secs(10)).unwrap();
        let anvil = Self { child, port, directory: tempfile::tempdir().unwrap(), rpc };
        eventually("anvil answers", Duration::from_secs(30), async || {
            (anvil.rpc.chain_id().await.ok()? == CHAIN_ID).then_some(())
        })
        .await;
        Some(anvil)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn exit_wallet(&self) -> Wallet {
        Wallet::load(&self.key_file("exit.key", EXIT_KEY), None).unwrap()
    }

    pub(crate) fn payer_wallet(&self) -> Wallet {
        Wallet::load(&self.key_file("payer.key", PAYER_KEY), None).unwrap()
    }

    pub(crate) fn key_file(&self, name: &str, key: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, key).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub(crate) async fn deploy(&self) -> Contracts {
        let wallet = self.exit_wallet();
        let mut made = Vec::new();
        for contract in [Contract::ExitEscrow, Contract::UsageAnchor, Contract::TestToken] {
            let deployed = deploy(&self.rpc, &wallet, contract).await.unwrap();
            made.push(deployed.address.parse().unwrap());
        }
        Contracts {
            domain: Domain { chain_id: CHAIN_ID, escrow: made[0] },
            anchor: made[1],
            token: made[2],
        }
    }

    /// Opens a channel; `number` makes its receiver and its salt unique.
    pub(crate) async fn open(
        &self,
        contracts: &Contracts,
        number: u8,
        deposit: u128,
    ) -> ChannelTerms {
        let wallet = self.payer_wallet();
        let terms = ChannelTerms {
            payer: Address(wallet.address().into_array()),
            signer: payer().address(),
            receiver: Address([0x40 + number; 20]),
            token: contracts.token,
            withdraw_delay_s: 3600,
            salt: [number; 32],
        };
        open_channel(&self.rpc, &wallet, &contracts.domain, &terms, deposit, true).await.unwrap();
        terms
    }

    /// A configuration whose every period and threshold is far away.
    pub(crate) fn config(
        &self,
        contracts: &Contracts,
        terms: &ChannelTerms,
        chain: &str,
    ) -> Config {
        let extra = format!(
            "[chain]\nrpc = \"{}\"\nchain_id = {CHAIN_ID}\nescrow = \"{}\"\nanchor = \"{}\"\n\
             key_file = \"{}\"\npoll_ms = 20\nconfirmations = 0\n{chain}\n\
             [policy]\nclaim_threshold = \"1_000_000_000_000\"\n\
             settle_threshold = \"1_000_000_000_000\"\n\
             [files]\njournal = \"{}\"\nsocket = \"{}\"\ncontrol = \"{}\"",
            self.url(),
            contracts.domain.escrow,
            contracts.anchor,
            self.key_file("exit.key", EXIT_KEY).display(),
            self.path("journal").display(),
            self.path("settle.sock").display(),
            self.path("control.sock").display(),
        );
        // Later keys of the same name win over the defaults above.
        let extra = without_repeated(&extra);
        // For commands that read a file.
        let text = config_text(contracts.domain, terms, &extra, "");
        std::fs::write(self.path("settle.toml"), text).unwrap();
        config_with(contracts.domain, terms, &extra, "")
    }

    pub(crate) async fn balance(&self, token: Address, of: Address) -> u128 {
        let call = IERC20::balanceOfCall { owner: address(of) };
        self.rpc.view(address(token), call).await.unwrap().to::<u128>()
    }

    pub(crate) async fn exit_nonce(&self) -> u64 {
        self.rpc.nonce(self.exit_wallet().address(), BlockNumberOrTag::Latest).await.unwrap()
    }

    /// Any JSON-RPC method of the node.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let body = body.to_string();
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let request = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let json = &answer[answer.find('{').expect("a JSON answer")..=answer.rfind('}').unwrap()];
        let answer: Value = serde_json::from_str(json).unwrap();
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }
}

/// Of lines that set the same key, keeps the last.
fn without_repeated(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let key = |line: &str| line.split_once(" = ").map(|(k, _)| k.to_owned());
    let kept = lines.iter().enumerate().filter(|(i, line)| {
        let repeated = |k: String| lines[i + 1..].iter().any(|l| key(l) == Some(k.clone()));
        !key(line).is_some_and(repeated)
    });
    kept.map(|(_, line)| format!("{line}\n")).collect()
}

fn binary() -> Option<PathBuf> {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy/contracts/node_modules/@foundry-rs");
    // The package's own launcher is a script, which would not pass a kill on.
    let packages = std::fs::read_dir(modules).into_iter().flatten().flatten();
    let from_npm = packages
        .filter(|p| p.file_name().to_string_lossy().starts_with("anvil-"))
        .map(|p| p.path().join("bin/anvil"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|p| p.join("anvil")).collect::<Vec<_>>();
    from_npm.chain(installed).find(|p| p.is_file())
}
