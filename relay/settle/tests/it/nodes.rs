//! Commands with several endpoints: what one of them says alone is neither believed nor acted on.

use std::time::Duration;

use alloy::primitives::Bytes;
use serde_json::{Value, json};
use weir_settle::chain::nodes::Nodes;
use weir_settle::chain::once;
use weir_usage::{Address, Digest};

use crate::audit::{anchored, leaves};
use crate::bond::{Chain, chain, key, weir_settle};
use crate::chain::LONG;
use crate::common::anvil::{Anvil, PAYER_KEY};
use crate::common::proxy::{Proxy, Reply};

/// Nobody listens there.
const SILENT: &str = "http://127.0.0.1:9";

/// A node, asked directly and by way of a proxy whose URL holds an API key.
struct Scene {
    anvil: Anvil,
    chain: Chain,
    proxy: Proxy,
    direct: String,
    proxied: String,
}

async fn scene() -> Option<Scene> {
    let anvil = Anvil::start(&[]).await?;
    let chain = chain(&anvil).await;
    let proxy = Proxy::to(anvil.port()).await;
    let (direct, proxied) = (anvil.url(), format!("{}/v3/SECRET", proxy.url()));
    Some(Scene { anvil, chain, proxy, direct, proxied })
}

impl Scene {
    fn path(&self, name: &str) -> String {
        self.anvil.path(name).display().to_string()
    }

    fn nodes(&self, urls: &[&str]) -> Nodes {
        let endpoints: Vec<_> = urls.iter().map(|url| url.parse().unwrap()).collect();
        Nodes::of(&endpoints).unwrap()
    }

    /// `stake open` or `unstake unbond` of the same stake, with these endpoints.
    fn stake(&self, command: [&str; 2], rpcs: &[&str], more: &[&str]) -> Result<Value, String> {
        let (bond, key) = (self.chain.bond.domain().bond.to_string(), self.path("operator.key"));
        let mut all = vec![command[0], command[1], "--bond", &bond, "--key-file", &key];
        all.extend(rpcs.iter().flat_map(|rpc| ["--rpc", rpc]));
        all.extend(more);
        weir_settle(&all)
    }

    fn open(&self, rpcs: &[&str], active: &str) -> Result<Value, String> {
        let (token, signer) = (self.chain.token.to_string(), Address([7; 20]).to_string());
        let payout = Address([0x50; 20]).to_string();
        let terms = ["--token", &token, "--signer", &signer, "--payout", &payout];
        let more = ["--committed-kbps", "1000", "--availability-ppm", "999000", "--mint"];
        let all = [&terms[..], &more, &["--active", active]].concat();
        self.stake(["stake", "open"], rpcs, &all)
    }

    async fn sent(&self) -> u64 {
        let latest = alloy::eips::BlockNumberOrTag::Latest;
        self.anvil.rpc.nonce(self.chain.operator.address(), latest).await.unwrap()
    }
}

/// Whatever is read by `eth_call` is nothing: no stake, no balance, nothing anchored.
fn zeros(method: &str, _: &Value, mut answer: Value) -> Reply {
    if method == "eth_call" {
        let digits = answer["result"].as_str().map_or(0, |text| text.len().saturating_sub(2));
        answer["result"] = json!(format!("0x{}", "0".repeat(digits)));
    }
    Reply::Answer(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_disagree_a_command_believes_neither() {
    let Some(scene) = scene().await else { return };
    let both = [scene.direct.as_str(), scene.proxied.as_str()];
    let made = scene.open(&both, "1000").unwrap();
    assert_eq!(made["transactions"].as_array().unwrap().len(), 3, "mint, approve, stake");
    assert_eq!(made["stake"]["active"], "1000");
    assert_eq!(scene.proxy.asked("eth_sendRawTransaction"), 3, "each goes to both");
    let stake = made["stake"]["id"].as_str().unwrap();

    scene.proxy.behave(zeros);
    let sent = scene.sent().await;
    for said in [
        scene.open(&both, "2000").unwrap_err(),
        scene.stake(["unstake", "unbond"], &both, &[stake]).unwrap_err(),
    ] {
        for part in ["disagree", "endpoint 1 (http://", "endpoint 2 (http://", "leave it out"] {
            assert!(said.contains(part), "`{part}` in {said}");
        }
        // The warning names the place, too, and neither shows the key.
        assert!(said.contains("seems to hold an API key") && !said.contains("SECRET"), "{said}");
    }
    assert_eq!(scene.sent().await, sent, "nothing was sent");

    // A third tells which one it is; alone it is believed, as ever.
    let third = format!("{}/?n=3", scene.direct);
    let three = [scene.proxied.as_str(), &scene.direct, &third];
    assert_eq!(scene.open(&three, "1500").unwrap()["stake"]["active"], "1500");
    let alone = scene.stake(["unstake", "unbond"], &[&scene.proxied], &[stake]).unwrap_err();
    assert!(alone.contains("its EIP-712 domain is another one"), "{alone}");
    scene.proxy.be_honest();
    let left = scene.stake(["unstake", "unbond"], &both, &[stake, "--leave", "1400"]).unwrap();
    assert_eq!(left["stake"]["unbonding"], "100");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_chains_are_not_one() {
    let Some(scene) = scene().await else { return };
    scene.proxy.behave(|method, _, mut answer| {
        if method == "eth_chainId" {
            answer["result"] = json!("0x1");
        }
        Reply::Answer(answer)
    });
    let said = scene.open(&[&scene.direct, &scene.proxied], "1").unwrap_err();
    assert!(said.contains("eth_chainId") && said.contains("says 31337"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_one_alone_is_not_enough_and_of_three_two_are() {
    let Some(scene) = scene().await else { return };
    let said = scene.open(&[&scene.direct, SILENT], "1000").unwrap_err();
    assert!(said.contains("of 2 endpoints 2 must say the same"), "{said}");
    assert!(said.contains(SILENT) && said.contains("Try later"), "{said}");
    assert_eq!(scene.sent().await, 0);
    let made = scene.open(&[SILENT, &scene.direct, &scene.proxied], "1000").unwrap();
    assert_eq!(made["stake"]["active"], "1000");
    let said = scene.open(&[&scene.direct, &scene.direct], "1000").unwrap_err();
    assert!(said.contains("named twice"), "{said}");
}

/// Nonces that were made up would be signed for, and mined some day.
#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_of_one_endpoint_is_not_signed_for() {
    let Some(scene) = scene().await else { return };
    let nodes = scene.nodes(&[&scene.direct, &scene.proxied]);
    let wallet = &scene.chain.operator;
    let send = async || {
        let (to, patience) = (Some(wallet.address()), Duration::from_secs(1));
        let sent = once::send(&nodes, wallet, "sending", to, Bytes::new(), patience).await;
        sent.map(drop).map_err(|e| e.to_string())
    };
    let lie = |about_pending: bool| {
        scene.proxy.behave(move |method, parameters, mut answer| {
            let is_pending = parameters[1] == "pending";
            if method == "eth_getTransactionCount" && is_pending == about_pending {
                answer["result"] = json!("0x63");
            }
            Reply::Answer(answer)
        });
    };
    lie(true);
    let said = send().await.unwrap_err();
    assert!(said.contains("99 aren't mined") && said.contains("says endpoint 2 (http"), "{said}");
    lie(false);
    let said = send().await.unwrap_err();
    assert!(said.contains("eth_getTransactionCount") && said.contains("disagree"), "{said}");
    assert_eq!(scene.proxy.asked("eth_sendRawTransaction"), 0);
    scene.proxy.be_honest();
    send().await.unwrap();
    assert_eq!(scene.sent().await, 1);
}

/// A command that is told of a revert would be given again.
#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_of_one_endpoint_is_not_believed() {
    let Some(scene) = scene().await else { return };
    scene.proxy.behave(|method, _, mut answer| {
        if method == "eth_getTransactionReceipt" && !answer["result"].is_null() {
            answer["result"]["status"] = json!("0x0");
        }
        Reply::Answer(answer)
    });
    let wallet = &scene.chain.operator;
    let send = async |urls: &[&str], patience| {
        let (nodes, to) = (scene.nodes(urls), Some(wallet.address()));
        once::send(nodes, wallet, "sending", to, Bytes::new(), patience).await
    };
    let said = send(&[&scene.direct, &scene.proxied], Duration::from_secs(1)).await;
    let said = said.unwrap_err().to_string();
    assert!(said.contains("disagree") && said.contains("look for it before"), "{said}");
    assert_eq!(scene.sent().await, 1, "it is mined all the same");
    let third = format!("{}/?n=3", scene.direct);
    assert!(send(&[&scene.proxied, &scene.direct, &third], LONG).await.unwrap().status());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_did_is_looked_up_with_all_endpoints() {
    let Some(scene) = scene().await else { return };
    let (anvil, proxy) = (&scene.anvil, &scene.proxy);
    let contracts = anvil.deploy().await;
    let terms = anvil.open(&contracts, 1, 1000).await;
    let epoch = leaves(7, 11);
    drop(anvil.config(&contracts, &terms, ""));
    anchored(anvil, contracts.anchor, &epoch).await;
    let both = ["--rpc", &scene.direct, "--rpc", &scene.proxied];
    let settings = scene.path("settle.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let list = format!("rpc = [\"{}\", \"{}\"]", scene.direct, scene.proxied);
    let text = text.replace(&format!("rpc = \"{}\"", scene.direct), &list);
    std::fs::write(&settings, text).unwrap();

    let channel = terms.id(&contracts.domain).to_string();
    let (escrow, contract) = (contracts.domain.escrow.to_string(), contracts.anchor.to_string());
    let exit = Address(anvil.exit_wallet().address().into_array()).to_string();
    let key_file = anvil.key_file("payer.key", PAYER_KEY).display().to_string();
    let (seed, out) = (Digest([0x5e; 32]).to_string(), scene.path("leaves.json"));
    let (root, total) = (epoch.root.to_string(), epoch.total.to_string());
    let shown = ["audit", "prove", "-c", &settings, "--epoch", "7", "--seed", &seed, "-o", &out];
    weir_settle(&shown).unwrap();
    let audit = ["--anchor", &contract, "--exit", &exit];
    let verify = ["audit", "verify", &out, "--seed", &seed, "--root", &root, "--total", &total];
    let verify = || weir_settle(&[&verify[..], &audit, &both].concat());
    let challenge = ["audit", "challenge", "--epoch", "7", "--key-file", &key_file];
    let challenge = || weir_settle(&[&challenge[..], &audit, &both].concat());
    // The configuration's list.
    let prove = ["audit", "prove", "-c", &settings, "--challenge", "1", "--key-file", &key_file];
    let prove = || weir_settle(&prove);
    let leave = ["withdraw", "--json", "--channel", &channel, "--escrow", &escrow];
    let leave = || weir_settle(&[&leave[..], &["--key-file", &key_file], &both].concat());
    let deployed = ["deploy", "--json", "--verify", &escrow];
    let deployed = || weir_settle(&[&deployed[..], &both].concat());

    assert_eq!(verify().unwrap()["anchored"], true);
    assert_eq!(challenge().unwrap()["state"], "open");
    let nonce = anvil.rpc.nonce(payer(), alloy::eips::BlockNumberOrTag::Latest).await.unwrap();
    proxy.behave(|method, parameters, mut answer| {
        if method == "eth_getCode" {
            answer["result"] = json!("0x6000");
        }
        zeros(method, parameters, answer)
    });
    for said in [verify(), challenge(), leave(), deployed()] {
        let said = said.unwrap_err();
        assert!(said.contains("disagree"), "{said}");
    }
    // It was never believed, so it takes no part, and the configuration has the other one decide.
    let said = prove().unwrap();
    assert_eq!(said["challenge"]["state"], "answered", "{said}");
    let strict = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, strict.replace(&list, &format!("{list}\nquorum = 2"))).unwrap();
    let said = prove().unwrap_err();
    assert!(said.contains("of 2 endpoints 2 must say the same"), "{said}");
    let latest = alloy::eips::BlockNumberOrTag::Latest;
    assert_eq!(anvil.rpc.nonce(payer(), latest).await.unwrap(), nonce + 1, "the answer alone");

    proxy.be_honest();
    assert_eq!(prove().unwrap()["transaction"], Value::Null, "once");
    assert_eq!(leave().unwrap()["step"], "initiated");
    assert_eq!(deployed().unwrap()[0]["contract"], "ExitEscrow");
}

fn payer() -> alloy::primitives::Address {
    alloy::primitives::Address::from(key(PAYER_KEY).address().0)
}
