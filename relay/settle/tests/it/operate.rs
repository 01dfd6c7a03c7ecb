//! The operator's side: figures, alerts, exports, and commands that say what is wrong.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use weir_settle::chain::deploy::Contract;
use weir_settle::export::{self, COLUMNS};
use weir_settle::metrics::families::{FAMILIES, page};
use weir_settle::metrics::render;
use weir_settle::storage::{FileStorage, ReadOnly};
use weir_usage::ChannelTerms;

use crate::chain::{LONG, settle_now, start, use_and_pay};
use crate::common::anvil::{Anvil, CHAIN_ID, Contracts};
use crate::common::eventually;

fn file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn command(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir-settle")).args(arguments).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_configuration_that_is_missing_or_wrong_exits_with_78() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settle.toml");
    let path = path.to_str().unwrap();
    let commands: [&[&str]; 4] =
        [&["run", "-c", path], &["check", path], &["status", "-c", path], &["rebuild", "-c", path]];
    let refused = |words: &str| {
        for arguments in commands {
            let output = command(arguments);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(78), "{arguments:?}: {said}");
            assert!(said.contains(words), "{arguments:?}: {said}");
        }
    };
    refused("can't read the configuration");
    std::fs::write(path, "exit_id = 1\n").unwrap();
    refused("exit_id");
}

#[test]
fn the_page_of_metrics_is_the_table() {
    let path = file("METRICS.md");
    if std::env::var_os("WEIR_BLESS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), page(), "WEIR_BLESS=1 writes it anew");
    let names: BTreeSet<&str> = FAMILIES.iter().map(|f| f.name).collect();
    assert_eq!(names.len(), FAMILIES.len(), "each name once");
    let columns = std::fs::read_to_string(file("EXPORT.md")).unwrap();
    let rows: Vec<&str> =
        columns.lines().filter_map(|l| l.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(rows, COLUMNS);
}

#[test]
fn alerts_name_metrics_that_exist() {
    let path = file("../../deploy/prometheus/weir-settle.rules.yml");
    let text = std::fs::read_to_string(path).unwrap();
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let known = |name: &str| FAMILIES.iter().any(|f| f.name == name);
    let mut used = BTreeSet::new();
    for line in text.lines().filter(|l| !l.trim_start().starts_with('#')) {
        for word in line.split(|c| !is_name(c)).filter(|w| w.starts_with("weir_settle_")) {
            assert!(known(word), "{word} in `{line}`");
            used.insert(word.to_owned());
        }
    }
    let count = |what: &str| text.matches(what).count();
    assert_eq!(count("- alert: "), count("summary: "));
    assert_eq!(count("- alert: "), count("expr: "));
    // What the operator is promised an alarm for.
    for name in [
        "exposure_units",
        "unclaimed_units",
        "oldest_voucher_age_seconds",
        "chain_lag_blocks",
        "wallet_low",
        "wallet_days_left",
        "lane_voucher_age_seconds",
        "rpc_up",
        "rpc_disagreement",
        "vouchers_refused_total",
        "journal_failing",
        "withdrawal_seconds_left",
    ] {
        assert!(used.contains(&format!("weir_settle_{name}")), "no alert on {name}");
    }
}

/// Every family is on the page, with its kind; figures of the chain and of the wallet are right.
#[tokio::test(flavor = "multi_thread")]
async fn figures_and_words_follow_the_money() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let contracts = anvil.deploy().await;
    let terms = anvil.open(&contracts, 1, 1_000_000).await;
    let channel = terms.id(&contracts.domain);
    let config = anvil.config(&contracts, &terms, "");
    let running = start(&anvil, &config, FileStorage::open(&config.journal).unwrap()).await;
    let relay = use_and_pay(&config, 1, channel, 1500).await;
    eventually("it has looked", LONG, async || {
        running.sidecar.driver.view().wallet_days_left.map(drop)
    })
    .await;
    // What the page is made of follows an ack by up to a publication; asked for, it is now.
    running.sidecar.clerk.view().await.unwrap();
    let text = render(&running.sidecar);
    for family in FAMILIES {
        assert!(text.contains(&format!("# TYPE {} {}\n", family.name, family.kind)), "{family:?}");
    }
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        assert!(FAMILIES.iter().any(|f| f.name == name), "{line}");
    }
    let lane = format!("{{channel=\"{channel}\",lane=\"0\"}}");
    for line in [
        "weir_settle_unclaimed_units 1500".into(),
        "weir_settle_wallet_low 0".into(),
        "weir_settle_chain_lag_blocks 0".into(),
        format!("weir_settle_lane_voucher_age_seconds{lane} 0"),
        format!("weir_settle_rpc_up{{endpoint=\"0\",rpc=\"{}\"}} 1", anvil.url()),
    ] {
        assert!(text.contains(&line), "no `{line}` in\n{text}");
    }
    let settings = anvil.path("settle.toml");
    let status = || {
        // Only the sockets matter to `status`.
        let text = crate::common::config_text(
            contracts.domain,
            &terms,
            &format!("[files]\ncontrol = \"{}\"", config.control.display()),
            &anvil.url(),
        );
        std::fs::write(&settings, text).unwrap();
        command(&["status", "-c", settings.to_str().unwrap()])
    };
    let well = status();
    assert!(well.status.success() && out(&well).contains("all is well"), "{}", out(&well));

    // The gas money is gone: figure, words and exit status say so.
    let wallet = anvil.exit_wallet().address().to_string();
    anvil.call("anvil_setBalance", json!([wallet, "0x0"])).await;
    eventually("the wallet is low", LONG, async || {
        running.sidecar.driver.view().wallet_low.then_some(())
    })
    .await;
    let text = render(&running.sidecar);
    for line in [
        "weir_settle_wallet_low 1",
        "weir_settle_wallet_days_left 0",
        "weir_settle_troubles{trouble=\"wallet\"} 1",
    ] {
        assert!(text.contains(line), "no `{line}`");
    }
    let low = status();
    assert_eq!(low.status.code(), Some(1));
    assert!(out(&low).contains("WRONG     the gas wallet"), "{}", out(&low));
    drop(relay);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_every_unit() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let contracts = anvil.deploy().await;
    let terms = anvil.open(&contracts, 1, 1_000_000).await;
    let channel = terms.id(&contracts.domain);
    let config = anvil.config(&contracts, &terms, "");
    let running = start(&anvil, &config, FileStorage::open(&config.journal).unwrap()).await;
    drop(use_and_pay(&config, 1, channel, 1500).await);
    let report = settle_now(&running).await;
    assert_eq!(report.problems, Vec::<String>::new());

    // Beside the running sidecar.
    let storage = ReadOnly::open(&config.journal).unwrap();
    let (mut csv, mut json) = (Vec::new(), Vec::new());
    export::csv(&storage, &mut csv).unwrap();
    export::json(&storage, &mut json).unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&json).unwrap();
    let of = |kind: &str| rows.iter().filter(|r| r["kind"] == kind).cloned().collect::<Vec<_>>();
    let (vouchers, claims, settlements) = (of("voucher"), of("claim"), of("settlement"));
    assert_eq!((vouchers.len(), claims.len(), settlements.len()), (1, 1, 1));
    assert_eq!(vouchers[0]["amount"], "1500");
    assert_eq!((&claims[0]["outcome"], &claims[0]["paid"]), (&json!("paid"), &json!("1500")));
    assert_eq!(claims[0]["tx"], report.transactions[0].tx);
    assert_eq!(settlements[0]["paid"], "1500");
    assert_eq!(settlements[0]["receiver"], terms.receiver.to_string());
    assert_eq!(of("anchor")[0]["amount"], "1500");
    let wei = |row: &Value| row["gas_wei"].as_str().unwrap().parse::<u128>().unwrap();
    assert!(wei(&claims[0]) > 40_000);

    // CSV says the same, cell by cell.
    let csv = String::from_utf8(csv).unwrap();
    let mut lines = csv.split("\r\n");
    assert_eq!(lines.next().unwrap(), COLUMNS.join(","));
    for row in &rows {
        let cells: Vec<&str> = lines.next().unwrap().split(',').collect();
        let expected: Vec<&str> =
            COLUMNS.iter().map(|c| row[*c].as_str().unwrap_or_default()).collect();
        assert_eq!(cells, expected);
    }
    assert_eq!(lines.next(), Some(""));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deploy_says_first_what_it_would_do_and_verifies_by_code() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    drop(anvil.exit_wallet());
    let (url, key) = (anvil.url(), anvil.path("exit.key").display().to_string());
    let nonce = anvil.exit_nonce().await;
    let dry = command(&["deploy", "--rpc", &url, "--key-file", &key, "--dry-run"]);
    assert!(dry.status.success(), "{}", String::from_utf8_lossy(&dry.stderr));
    assert_eq!(anvil.exit_nonce().await, nonce, "nothing was sent");

    let made = command(&["deploy", "--rpc", &url, "--key-file", &key, "--json"]);
    let made: Value = serde_json::from_str(&out(&made)).unwrap();
    assert_eq!(made["chain_id"], CHAIN_ID);
    let names = [("escrow", "ExitEscrow"), ("anchor", "UsageAnchor"), ("bond", "OperatorBond")];
    for (name, contract) in names {
        let at = made[name]["address"].as_str().unwrap();
        assert!(out(&dry).contains(&format!("would deploy {contract} at {at}")), "{}", out(&dry));
        let found = command(&["deploy", "--rpc", &url, "--verify", at]);
        assert!(found.status.success());
        let hash = Contract::ALL.iter().find(|c| c.name() == contract).unwrap().code_hash();
        assert_eq!(out(&found), format!("{at} code {hash} {contract}\n"));
    }
    // One byte of the code is another.
    let at = made["escrow"]["address"].as_str().unwrap();
    let code = anvil.call("eth_getCode", json!([at, "latest"])).await;
    let changed = format!("{}00", code.as_str().unwrap());
    anvil.call("anvil_setCode", json!([at, changed])).await;
    let empty = "0x0000000000000000000000000000000000000123";
    let found = command(&["deploy", "--rpc", &url, "--verify", at, empty]);
    assert_eq!(found.status.code(), Some(1));
    assert_eq!(out(&found).matches("UNKNOWN").count(), 2, "{}", out(&found));
}

/// The configuration as a file, for commands.
fn written(anvil: &Anvil, contracts: &Contracts, terms: &ChannelTerms) -> String {
    let text = crate::common::config_text(
        contracts.domain,
        terms,
        &format!(
            "[chain]\nrpc = \"{}\"\nchain_id = {CHAIN_ID}\nescrow = \"{}\"\nanchor = \"{}\"\n\
             key = \"{}\"\npoll_ms = 20\nconfirmations = 0\n[files]\njournal = \"{}\"\n\
             socket = \"{}\"\ncontrol = \"{}\"",
            anvil.url(),
            contracts.domain.escrow,
            contracts.anchor,
            anvil.path("exit.key").display(),
            anvil.path("journal").display(),
            anvil.path("settle.sock").display(),
            anvil.path("control.sock").display(),
        ),
        "",
    );
    let path = anvil.path("settle.toml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_would_be_sent_and_sends_nothing() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let contracts = anvil.deploy().await;
    let terms = anvil.open(&contracts, 1, 1_000_000).await;
    let channel = terms.id(&contracts.domain);
    let config = anvil.config(&contracts, &terms, "");
    let running = start(&anvil, &config, FileStorage::open(&config.journal).unwrap()).await;
    drop(use_and_pay(&config, 1, channel, 1500).await);
    let file = written(&anvil, &contracts, &terms);
    let (nonce, journal) = (anvil.exit_nonce().await, std::fs::read(&config.journal).unwrap());

    // 1500 units are below the threshold, and no period is over.
    let run = command(&["run", "--dry-run", "-c", &file]);
    assert!(out(&run).contains("would send nothing now"), "{}", out(&run));
    let all = command(&["withdraw", "--dry-run", "--json", "-c", &file]);
    let all: Value = serde_json::from_str(&out(&all)).unwrap();
    let kinds: Vec<&Value> = all["sends"].as_array().unwrap().iter().map(|s| &s["kind"]).collect();
    assert_eq!(kinds, ["claim", "anchor"]);
    let claim = &all["sends"][0];
    assert!(claim["what"].as_str().unwrap().contains("lane 0 up to 1500 units"), "{claim}");
    let (gas, cost) = (claim["gas"].as_u64().unwrap(), claim["cost_wei"].as_str().unwrap());
    assert!((40_000..200_000).contains(&gas) && cost.parse::<u128>().unwrap() > 0, "{claim}");
    assert_eq!(anvil.exit_nonce().await, nonce);
    assert_eq!(std::fs::read(&config.journal).unwrap(), journal, "the journal is untouched");

    // And then for real: the sidecar sends, and the payout address has it.
    let real = command(&["withdraw", "-c", &file]);
    assert!(out(&real).contains("settled 1500 units"), "{}", out(&real));
    assert_eq!(anvil.balance(contracts.token, terms.receiver).await, 1500);
    let online = command(&["check", "--online", &file]);
    assert!(online.status.success(), "{}", out(&online));
    assert!(out(&online).contains("the gas wallet is fine"), "{}", out(&online));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payer_leaves_with_the_rest_after_the_delay() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let contracts = anvil.deploy().await;
    let terms = anvil.open(&contracts, 1, 1000).await;
    let channel = terms.id(&contracts.domain).to_string();
    let escrow = contracts.domain.escrow.to_string();
    let withdraw = |key: &str, more: &[&str]| {
        let (url, key) = (anvil.url(), anvil.path(key).display().to_string());
        let mut arguments = vec!["withdraw", "--channel", &channel, "--escrow", &escrow];
        arguments.extend(["--rpc", &url, "--key-file", &key]);
        arguments.extend(more);
        command(&arguments)
    };
    drop(anvil.exit_wallet());
    let foreign = withdraw("exit.key", &[]);
    assert_eq!(foreign.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&foreign.stderr).contains("its payer is"));

    let dry = withdraw("payer.key", &["--dry-run"]);
    assert!(out(&dry).contains("would send initiateWithdraw for 1000 units"), "{}", out(&dry));
    assert!(out(&withdraw("payer.key", &[])).starts_with("initiated in 0x"));
    let early = out(&withdraw("payer.key", &[]));
    assert!(early.contains("s are left"), "{early}");
    let before = anvil.balance(contracts.token, terms.payer).await;
    anvil.call("evm_increaseTime", json!([3601])).await;
    anvil.call("evm_mine", json!([])).await;
    let done = out(&withdraw("payer.key", &[]));
    assert!(done.starts_with("1000 units withdrawn in 0x"), "{done}");
    assert_eq!(anvil.balance(contracts.token, terms.payer).await, before + 1000);
    assert!(out(&withdraw("payer.key", &[])).contains("nothing in the channel"));
}

/// A journal of another exit, and one whose tail was damaged, stop `check` with their reason.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_or_damaged_journal_is_named_by_check() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let contracts = anvil.deploy().await;
    let terms = anvil.open(&contracts, 1, 1_000_000).await;
    let channel = terms.id(&contracts.domain);
    let config = anvil.config(&contracts, &terms, "");
    let running = start(&anvil, &config, FileStorage::open(&config.journal).unwrap()).await;
    drop(use_and_pay(&config, 1, channel, 1500).await);
    running.stop().await.unwrap();
    let file = written(&anvil, &contracts, &terms);
    assert!(command(&["check", &file]).status.success());

    let text = std::fs::read_to_string(&file).unwrap();
    let other = anvil.path("other.toml").display().to_string();
    let exit = format!("exit_id = \"0x{}\"", "77".repeat(32));
    std::fs::write(
        &other,
        text.lines()
            .map(|l| {
                let line = if l.starts_with("exit_id") { exit.as_str() } else { l };
                format!("{line}\n")
            })
            .collect::<String>(),
    )
    .unwrap();
    let output = command(&["check", &other]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78));
    assert!(error.contains("the journal is of exit 0xe1e1"), "{error}");

    let mut bytes = std::fs::read(&config.journal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&config.journal, bytes).unwrap();
    let output = command(&["check", &file]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(error.contains("offset"), "{error}");
}
