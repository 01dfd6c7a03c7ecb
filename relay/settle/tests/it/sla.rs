//! From samples and statements to a credit on a real chain, by the commands that people use.

use std::time::Duration;

use alloy::primitives::U256;
use serde_json::Value;
use weir_settle::chain::contracts::{IERC20, address};
use weir_settle::chain::deploy::{Contract, deploy};
use weir_settle::config::parse;
use weir_settle::sidecar;
use weir_settle::storage::FileStorage;
use weir_sla::Sealed;
use weir_sla::calendar::{DAY_S, date};
use weir_usage::bond::{Agreement, BondDomain};
use weir_usage::{CoSigned, Frame, Sample, SampleOffer, SignedSample};

use crate::bond::{self, weir_settle};
use crate::common::anvil::{Anvil, PAYER_KEY};
use crate::common::relay::Relay;
use crate::common::service::{self, key, key_file, sample, signed};
use crate::common::{channel, config_text, domain, pay, terms, usage};

/// Period 0 has four intervals of a second and begins in two seconds.
fn agreement(chain: &bond::Chain) -> Agreement {
    let mut agreement = service::agreement(weir_settle::now_ms() / 1000 + 2, 4, 1);
    agreement.domain = BondDomain { ..chain.bond.domain() };
    agreement.terms.payer = bond::key(PAYER_KEY).address();
    agreement.terms.operator = key(2).address();
    agreement.terms.token = chain.token;
    (agreement.payer_signature, agreement.operator_signature) = (None, None);
    agreement.sign(&bond::key(PAYER_KEY)).unwrap();
    agreement.sign(&key(2)).unwrap();
    agreement
}

fn lines(agreement: &Agreement, by: u8, samples: &[Sample]) -> String {
    let line = |sample: &Sample| {
        serde_json::to_string(&sample.sign(&agreement.domain, &key(by))).unwrap() + "\n"
    };
    samples.iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breach_ends_in_a_credit_to_the_unit() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let chain = bond::chain(&anvil).await;
    let path = |name: &str| anvil.path(name).display().to_string();
    let agreement = agreement(&chain);
    chain.bond.open_sla(&chain.operator, &agreement, true).await.unwrap();
    let at = anvil.directory.path();
    service::service(at, &agreement);
    key_file(at, 2);
    let extra = format!(
        "[files]\njournal = \"{}\"\nsocket = \"{}\"\ncontrol = \"{}\"\n\
         [usage]\nkey_file = \"{}\"\n[[service]]\nagreement = \"{}\"\n",
        path("journal"),
        path("relay.sock"),
        path("control.sock"),
        path("key-2"),
        path("agreement.json")
    );
    let text = config_text(domain(), &terms(), &extra, &anvil.url());
    let (config, file) = (parse(&text).unwrap_or_else(|p| panic!("{p:?}")), path("settle.toml"));
    std::fs::write(&file, &text).unwrap();
    let storage = FileStorage::open(&config.journal).unwrap();
    let running = sidecar::start(config.clone(), storage, anvil.exit_wallet()).await.unwrap();

    // Interval 0 is used and signed by both; 1 and 2 were bad, say two of three measurers; of 3
    // nobody knows.
    let mut relay = Relay::connect(&config.socket, 7).await;
    relay.report(usage(channel(), 0, 1, 0, 1_000)).await;
    let ask = relay.ask(channel(), 0, 1_000).await;
    relay.offer(pay(&ask)).await;
    let ends_ms = (agreement.terms.start + 4) * 1000;
    while weir_settle::now_ms() < ends_ms {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let good = sample(&agreement, 0, 0);
    let offer =
        SampleOffer { query: 1, channel: channel(), lane: 0, signed: signed(&agreement, good) };
    relay.send(&Frame::Sample(offer)).await;
    let answer = relay.until(|f| matches!(f, Frame::SampleAck(_) | Frame::SampleRefused(_))).await;
    assert!(matches!(answer, Frame::SampleAck(_)), "{answer:?}");
    let bad = |interval| Sample { n: 0, rtt_p50_us: 0, ..sample(&agreement, interval, 0) };
    for by in [4, 5] {
        let said = lines(&agreement, by, &[bad(1), bad(2)]);
        std::fs::write(anvil.path(&format!("said-{by}")), said).unwrap();
    }
    std::fs::write(anvil.path("said-9"), lines(&agreement, 9, &[bad(3)])).unwrap();
    let import = |files: &[&str]| {
        let files: Vec<String> = files.iter().map(|name| path(name)).collect();
        let mut arguments = vec!["sla", "import", "-c", &file];
        arguments.extend(files.iter().map(String::as_str));
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_weir-settle"));
        let output = command.args(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (done, said) = import(&["said-4", "said-5"]);
    assert!(done && said.contains("4 imported, 0 known already, 0 refused"), "{said}");
    let (done, said) = import(&["said-4", "said-9"]);
    assert!(!done && said.contains("0 imported, 2 known already, 1 refused"), "{said}");
    assert!(said.contains("said-9:1") && said.contains("is not a measurer"), "{said}");
    running.stop().await.unwrap();

    // Half of four intervals were not bad: below 95 %, a quarter of the fee.
    let (period, html) = (["--period", "0"], path("report.html"));
    let report = |more: &[&str]| {
        weir_settle(&[&["sla", "report", "-c", &file, "--json"][..], &period, more].concat())
    };
    let json = report(&["--html", &html]).unwrap().to_string();
    let sealed = Sealed::read(&json).unwrap();
    let figures = &sealed.report.figures;
    assert_eq!((figures.good, figures.bad, figures.unknown), (1, 2, 1));
    assert_eq!(sealed.report.credit, 250_000);
    assert_eq!(sealed.report.reputation.inputs[0].paid, 1_000);
    assert_eq!(
        Sealed::read(&std::fs::read_to_string(&html).unwrap()).unwrap().report.sla,
        sealed.report.sla
    );
    let forged = std::fs::read_to_string(&html).unwrap().replace("50.0000 %", "99.9999 %");
    std::fs::write(&html, forged).unwrap();
    assert!(weir_settle(&["sla", "verify", &html]).unwrap_err().contains("can't be trusted"));

    // The operator's word alone moves nothing; with the payer's it pays the credit, once.
    let (out, payer) = (path("verdict.json"), path("payer.key"));
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_weir-settle"))
        .args(["sla", "verdict", "-c", &file, "-o", &out, "--period", "0"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&made.stdout).contains("a credit of 250000"), "{made:?}");
    // The payer computes the same from the files that it has, and no more than they prove.
    let both = match answer {
        Frame::SampleAck(ack) => {
            let signed = signed(&agreement, good);
            let (signature, exit_signature) = (signed.signature, ack.exit_signature);
            CoSigned { sample: good, signature, exit_signature }
        }
        other => panic!("{other:?}"),
    };
    let line = serde_json::to_string(&both).unwrap() + "\n";
    std::fs::write(anvil.path("samples"), line).unwrap();
    anvil.key_file("payer.key", PAYER_KEY);
    let judged = |name: &str, statements: &[&str]| {
        let (file, out) = (path("agreement.json"), path(name));
        let (samples, client) = (path("samples"), terms().signer.to_string());
        let statements: Vec<String> = statements.iter().map(|name| path(name)).collect();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_weir-settle"));
        command.args(["sla", "judge", &file, "--period", "0", "--client", &client, "-o", &out]);
        command.args(["--samples", &samples, "--key-file", &payer]);
        command.args(statements.iter().flat_map(|file| ["--statements", file]));
        let output = command.output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{said}");
        said
    };
    let said = judged("judged.json", &["said-4", "said-5", "said-9"]);
    assert!(said.contains("good 1, bad 2: a credit of 250000"), "{said}");
    assert!(said.contains("said-9:1: left out"), "{said}");
    let read = |name| -> Value {
        serde_json::from_str(&std::fs::read_to_string(anvil.path(name)).unwrap()).unwrap()
    };
    assert_eq!(read("judged.json")["verdict"], read("verdict.json")["verdict"]);
    let said = judged("half.json", &["said-4"]);
    assert!(said.contains("good 1, bad 0: a credit of 0"), "{said}");

    let url = anvil.url();
    let submit = || weir_settle(&["sla", "submit", &out, "--rpc", &url, "--key-file", &payer]);
    assert!(submit().unwrap_err().contains("signed by 1 of payer"));
    assert_eq!(weir_settle(&["sla", "sign", &out, "--key-file", &payer]), Ok(Value::Null));
    let held = async || {
        let owner = address(agreement.terms.payer);
        let token = address(chain.token);
        anvil.rpc.view(token, IERC20::balanceOfCall { owner }).await.unwrap()
    };
    // Transactions are tried on the newest block first, whose time is that of the last one here.
    anvil.call("evm_mine", serde_json::json!([])).await;
    let before = held().await;
    let credited = submit().unwrap();
    assert_eq!((&credited["credit"], &credited["paid"]), (&"250000".into(), &"250000".into()));
    assert_eq!(held().await - before, U256::from(250_000));
    assert_eq!(submit().unwrap()["done"]["transactions"], serde_json::json!([]));
    assert_eq!(held().await - before, U256::from(250_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_both_signed_on_a_day_is_anchored_once_and_found_by_the_payer() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let deployer = anvil.exit_wallet();
    let contract = deploy(&anvil.rpc, &deployer, Contract::UsageAnchor).await.unwrap().address;
    anvil.key_file("payer.key", PAYER_KEY);
    let path = |name: &str| anvil.path(name).display().to_string();
    let today = weir_settle::now_ms() / 1000 / DAY_S;
    // Two hours of minutes, the day before yesterday.
    let agreement = service::agreement((today - 2) * DAY_S, 3_600, 60);
    service::service(anvil.directory.path(), &agreement);
    let both: Vec<String> = [0, 59, 60]
        .map(|interval| {
            let signed = signed(&agreement, sample(&agreement, interval, 1_000));
            let exit_signature = signed.sample.sign(&agreement.domain, &key(2)).signature;
            let SignedSample { sample, signature } = signed;
            serde_json::to_string(&CoSigned { sample, signature, exit_signature }).unwrap() + "\n"
        })
        .into();
    std::fs::write(anvil.path("all"), both.concat()).unwrap();
    std::fs::write(anvil.path("some"), both[..2].concat()).unwrap();

    let (url, file, client) = (anvil.url(), path("agreement.json"), terms().signer.to_string());
    let (key_file, exit) = (path("payer.key"), bond::key(PAYER_KEY).address().to_string());
    let run = |day: u64, samples: &str, more: [&str; 2]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_weir-settle"));
        command.args(["sla", "day", &date(day * DAY_S), "--agreement", &file, "--client", &client]);
        command.args(["--rpc", &url, "--contract", &contract, "--samples", &path(samples)]);
        let output = command.args(more).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), serde_json::from_str::<Value>(&said).ok(), said)
    };
    let (anchoring, looking) = (["--key-file", &key_file], ["--exit", &exit]);
    assert_eq!(run(today - 2, "all", looking).0, Some(1), "nothing is anchored yet");
    let (code, made, said) = run(today - 2, "all", anchoring);
    let made = made.unwrap_or_else(|| panic!("{said}"));
    assert_eq!((code, &made["total"]), (Some(0), &"3000".into()));
    assert_eq!(made["hours"].as_array().unwrap().len(), 2);
    assert!(made["transaction"].is_string(), "{made}");
    // The payer, with its own file, and one who misses a sample.
    assert_eq!(run(today - 2, "all", looking).0, Some(0));
    assert_eq!(run(today - 2, "some", looking).0, Some(1));
    // Once, and nothing else later.
    assert!(run(today - 2, "all", anchoring).1.unwrap()["transaction"].is_null());
    let (code, _, said) = run(today - 2, "some", anchoring);
    assert!(code != Some(0) && said.contains("has anchored something else"), "{said}");
    let (code, _, said) = run(today, "all", anchoring);
    assert!(code != Some(0) && said.contains("samples of that day are taken until"), "{said}");
}
