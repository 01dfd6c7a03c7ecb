//! Against a real node: every unit that was signed for arrives, once.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use alloy::primitives::{Bytes, keccak256};
use serde_json::{Value, json};
use weir_settle::chain::contracts::{IUsageAnchor, address};
use weir_settle::chain::{Report, once};
use weir_settle::config::Config;
use weir_settle::control::{self, Request};
use weir_settle::sidecar::{self, Running};
use weir_settle::storage::{FileStorage, Storage};
use weir_usage::{Address, ChannelId, ChannelTerms, Frame, Refusal};

use crate::common::anvil::{Anvil, Contracts};
use crate::common::disk::{Disk, Fault};
use crate::common::relay::Relay;
use crate::common::{EXIT, PRICE, Rng, eventually, pay, payer, usage};

pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) async fn start<S: Storage + 'static>(
    anvil: &Anvil,
    config: &Config,
    storage: S,
) -> Running {
    sidecar::start(config.clone(), storage, anvil.exit_wallet()).await.unwrap()
}

/// Reports `bytes` in all on a lane and pays for them.
pub(crate) async fn use_and_pay(
    config: &Config,
    epoch: u64,
    channel: ChannelId,
    bytes: u64,
) -> Relay {
    let mut relay = Relay::connect(&config.socket, epoch).await;
    relay.report(usage(channel, 0, epoch.into(), bytes, 0)).await;
    let ask = relay.ask(channel, 0, bytes).await;
    // Until the sidecar has looked at the chain it can't know that the deposit is there.
    let ack =
        eventually("the voucher is taken", LONG, async || match relay.offer(pay(&ask)).await {
            Frame::VoucherAck(ack) => Some(ack),
            Frame::VoucherRefused(no) => panic!("{no:?}"),
            _ => None,
        })
        .await;
    assert_eq!(ack.amount, u128::from(bytes));
    relay
}

pub(crate) async fn settle_now(running: &Running) -> Report {
    tokio::time::timeout(LONG, running.sidecar.driver.settle_now()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_used_is_claimed_settled_and_anchored() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let contracts = anvil.deploy().await;
    let terms = anvil.open(&contracts, 1, 1_000_000).await;
    let channel = terms.id(&contracts.domain);
    let config = anvil.config(&contracts, &terms, "");
    let running = start(&anvil, &config, FileStorage::open(&config.journal).unwrap()).await;
    let nonce = anvil.exit_nonce().await;
    let mut relay = use_and_pay(&config, 1, channel, 150_000).await;

    let report = settle_now(&running).await;
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!((report.claimed, report.settled), (150_000, 150_000));
    assert_eq!(report.total.as_deref(), Some("150000"));
    let kinds: Vec<&str> = report.transactions.iter().map(|t| t.kind.as_str()).collect();
    assert_eq!(kinds, ["claim", "settle", "anchor"]);
    assert_eq!(anvil.balance(contracts.token, terms.receiver).await, 150_000);
    assert_anchored(&anvil, &contracts, &report).await;

    // Nothing new: nothing is sent.
    let idle = settle_now(&running).await;
    assert_eq!((idle.transactions.len(), idle.claimed, idle.root), (0, 0, report.root));
    assert_eq!(anvil.exit_nonce().await, nonce + 3);

    // And only the difference the next time.
    relay.report(usage(channel, 0, 1, 200_000, 0)).await;
    let ask = relay.ask(channel, 0, 200_000).await;
    assert!(matches!(relay.offer(pay(&ask)).await, Frame::VoucherAck(_)));
    let second = settle_now(&running).await;
    assert_eq!((second.claimed, second.settled), (50_000, 50_000));
    assert_eq!(second.total.as_deref(), Some("200000"));
    assert_eq!(anvil.balance(contracts.token, terms.receiver).await, 200_000);

    // A voucher past the deposit is refused before it is worthless.
    relay.report(usage(channel, 0, 1, 1_000_001, 0)).await;
    let ask = relay.ask(channel, 0, 1_000_001).await;
    let refusal = eventually("the sidecar knows the deposit", LONG, async || {
        match relay.offer(pay(&ask)).await {
            Frame::VoucherRefused(no) => Some(no.refusal),
            _ => panic!("a voucher past the deposit was taken"),
        }
    })
    .await;
    assert_eq!(refusal, Refusal::Unfunded);
    running.stop().await.unwrap();
}

async fn assert_anchored(anvil: &Anvil, contracts: &Contracts, report: &Report) {
    let call = IUsageAnchor::commitmentsCall {
        exit: anvil.exit_wallet().address(),
        epoch: report.epoch.unwrap(),
    };
    let held = anvil.rpc.view(address(contracts.anchor), call).await.unwrap();
    let root: weir_usage::Digest = report.root.as_ref().unwrap().parse().unwrap();
    let mut words = root.0.to_vec();
    words.extend([0; 16]);
    words.extend(report.total.as_ref().unwrap().parse::<u128>().unwrap().to_be_bytes());
    assert_eq!(held, keccak256(words));
}

/// The machine dies at every single step of the journal while a claim, a settlement and an anchor
/// go their way; each time the sidecar starts again from what the crash left.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_of_the_outbox_pays_once() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let contracts = anvil.deploy().await;
    let mut crashes = 0;
    for step in 0..100u8 {
        let terms = anvil.open(&contracts, step, 1_000_000).await;
        let channel = terms.id(&contracts.domain);
        let config = anvil.config(&contracts, &terms, "");
        let disk = Disk::new(step.into());
        let running = start(&anvil, &config, disk.clone()).await;
        drop(use_and_pay(&config, 1, channel, 1000).await);
        let nonce = anvil.exit_nonce().await;

        disk.plan(step.into(), Fault::Crash);
        let driver = running.sidecar.driver.clone();
        let settle = tokio::spawn(async move { driver.settle_now().await });
        let crashed = eventually("a crash or the end", LONG, async || {
            (disk.crashed() || settle.is_finished()).then(|| disk.crashed())
        })
        .await;
        settle.abort();
        running.kill().await;
        disk.reboot();

        let running = start(&anvil, &config, disk.clone()).await;
        let report = settle_now(&running).await;
        running.kill().await;
        assert_eq!(report.problems, Vec::<String>::new(), "step {step}");
        let paid = anvil.balance(contracts.token, terms.receiver).await;
        assert_eq!(paid, 1000, "step {step}: claimed and settled, once");
        let sent = anvil.exit_nonce().await - nonce;
        assert_eq!(sent, 3, "step {step}: one claim, one settlement, one anchor");
        assert_anchored(&anvil, &contracts, &report).await;
        if !crashed {
            break;
        }
        crashes += 1;
    }
    assert!(crashes >= 20, "only {crashes} crashes");
}

/// Nobody asks for it: thresholds and periods alone bring the money in, also over a restart.
#[tokio::test(flavor = "multi_thread")]
async fn thresholds_and_periods_settle_by_themselves() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let contracts = anvil.deploy().await;
    let terms = anvil.open(&contracts, 1, 1_000_000).await;
    let channel = terms.id(&contracts.domain);
    let mut config = anvil.config(&contracts, &terms, "");
    config.policy.claim_threshold = 1000;
    config.policy.settle_threshold = 1000;
    let storage = || FileStorage::open(&config.journal).unwrap();
    let running = start(&anvil, &config, storage()).await;
    let mut relay = use_and_pay(&config, 1, channel, 999).await;
    let nonce = anvil.exit_nonce().await;
    relay.report(usage(channel, 0, 1, 1000, 0)).await;
    let ask = relay.ask(channel, 0, 1000).await;
    assert_eq!(anvil.exit_nonce().await, nonce, "below the threshold nothing is claimed");
    assert!(matches!(relay.offer(pay(&ask)).await, Frame::VoucherAck(_)));
    let paid = async |amount: u128| {
        eventually("the money is there", LONG, async || {
            let balance = anvil.balance(contracts.token, terms.receiver).await;
            (balance == amount).then_some(())
        })
        .await;
    };
    paid(1000).await;
    relay.report(usage(channel, 0, 1, 1500, 0)).await;
    let ask = relay.ask(channel, 0, 1500).await;
    assert!(matches!(relay.offer(pay(&ask)).await, Frame::VoucherAck(_)));
    running.stop().await.unwrap();
    assert_eq!(anvil.exit_nonce().await, nonce + 2, "500 more are below the threshold");

    // The periods count from the journal, not from the start of the process.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut periodic = config.clone();
    periodic.policy.claim_period = Duration::from_secs(2);
    periodic.policy.settle_period = Duration::from_secs(2);
    periodic.policy.anchor_period = Duration::from_secs(2);
    let running = start(&anvil, &periodic, storage()).await;
    paid(1500).await;
    eventually("the anchor is final", LONG, async || {
        let view = running.sidecar.driver.view();
        view.done.iter().any(|i| i.kind == "anchor" && i.success == Some(true)).then_some(())
    })
    .await;
    running.stop().await.unwrap();
}

/// A stuck transaction is replaced by one with the same nonce that pays more.
#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_transaction_pays_more_with_the_same_nonce() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let contracts = anvil.deploy().await;
    let terms = anvil.open(&contracts, 1, 1_000_000).await;
    let channel = terms.id(&contracts.domain);
    let config = anvil.config(&contracts, &terms, "stuck_after_s = 1");
    let running = start(&anvil, &config, FileStorage::open(&config.journal).unwrap()).await;
    drop(use_and_pay(&config, 1, channel, 1000).await);
    let nonce = anvil.exit_nonce().await;
    anvil.call("evm_setAutomine", json!([false])).await;

    let driver = running.sidecar.driver.clone();
    let settle = tokio::spawn(async move { driver.settle_now().await });
    let claim = eventually("a replacement", LONG, async || {
        let view = running.sidecar.driver.view();
        view.open.first().filter(|i| i.transactions.len() >= 2).cloned()
    })
    .await;
    assert_eq!((claim.kind, claim.nonce), ("claim", Some(nonce)));
    anvil.call("evm_setAutomine", json!([true])).await;
    anvil.call("evm_mine", json!([])).await;
    let report = tokio::time::timeout(LONG, settle).await.unwrap().unwrap().unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!(report.claimed, 1000);
    assert_eq!(anvil.exit_nonce().await, nonce + 3, "one nonce per intent");
    assert!(report.transactions[0].tx != claim.transactions[0], "the replacement was mined");
    running.stop().await.unwrap();
}

/// The gas wallet is empty: it is said, and the same transaction goes out once it is filled.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_wallet_is_noticed_and_costs_nothing_once_it_is_filled() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let contracts = anvil.deploy().await;
    let terms = anvil.open(&contracts, 1, 1_000_000).await;
    let channel = terms.id(&contracts.domain);
    let config = anvil.config(&contracts, &terms, "");
    let running = start(&anvil, &config, FileStorage::open(&config.journal).unwrap()).await;
    drop(use_and_pay(&config, 1, channel, 1000).await);
    let wallet = anvil.exit_wallet().address().to_string();
    anvil.call("anvil_setBalance", json!([wallet, "0x0"])).await;
    let driver = running.sidecar.driver.clone();
    let settle = tokio::spawn(async move { driver.settle_now().await });
    let (reason, hash) = eventually("the refusal is shown", LONG, async || {
        let view = running.sidecar.driver.view();
        let intent = view.open.first().filter(|_| view.wallet_low)?;
        Some((intent.refused.clone()?, intent.transactions.clone()))
    })
    .await;
    assert!(reason.to_lowercase().contains("insufficient funds"), "{reason}");
    anvil.call("anvil_setBalance", json!([wallet, "0x56bc75e2d63100000"])).await;
    let report = tokio::time::timeout(LONG, settle).await.unwrap().unwrap().unwrap();
    assert_eq!((report.claimed, report.problems.len()), (1000, 0));
    assert_eq!(report.transactions[0].tx, hash[0], "the same transaction");
    running.stop().await.unwrap();
}

/// The block that held a claim disappears; the same bytes are sent again.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_block_left_the_chain_is_sent_again() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let contracts = anvil.deploy().await;
    let terms = anvil.open(&contracts, 1, 1_000_000).await;
    let channel = terms.id(&contracts.domain);
    let config = anvil.config(&contracts, &terms, "confirmations = 3");
    let running = start(&anvil, &config, FileStorage::open(&config.journal).unwrap()).await;
    drop(use_and_pay(&config, 1, channel, 1000).await);
    let snapshot = anvil.call("evm_snapshot", json!([])).await;

    let driver = running.sidecar.driver.clone();
    let settle = tokio::spawn(async move { driver.settle_now().await });
    let state = |wanted: &'static str| {
        let driver = running.sidecar.driver.clone();
        eventually(wanted, LONG, async move || {
            driver.view().open.first().filter(|i| i.state == wanted).cloned()
        })
    };
    let first = state("mined").await;
    anvil.call("evm_revert", json!([snapshot])).await;
    anvil.call("evm_setAutomine", json!([false])).await;
    let again = state("broadcast").await;
    assert_eq!(first.transactions, again.transactions, "the same transaction");
    anvil.call("evm_setAutomine", json!([true])).await;
    let miner = async {
        loop {
            anvil.call("evm_mine", json!([])).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let report = tokio::select! {
        report = settle => report.unwrap().unwrap(),
        () = miner => unreachable!(),
        () = tokio::time::sleep(LONG) => panic!("not final"),
    };
    assert_eq!((report.claimed, report.settled, report.problems.len()), (1000, 1000, 0));
    running.stop().await.unwrap();
}

/// No threshold is met and no period is over; the payer starts to leave.
#[tokio::test(flavor = "multi_thread")]
async fn a_payer_who_withdraws_is_claimed_from_at_once() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let contracts = anvil.deploy().await;
    let terms = anvil.open(&contracts, 1, 1_000_000).await;
    let channel = terms.id(&contracts.domain);
    let config = anvil.config(&contracts, &terms, "");
    let running = start(&anvil, &config, FileStorage::open(&config.journal).unwrap()).await;
    let mut relay = use_and_pay(&config, 1, channel, 1000).await;
    let nonce = anvil.exit_nonce().await;

    let mut input = keccak256("initiateWithdraw(bytes32)")[..4].to_vec();
    input.extend(channel.0);
    let escrow = Some(address(contracts.domain.escrow));
    let wallet = anvil.payer_wallet();
    once::send(&anvil.rpc, &wallet, "leaving", escrow, Bytes::from(input), LONG).await.unwrap();

    let withdrawing =
        |f: &Frame| matches!(f, Frame::Credit(c) if c.funding == weir_usage::Funding::Withdrawing);
    relay.until(withdrawing).await;
    eventually("the claim is final", LONG, async || {
        let view = running.sidecar.driver.view();
        view.done.iter().any(|i| i.kind == "claim" && i.success == Some(true)).then_some(())
    })
    .await;
    assert_eq!(anvil.exit_nonce().await, nonce + 1);
    running.stop().await.unwrap();
}

/// A node that accepts connections and says nothing: calls time out, records are kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hangs_stops_only_the_chain() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let contracts = anvil.deploy().await;
    let terms = anvil.open(&contracts, 1, 1_000_000).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = anvil.config(&contracts, &terms, "request_timeout_s = 1");
    config.chain.rpc = vec![format!("http://{}", silent.local_addr().unwrap()).parse().unwrap()];
    let running = start(&anvil, &config, FileStorage::open(&config.journal).unwrap()).await;
    drop(use_and_pay(&config, 1, terms.id(&contracts.domain), 1000).await);
    let error = eventually("the chain is reported", LONG, async || {
        running.sidecar.driver.view().error.clone()
    })
    .await;
    assert!(error.contains("eth_chainId"), "{error}");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_chain_and_a_missing_contract_are_named() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let contracts = anvil.deploy().await;
    let terms = anvil.open(&contracts, 1, 0).await;
    let good = anvil.config(&contracts, &terms, "").chain;
    weir_settle::chain::check_chain(&anvil.rpc, &good).await.unwrap();
    let mut other = good.clone();
    other.domain.chain_id = 1;
    let error = weir_settle::chain::check_chain(&anvil.rpc, &other).await.unwrap_err();
    assert!(matches!(error, weir_settle::Error::WrongChain { found: 31337, expected: 1, .. }));
    for escrow in [Address([9; 20]), contracts.token] {
        let mut other = good.clone();
        other.domain.escrow = escrow;
        let error = weir_settle::chain::check_chain(&anvil.rpc, &other).await.unwrap_err();
        assert!(matches!(error, weir_settle::Error::NoContract { .. }), "{error}");
    }
}

// ------------------------------------------------------------------ the program itself

pub(crate) struct Program(pub(crate) Child);

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_weir-settle"))
}

fn json_of(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// All through the command line: deploy, open a channel, run, use, pay, settle, with kill -9 at
/// random moments in between.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_survives_kill_9_and_pays_once() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let exit_key = {
        drop(anvil.exit_wallet());
        anvil.path("exit.key")
    };
    drop(anvil.payer_wallet());
    let on_chain = |key: std::path::PathBuf| {
        [
            "--rpc".into(),
            anvil.url(),
            "--key-file".into(),
            key.display().to_string(),
            "--json".into(),
        ]
    };
    let deployed =
        json_of(command().args(["deploy", "--test-token"]).args(on_chain(exit_key.clone())));
    let at = |name: &str| deployed[name]["address"].as_str().unwrap().to_owned();
    let receiver = Address([0x99; 20]);
    let opened = json_of(
        command()
            .args(["channel", "open", "--mint", "--deposit", "1000000"])
            .args(on_chain(anvil.path("payer.key")))
            .args(["--escrow", &at("escrow"), "--token", &at("token")])
            .args(["--signer", &payer().address().to_string()])
            .args(["--receiver", &receiver.to_string()]),
    );
    let text = |name: &str| opened[name].as_str().unwrap().to_owned();
    let file = anvil.path("settle.toml");
    let config = format!(
        "exit_id = \"{EXIT}\"\n[ask]\ninterval_ms = 10\n[files]\njournal = \"{}\"\n\
         socket = \"{}\"\ncontrol = \"{}\"\n[chain]\nrpc = \"{}\"\nchain_id = {}\nescrow = \"{}\"\n\
         anchor = \"{}\"\nkey_file = \"{}\"\npoll_ms = 30\nconfirmations = 0\n[[channel]]\n\
         id = \"{}\"\npayer = \"{}\"\nsigner = \"{}\"\nreceiver = \"{}\"\ntoken = \"{}\"\n\
         withdraw_delay_s = {}\nsalt = \"{}\"\nprice_per_gib = \"{PRICE}\"\n",
        anvil.path("journal").display(),
        anvil.path("settle.sock").display(),
        anvil.path("control.sock").display(),
        anvil.url(),
        deployed["chain_id"],
        at("escrow"),
        at("anchor"),
        exit_key.display(),
        text("channel"),
        text("payer"),
        text("signer"),
        text("receiver"),
        text("token"),
        opened["withdraw_delay_s"],
        text("salt"),
    );
    std::fs::write(&file, config).unwrap();
    assert!(command().arg("check").arg(&file).output().unwrap().status.success());
    let run = || {
        let mut run = command();
        run.args(["run", "-c"]).arg(&file).env("WEIR_LOG", "warn").stderr(Stdio::null());
        Program(run.spawn().unwrap())
    };
    let channel: ChannelId = text("channel").parse().unwrap();
    let nonce = anvil.exit_nonce().await;
    let socket = anvil.path("settle.sock");
    let control = anvil.path("control.sock");
    let mut rng = Rng(42);
    let mut paid = 0u64;
    for round in 1..=6u64 {
        let mut program = run();
        let mut relay =
            eventually("the program listens", LONG, async || Relay::try_connect(&socket, 5).await)
                .await;
        let bytes = round * 10_000;
        relay.report(usage(channel, 0, 1, bytes, 0)).await;
        let ask = relay.ask(channel, 0, bytes).await;
        assert_eq!(ask.seq, round, "no accepted voucher was forgotten");
        assert!(matches!(relay.offer(pay(&ask)).await, Frame::VoucherAck(_)));
        paid = bytes;
        let path = control.clone();
        let settle =
            tokio::spawn(async move { drop(control::ask(&path, &Request::SettleNow).await) });
        tokio::time::sleep(Duration::from_millis(rng.below(900))).await;
        program.0.kill().unwrap();
        program.0.wait().unwrap();
        settle.await.unwrap();
    }
    let mut program = run();
    let report = eventually("the program listens", LONG, async || {
        control::ask(&control, &Request::SettleNow).await.ok()
    })
    .await;
    assert_eq!(report["problems"], json!([]));
    assert_eq!(report["total"], paid.to_string());
    let token: Address = at("token").parse().unwrap();
    assert_eq!(anvil.balance(token, receiver).await, u128::from(paid));
    let sent = anvil.exit_nonce().await - nonce;
    assert!((3..=7 * 3).contains(&sent), "{sent} transactions for 7 rounds");

    let story = command().args(["explain", "-c"]).arg(&file).arg(text("channel")).output().unwrap();
    let story = String::from_utf8(story.stdout).unwrap();
    let line = |start: &str| {
        let line = story.lines().find(|l| l.trim_start().starts_with(start));
        line.unwrap_or_else(|| panic!("no `{start}` in\n{story}")).to_owned()
    };
    for (name, amount) in [("used", paid), ("signed for", paid), ("claimed", paid), ("exposure", 0)]
    {
        let found = line(name);
        assert!(found.contains(&format!(" {amount} units")), "{found}");
    }
    let status = json_of(command().args(["status", "--json", "-c"]).arg(&file));
    assert_eq!(status["lanes"][0]["claimed"], paid.to_string());
    let shown = command().args(["status", "-c"]).arg(&file).output().unwrap();
    assert!(
        String::from_utf8_lossy(&shown.stdout).contains(&format!("claimed {paid}, exposure 0"))
    );

    // A second one on the same journal stays out, and SIGTERM is a clean end.
    let second = command().args(["run", "-c"]).arg(&file).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use"));
    let pid = program.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(program.0.wait().unwrap().code(), Some(0));
    assert!(!socket.exists());
}

/// A host without CA certificates still talks to a node on the same host.
#[tokio::test]
async fn a_local_node_needs_no_ca_certificates() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    drop(anvil.exit_wallet());
    let output = command()
        .args(["deploy", "--json", "--rpc", &anvil.url(), "--key-file"])
        .arg(anvil.path("exit.key"))
        .env("SSL_CERT_FILE", "/nonexistent")
        .env("SSL_CERT_DIR", "/nonexistent")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The same port doesn't speak TLS, and the error says what was tried.
    let output = command()
        .args(["deploy", "--rpc", &anvil.url().replace("http:", "https:"), "--key-file"])
        .arg(anvil.path("exit.key"))
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("https://127.0.0.1"), "{error}");
}

/// Kept beside the tests above because it needs their chain: terms that nobody opened.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_not_on_chain_takes_no_vouchers() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let contracts = anvil.deploy().await;
    let opened = anvil.open(&contracts, 1, 0).await;
    let terms = ChannelTerms { salt: [9; 32], ..opened };
    let channel = terms.id(&contracts.domain);
    let config = anvil.config(&contracts, &terms, "");
    let running = start(&anvil, &config, FileStorage::open(&config.journal).unwrap()).await;
    let views = running.sidecar.clerk.views();
    eventually("the sidecar has looked", LONG, async || {
        let view = views.borrow().clone();
        let mut lanes = view.lanes.values();
        lanes.all(|l| l.credit.funding == weir_usage::Funding::Missing).then_some(())
    })
    .await;
    let mut relay = Relay::connect(&config.socket, 1).await;
    relay.report(usage(channel, 0, 1, 1000, 0)).await;
    let ask = relay.ask(channel, 0, 1000).await;
    let Frame::VoucherRefused(no) = relay.offer(pay(&ask)).await else { panic!("accepted") };
    assert_eq!(no.refusal, Refusal::Closing);
    running.stop().await.unwrap();
}
