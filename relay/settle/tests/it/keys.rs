//! Claim key, usage key and payout address are three things; none of them is ever shown, and the
//! one that can be stolen from this host can't move the money elsewhere.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use alloy::primitives::{Address as Chain, B256, Bytes, U256, keccak256};
use weir_settle::chain::contracts::{IExitEscrow, address};
use weir_settle::chain::once;
use weir_settle::config::parse;
use weir_settle::storage::FileStorage;

use crate::chain::{LONG, settle_now, start, use_and_pay};
use crate::common::anvil::Anvil;
use crate::common::{config_text, domain, eventually, terms};

const CLAIM: &str = "4f3edf983ac636a65a842ce7c78d9aa706d3b113bce9c46f30d7d21715b23b1d";
const USAGE: &str = "6cbed15c793ce57650b9877cf6fa156fbef513c4e6134f022a85b1ffdd59b2a1";

fn write(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
}

/// A configuration whose keys are credentials, with `extra` sections.
fn with_credentials(directory: &Path, rpc: &str, extra: &str) -> String {
    let chain = format!(
        "[chain]\nrpc = \"{rpc}\"\nchain_id = 31337\nescrow = \"{}\"\n\
         key = \"credential:claim-key\"\npassword = \"credential:claim-password\"\n\
         [usage]\nkey = \"credential:usage-key\"\npassword = \"credential:usage-password\"\n\
         [files]\njournal = \"{d}/journal\"\nsocket = \"{d}/settle.sock\"\n\
         control = \"{d}/control.sock\"\n{extra}\n",
        domain().escrow,
        d = directory.display()
    );
    config_text(domain(), &terms(), &chain, "")
}

fn check(file: &Path, credentials: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir-settle"));
    command.arg("check").arg(file).env_remove("CREDENTIALS_DIRECTORY");
    if let Some(directory) = credentials {
        command.env("CREDENTIALS_DIRECTORY", directory);
    }
    command.output().unwrap()
}

/// A provider's URL with its API key is read from a file, works, and is shown nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_in_a_file_is_asked_and_never_shown() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let contracts = anvil.deploy().await;
    let terms = anvil.open(&contracts, 1, 1_000_000).await;
    let place = anvil.path("rpc.url");
    let run = |mode: u32, arguments: &[&str]| {
        std::fs::set_permissions(&place, PermissionsExt::from_mode(mode)).unwrap();
        let output =
            Command::new(env!("CARGO_BIN_EXE_weir-settle")).args(arguments).output().unwrap();
        let said = [&output.stdout[..], &output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(!said.contains("SECRET"), "{said}");
        (output.status.code().unwrap(), said)
    };
    std::fs::write(&place, format!("{}/?key=SECRET\n", anvil.url())).unwrap();
    drop(anvil.config(&contracts, &terms, ""));
    let settings = anvil.path("settle.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, text.replace(&anvil.url(), place.to_str().unwrap())).unwrap();
    let check = ["check", "--online", settings.to_str().unwrap()];
    let (code, said) = run(0o600, &check);
    assert!(code == 0 && said.contains(&format!("{} is fine", anvil.url())), "{said}");
    let (code, said) = run(0o644, &check);
    assert!(code == 78 && said.contains("rpc.url") && said.contains("chmod 0600"), "{said}");

    let address = contracts.domain.escrow.to_string();
    let verify = ["deploy", "--rpc", place.to_str().unwrap(), "--verify", &address];
    let (code, said) = run(0o600, &verify);
    assert!(code == 0 && !said.contains("seems to hold"), "{said}");
    let url = format!("{}/?key=SECRET", anvil.url());
    let (code, said) = run(0o600, &["deploy", "--rpc", &url, "--verify", &address]);
    assert!(code == 0 && said.contains("seems to hold an API key"), "{said}");
}

/// The unit's credentials are those that its README configures, and with them `check` is content.
#[test]
fn the_unit_brings_the_credentials_that_its_readme_names() {
    let systemd = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/systemd");
    let unit = std::fs::read_to_string(systemd.join("weir-settle.service")).unwrap();
    let readme = std::fs::read_to_string(systemd.join("README.md")).unwrap();
    let names: Vec<&str> = unit
        .lines()
        .filter_map(|l| l.strip_prefix("LoadCredentialEncrypted=")?.split(':').next())
        .collect();
    assert_eq!(names, ["claim-key", "claim-password", "usage-key", "usage-password"]);
    for name in names {
        assert!(readme.contains(&format!("\"credential:{name}\"")), "{name}");
        assert!(readme.contains(&format!("--name={name} ")), "{name}");
    }
    let run = unit.lines().find_map(|l| l.strip_prefix("ExecStart=")).unwrap();
    assert_eq!(run, "/usr/bin/weir-settle run -c /etc/weir/settle.toml");

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settle.toml");
    std::fs::write(&file, with_credentials(directory.path(), "http://127.0.0.1:9", "")).unwrap();
    let credentials = tempfile::tempdir().unwrap();
    write(credentials.path(), "claim-key", CLAIM);
    write(credentials.path(), "usage-key", USAGE);
    let output = check(&file, Some(credentials.path()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let output = check(&file, None);
    assert_eq!(output.status.code(), Some(78));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("LoadCredentialEncrypted=claim-key"), "{error}");
}

#[test]
fn keys_that_are_not_apart_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settle.toml");
    let credentials = tempfile::tempdir().unwrap();
    write(credentials.path(), "claim-key", CLAIM);
    write(credentials.path(), "usage-key", CLAIM);
    std::fs::write(&file, with_credentials(directory.path(), "http://127.0.0.1:9", "")).unwrap();
    let output = check(&file, Some(credentials.path()));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78));
    assert!(error.contains("the usage key and the claim key are one"), "{error}");
    assert!(!error.contains(&CLAIM[..12]));

    // A channel that pays somebody else than [payout] says is named with its line.
    let payout = "[payout]\naddress = \"0x0909090909090909090909090909090909090909\"\n";
    let text = with_credentials(directory.path(), "http://127.0.0.1:9", payout);
    let problems = parse(&text).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(text.lines().nth(problems[0].line - 1).unwrap().starts_with("receiver = "));
    assert!(problems[0].message.contains("[payout] says 0x0909"), "{}", problems[0]);

    for (name, words) in [("../etc/passwd", "is no name of a credential"), ("", "no name")] {
        let text = text.replace("credential:usage-key", &format!("credential:{name}"));
        let problems = parse(&text).unwrap_err();
        assert!(problems.iter().any(|p| p.message.contains(words)), "{problems:?}");
    }
}

/// Neither arguments nor environment nor the most talkative log hold any of the keys, nor what is
/// secret in an endpoint's URL.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_in_no_argument_and_no_log() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settle.toml");
    let rpc = "http://127.0.0.1:9/v3/APIKEY0123456789";
    std::fs::write(&file, with_credentials(directory.path(), rpc, "")).unwrap();
    let credentials = tempfile::tempdir().unwrap();
    write(credentials.path(), "claim-key", CLAIM);
    write(credentials.path(), "usage-key", USAGE);
    let log = std::fs::File::create(directory.path().join("log")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir-settle"))
        .args(["run", "-c"])
        .arg(&file)
        .env("CREDENTIALS_DIRECTORY", credentials.path())
        .env("WEIR_LOG", "debug,weir_settle=trace")
        .stderr(Stdio::from(log))
        .spawn()
        .unwrap();
    let read = || std::fs::read_to_string(directory.path().join("log")).unwrap();
    eventually("it says that the chain is away", Duration::from_secs(20), async || {
        read().contains("records and vouchers are kept").then_some(())
    })
    .await;
    let process = Path::new("/proc").join(child.id().to_string());
    let mut said = read();
    for file in ["cmdline", "environ"] {
        said += &String::from_utf8_lossy(&std::fs::read(process.join(file)).unwrap());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for secret in [&CLAIM[..16], &USAGE[..16], "APIKEY"] {
        assert!(!said.contains(secret), "{secret} in {said}");
    }
}

/// Somebody has the claim key, and tries every function of the escrow that moves money.
#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_claim_key_cannot_redirect_money() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let contracts = anvil.deploy().await;
    let terms = anvil.open(&contracts, 1, 1_000_000).await;
    let channel = terms.id(&contracts.domain);
    let config = anvil.config(&contracts, &terms, "");
    let running = start(&anvil, &config, FileStorage::open(&config.journal).unwrap()).await;
    drop(use_and_pay(&config, 1, channel, 1000).await);

    let thief = anvil.exit_wallet();
    let me = thief.address();
    let escrow = address(contracts.domain.escrow);
    let id = B256::from(channel.0);
    let call = |signature: &str, words: &[[u8; 32]]| {
        let mut input = keccak256(signature)[..4].to_vec();
        input.extend(words.concat());
        Bytes::from(input)
    };
    let word = |address: Chain| address.into_word().0;
    let token = address(contracts.token);
    let amount = U256::from(1000).to_be_bytes();
    let stolen = |input: Bytes| {
        let (rpc, thief) = (&anvil.rpc, &thief);
        async move { once::send(rpc, thief, "stealing", Some(escrow), input, LONG).await }
    };
    for input in [
        call("initiateWithdraw(bytes32)", &[id.0]),
        call("finalizeWithdraw(bytes32)", &[id.0]),
        call("cancelWithdraw(bytes32)", &[id.0]),
        call("refund(bytes32,uint128)", &[id.0, amount]),
    ] {
        stolen(input).await.expect_err("only the payer, or only the receiver");
    }
    // A voucher of its own making is skipped; nothing is earned by the thief.
    let mut forged = thief.clone().sign(Default::default()).unwrap().raw;
    forged.resize(65, 27);
    let row = IExitEscrow::SignedVoucher {
        voucher: IExitEscrow::Voucher {
            channelId: id,
            lane: 0,
            cumulativeAmount: 1_000_000,
            seq: 9,
            usageHead: B256::ZERO,
        },
        signature: forged.into(),
    };
    let claim = IExitEscrow::claimCall { rows: vec![row] };
    drop(stolen(alloy::sol_types::SolCall::abi_encode(&claim).into()).await);
    let settle = call("settle(address,address)", &[word(me), word(token)]);
    drop(stolen(settle).await);
    assert_eq!(anvil.balance(contracts.token, weir_usage::Address(me.into_array())).await, 0);

    // What the key is for still works, and pays the receiver.
    let report = settle_now(&running).await;
    assert_eq!((report.claimed, report.settled, report.problems.len()), (1000, 1000, 0));
    assert_eq!(anvil.balance(contracts.token, terms.receiver).await, 1000);
    // Also if the thief is the one who asks for it.
    drop(
        stolen(call("settle(address,address)", &[word(address(terms.receiver)), word(token)]))
            .await,
    );
    assert_eq!(anvil.balance(contracts.token, weir_usage::Address(me.into_array())).await, 0);
    running.stop().await.unwrap();
}
