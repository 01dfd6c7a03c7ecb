//! Several endpoints, of which one hangs, lags or lies: nothing is done on its word.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use alloy::primitives::Bytes;
use serde_json::{Value, json};
use weir_settle::chain::once;
use weir_settle::chain::quorum::EndpointView;
use weir_settle::chain::rpc::Rpc;
use weir_settle::config::Config;
use weir_settle::sidecar::Running;
use weir_settle::storage::FileStorage;
use weir_usage::ChannelTerms;

use crate::chain::{LONG, settle_now, start, use_and_pay};
use crate::common::anvil::{Anvil, Contracts};
use crate::common::eventually;
use crate::common::proxy::{Proxy, Reply};

struct Scene {
    anvil: Anvil,
    contracts: Contracts,
    terms: ChannelTerms,
    proxy: Proxy,
    config: Config,
    running: Running,
}

/// A node, a proxy to it, and a sidecar that asks the node `direct` times and the proxy once.
async fn scene(direct: usize, extra: &str) -> Option<Scene> {
    let anvil = Anvil::start(&[]).await?;
    let contracts = anvil.deploy().await;
    let terms = anvil.open(&contracts, 1, 1_000_000).await;
    let proxy = Proxy::to(anvil.port()).await;
    let mut config = anvil.config(&contracts, &terms, extra);
    config.chain.rpc = (0..direct)
        .map(|n| format!("{}/?n={n}", anvil.url()))
        .chain([proxy.url()])
        .map(|url| url.parse().unwrap())
        .collect();
    config.chain.quorum = config.chain.rpc.len().div_ceil(2);
    let storage = FileStorage::open(&config.journal).unwrap();
    let running = start(&anvil, &config, storage).await;
    // One that lies before it was ever believed takes no part, so nobody would vote against it.
    eventually("all take part", LONG, async || {
        running.sidecar.driver.view().endpoints.iter().all(|e| e.up).then_some(())
    })
    .await;
    Some(Scene { anvil, contracts, terms, proxy, config, running })
}

impl Scene {
    async fn use_and_pay(&self, bytes: u64) {
        let channel = self.terms.id(&self.contracts.domain);
        drop(use_and_pay(&self.config, 1, channel, bytes).await);
    }

    fn endpoint(&self, index: usize) -> EndpointView {
        self.running.sidecar.driver.view().endpoints[index].clone()
    }

    async fn paid(&self) -> u128 {
        self.anvil.balance(self.contracts.token, self.terms.receiver).await
    }
}

/// State, blocks and the index of transactions are three things to a node: it may count a
/// transaction before it finds its receipt. Nobody took its nonce.
#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_comes_after_the_count_is_waited_for() {
    let Some(scene) = scene(0, "").await else { return };
    let left = AtomicUsize::new(6);
    scene.proxy.behave(move |method, _, mut answer| {
        let less = |n: usize| n.checked_sub(1);
        if method == "eth_getTransactionReceipt"
            && !answer["result"].is_null()
            && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
        {
            answer["result"] = Value::Null;
        }
        Reply::Answer(answer)
    });
    scene.use_and_pay(1000).await;
    let report = settle_now(&scene.running).await;
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!((report.claimed, scene.paid().await), (1000, 1000));
    scene.running.stop().await.unwrap();
}

/// The liar says that the claim reverted: believed, it would be claimed again.
fn receipts_that_failed(method: &str, _: &Value, mut answer: Value) -> Reply {
    if method == "eth_getTransactionReceipt" && !answer["result"].is_null() {
        answer["result"]["status"] = json!("0x0");
    }
    Reply::Answer(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_disagree_neither_is_believed() {
    let Some(scene) = scene(1, "").await else { return };
    scene.use_and_pay(1000).await;
    scene.proxy.behave(receipts_that_failed);
    let driver = scene.running.sidecar.driver.clone();
    let settle = tokio::spawn(async move { driver.settle_now().await });
    let view = eventually("the alarm", LONG, async || {
        let view = scene.running.sidecar.driver.view();
        (view.quarrel.is_some() && view.error.is_some()).then_some(view)
    })
    .await;
    assert!(view.quarrel.as_ref().unwrap().contains("eth_getTransactionReceipt"), "{view:?}");
    assert!(view.error.as_ref().unwrap().contains("disagree"), "{view:?}");
    assert!(!settle.is_finished() && view.done.is_empty(), "nothing counts as final");
    assert!(view.endpoints.iter().all(|e| e.up && e.dissents > 0), "{view:?}");

    scene.proxy.be_honest();
    let report = tokio::time::timeout(LONG, settle).await.unwrap().unwrap().unwrap();
    assert_eq!((report.claimed, report.settled, report.problems.len()), (1000, 1000, 0));
    assert_eq!(scene.paid().await, 1000);
    assert!(scene.proxy.asked("eth_sendRawTransaction") >= 3, "each transaction goes to both");
    scene.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_the_one_that_lies_is_outvoted_and_named() {
    let Some(scene) = scene(2, "").await else { return };
    scene.use_and_pay(1000).await;
    // Everything that an eth_call can say is zero now: no channel, nothing claimed, no balance.
    scene.proxy.behave(|method, parameters, answer| {
        if method == "eth_call" {
            let zeros = format!("0x{}", "0".repeat(7 * 64));
            let mut answer = answer;
            answer["result"] = json!(zeros);
            return Reply::Answer(answer);
        }
        receipts_that_failed(method, parameters, answer)
    });
    let report = settle_now(&scene.running).await;
    assert_eq!((report.claimed, report.settled, report.problems.len()), (1000, 1000, 0));
    assert_eq!(scene.paid().await, 1000);
    // The report leaves before the view of the same look is published.
    let view = eventually("the liar is named", LONG, async || {
        let view = scene.running.sidecar.driver.view();
        (view.endpoints[2].dissents > 0).then_some(view)
    })
    .await;
    let dissents: Vec<u64> = view.endpoints.iter().map(|e| e.dissents).collect();
    assert_eq!(dissents[..2], [0, 0], "{view:?}");
    assert!(view.quarrel.is_some());
    scene.running.stop().await.unwrap();
}

/// The head is a number that anybody can make up: one alone can't carry the others there.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_from_the_future_moves_nobody() {
    let Some(scene) = scene(1, "confirmations = 5").await else { return };
    // What the wallet did to set the scene is somebody else's to the sidecar, and has to be final.
    scene.anvil.call("anvil_mine", json!(["0x6"])).await;
    scene.proxy.behave(|method, _, mut answer| {
        if method == "eth_blockNumber" {
            answer["result"] = json!("0xffffff");
        }
        Reply::Answer(answer)
    });
    scene.use_and_pay(1000).await;
    let driver = scene.running.sidecar.driver.clone();
    let settle = tokio::spawn(async move { driver.settle_now().await });
    let mined = |state: &'static str| {
        let driver = scene.running.sidecar.driver.clone();
        eventually("mined", LONG, async move || {
            driver.view().open.iter().any(|i| i.state == state).then_some(())
        })
    };
    mined("mined").await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let view = scene.running.sidecar.driver.view();
    assert!(!settle.is_finished() && view.done.is_empty(), "five blocks are not there yet");
    assert!(view.block < 100 && scene.endpoint(0).behind > 1_000_000, "{view:?}");
    settle.abort();
    scene.running.stop().await.unwrap();
}

/// What waits for a block must go on: be sent again, and offered for more.
#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_from_the_future_holds_nobody_up() {
    let Some(scene) = scene(2, "stuck_after_s = 1").await else { return };
    let block = scene.anvil.call("eth_getBlockByNumber", json!(["0x1", false])).await;
    let hash = block["transactions"][0].clone();
    let mut forged = scene.anvil.call("eth_getTransactionReceipt", json!([hash])).await;
    forged["blockNumber"] = json!("0xffffff");
    scene.proxy.behave(move |method, _, mut answer| {
        if method == "eth_getTransactionReceipt" {
            answer["result"] = forged.clone();
        }
        Reply::Answer(answer)
    });
    scene.anvil.call("evm_setAutomine", json!([false])).await;
    scene.use_and_pay(1000).await;
    let driver = scene.running.sidecar.driver.clone();
    let settle = tokio::spawn(async move { driver.settle_now().await });
    eventually("it pays more", LONG, async || {
        let view = scene.running.sidecar.driver.view();
        view.open.iter().any(|i| i.transactions.len() > 1).then_some(())
    })
    .await;
    scene.anvil.call("evm_setAutomine", json!([true])).await;
    scene.anvil.call("evm_mine", json!([])).await;
    let report = tokio::time::timeout(LONG, settle).await.unwrap().unwrap().unwrap();
    assert_eq!((report.claimed, report.settled, report.problems.len()), (1000, 1000, 0));
    scene.running.stop().await.unwrap();
}

/// Nothing but the endpoint says what a command should offer: a tip can give the wallet away.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_does_not_offer_what_no_chain_asks_for() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let proxy = Proxy::to(anvil.port()).await;
    let rpc = Rpc::new(&proxy.url(), LONG, LONG).unwrap();
    let wallet = anvil.exit_wallet();
    let send = async || {
        let to = Some(wallet.address());
        once::send(&rpc, &wallet, "sending", to, Bytes::new(), LONG).await
    };
    proxy.behave(|method, _, mut answer| {
        if method == "eth_maxPriorityFeePerGas" {
            answer["result"] = json!("0xde0b6b3a7640000");
        }
        Reply::Answer(answer)
    });
    let error = send().await.unwrap_err().to_string();
    assert!(error.contains("nothing was sent") && error.contains("127.0.0.1"), "{error}");
    assert_eq!(proxy.asked("eth_sendRawTransaction"), 0);

    // What was sent is waited for, although the endpoint fails; and named, if its answer is lost.
    let failures = AtomicU64::new(0);
    proxy.behave(move |method, _, answer| {
        let is_first = || failures.fetch_add(1, Ordering::Relaxed) == 0;
        if method == "eth_getTransactionReceipt" && is_first() {
            let error = json!({ "code": -32000, "message": "busy" });
            return Reply::Answer(json!({ "jsonrpc": "2.0", "id": answer["id"], "error": error }));
        }
        Reply::Answer(answer)
    });
    assert!(send().await.unwrap().status());
    proxy.behave(|method, _, answer| match method {
        "eth_sendRawTransaction" => Reply::Answer(json!("lost")),
        _ => Reply::Answer(answer),
    });
    let error = send().await.unwrap_err().to_string();
    assert!(error.contains("look for it before trying again"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs_falls_out_and_comes_back() {
    let Some(scene) = scene(1, "request_timeout_s = 1").await else { return };
    scene.proxy.behave(|_, _, _| Reply::Hang);
    scene.use_and_pay(1000).await;
    let report = settle_now(&scene.running).await;
    assert_eq!((report.claimed, report.settled, report.problems.len()), (1000, 1000, 0));
    let out = eventually("it fell out", LONG, async || {
        let endpoint = scene.endpoint(1);
        (!endpoint.up && endpoint.failures > 0).then_some(endpoint)
    })
    .await;
    let error = out.error.as_deref().unwrap();
    assert!(error.contains("timed out") || error.contains("no answer within 1 s"), "{out:?}");
    assert!(scene.endpoint(0).up && scene.endpoint(0).failures == 0);

    scene.proxy.be_honest();
    eventually("it takes part again", LONG, async || scene.endpoint(1).up.then_some(())).await;
    assert_eq!(scene.running.sidecar.driver.view().quarrel, None, "silence is no lie");
    scene.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_lags_is_no_liar() {
    let Some(scene) = scene(1, "").await else { return };
    let head = scene.anvil.rpc.block_number().await.unwrap();
    let number = |value: &Value| {
        let text = value.as_str()?.strip_prefix("0x")?;
        u64::from_str_radix(text, 16).ok()
    };
    // It stays at the block of now, and doesn't know what came later.
    scene.proxy.behave(move |method, _, mut answer| {
        if method == "eth_blockNumber" {
            answer["result"] = json!(format!("{head:#x}"));
        }
        let mined = number(&answer["result"]["blockNumber"]);
        if method == "eth_getTransactionReceipt" && mined.is_some_and(|block| block > head) {
            answer["result"] = Value::Null;
        }
        Reply::Answer(answer)
    });
    scene.use_and_pay(1000).await;
    let driver = scene.running.sidecar.driver.clone();
    let settle = tokio::spawn(async move { driver.settle_now().await });
    eventually("the claim is on its way", LONG, async || {
        (scene.endpoint(1).behind >= 1).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let view = scene.running.sidecar.driver.view();
    assert_eq!((view.quarrel.clone(), view.error.clone()), (None, None), "it only waits");
    assert!(!settle.is_finished() && view.block == head);
    scene.proxy.be_honest();
    let report = tokio::time::timeout(LONG, settle).await.unwrap().unwrap().unwrap();
    assert_eq!((report.claimed, report.settled, report.problems.len()), (1000, 1000, 0));
    assert!(scene.running.sidecar.driver.view().endpoints.iter().all(|e| e.dissents == 0));
    scene.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_another_chain_takes_no_part() {
    let Some(scene) = scene(1, "").await else { return };
    // After it was checked once it is trusted to stay what it is, until it fails.
    scene.proxy.behave(|_, _, _| Reply::Answer(json!("not JSON-RPC")));
    let out = async |words: &'static str| {
        eventually(words, LONG, async || {
            scene.endpoint(1).error.filter(|e| e.contains(words)).map(drop)
        })
        .await;
    };
    out("eth_").await;
    scene.proxy.behave(|method, _, mut answer| {
        if method == "eth_chainId" {
            answer["result"] = json!("0x1");
        }
        Reply::Answer(answer)
    });
    out("is chain 1, the configuration says 31337").await;
    scene.use_and_pay(1000).await;
    assert_eq!(settle_now(&scene.running).await.claimed, 1000);
    scene.running.stop().await.unwrap();
}
