//! Audits: what was anchored can be shown, and nothing else passes.

use std::path::Path;
use std::time::Duration;

use alloy::primitives::B256;
use alloy::sol_types::SolCall;
use serde_json::{Value, json};
use weir_settle::audit::{COUNT_MAX, Hidden, Own, Shown, picks};
use weir_settle::chain::challenge::Challenges;
use weir_settle::chain::contracts::{IUsageAnchor, address};
use weir_settle::chain::once;
use weir_settle::journal::entry::{
    Action, AnchorLeaf, AnchorLeaves, Entry, Item, OutboxStep, SampleDay, Step,
};
use weir_settle::journal::{Header, Journal};
use weir_settle::storage::FileStorage;
use weir_usage::merkle::{self, Anchor, Leaf};
use weir_usage::{Address, ChannelId, Digest, Error as Usage, SlaId, keccak256};

use crate::bond::weir_settle;
use crate::common::EXIT;
use crate::common::anvil::{Anvil, PAYER_KEY};

const SEED: Digest = Digest([0x5e; 32]);

fn header() -> Header {
    Header { exit: EXIT.0, secret: [9; 32], created_ms: 1 }
}

pub(crate) fn leaves(epoch: u64, count: u8) -> AnchorLeaves {
    let leaves: Vec<AnchorLeaf> = (0..count)
        .map(|n| AnchorLeaf {
            channel: ChannelId([n; 32]),
            lane: 0,
            hash: keccak256(&[n]),
            sum: u128::from(n) * 1000,
        })
        .collect();
    let tree: Vec<Leaf> = leaves.iter().map(|l| Leaf { hash: l.hash, sum: l.sum }).collect();
    let Anchor { root, total, .. } = merkle::anchor(epoch, &tree).unwrap();
    AnchorLeaves { epoch, root, total, leaves, day: None }
}

fn anchor(of: &AnchorLeaves) -> Anchor {
    Anchor { epoch: of.epoch, root: of.root, total: of.total }
}

#[test]
fn what_a_seed_picks_is_shown_and_nothing_else_passes() {
    let epoch = leaves(4, 13);
    let held = anchor(&epoch);
    let shown = Shown::make(&epoch, SEED, 30).unwrap();
    shown.verify(&held, SEED, 30).unwrap();
    assert_eq!(shown.proofs.iter().map(|p| p.index).collect::<Vec<_>>(), picks(&SEED, 13, 30));
    assert!(picks(&SEED, 13, 200).iter().all(|index| *index < 13));
    let every = (0..13).all(|index| picks(&SEED, 13, 200).contains(&index));
    assert!(every, "no leaf is out of reach");

    let refused = |change: &dyn Fn(&mut Shown)| {
        let mut other = shown.clone();
        change(&mut other);
        other.verify(&held, SEED, 30).unwrap_err().to_string()
    };
    assert!(refused(&|s| s.epoch = 5).contains("another epoch or seed"));
    assert!(refused(&|s| s.seed = Digest([1; 32])).contains("another epoch or seed"));
    assert!(refused(&|s| drop(s.proofs.pop())).contains("29 leaves of 30"));
    assert!(refused(&|s| s.proofs.swap(0, 1)).contains("the seed picks"));
    assert!(refused(&|s| s.proofs[0].sum += 1).contains("doesn't lead to the root"));
    assert!(refused(&|s| s.proofs[0].hash = SEED).contains("doesn't lead to the root"));
    assert!(refused(&|s| s.leaves = 12).contains("leaf"));
    assert!(refused(&|s| (s.leaves, s.proofs) = (0, vec![])).contains("isn't empty"));
    assert!(refused(&|s| s.proofs[0].siblings[0].sum = u128::MAX).contains("128 bits"));
    let less = Anchor { total: held.total - 1, ..held };
    assert!(shown.verify(&less, SEED, 30).is_err());
    for count in [0, COUNT_MAX + 1] {
        assert!(Shown::make(&epoch, SEED, count).is_err());
    }

    let none = leaves(4, 0);
    let shown = Shown::make(&none, SEED, 5).unwrap();
    shown.verify(&anchor(&none), SEED, 5).unwrap();
}

#[test]
fn hidden_amounts_add_up_to_the_total_and_to_nothing_else() {
    let epoch = leaves(4, 5);
    let (list, owns) = Hidden::make(&header(), &epoch).unwrap();
    list.verify(10_000).unwrap();
    assert_eq!(Hidden::make(&header(), &epoch).unwrap(), (list.clone(), owns.clone()));
    for own in &owns {
        list.verify_own(own).unwrap();
    }
    assert!(list.verify(9_999).unwrap_err().to_string().contains("claims 10000 units"));
    let mut lower = list.clone();
    lower.sum.amount = 9_999;
    assert!(matches!(lower.verify(9_999), Err(weir_settle::Error::Usage(Usage::BadOpening))));
    let mut left_out = list.clone();
    left_out.commitments.pop();
    assert!(left_out.verify(10_000).is_err());
    let refused = |change: &dyn Fn(&mut Own)| {
        let mut other = owns[2].clone();
        change(&mut other);
        list.verify_own(&other).unwrap_err().to_string()
    };
    assert!(refused(&|own| own.opening.amount += 1).contains("another amount"));
    assert!(refused(&|own| own.index = 3).contains("another amount"));
    assert!(refused(&|own| own.index = u64::MAX).contains("no commitment"));
    assert!(refused(&|own| own.epoch = 5).contains("another epoch"));
    // Another epoch with the same amounts shows nothing of them.
    let (next, _) = Hidden::make(&header(), &leaves(5, 6)).unwrap();
    assert!(list.commitments.iter().all(|one| !next.commitments.contains(one)));
    assert_ne!(list.statement(&EXIT).content, next.statement(&EXIT).content);
}

fn journal(anvil: &Anvil, items: &[Item]) {
    let storage = FileStorage::open(&anvil.path("journal")).unwrap();
    let mut journal = Journal::open(storage, header(), |_, _, _| Ok(())).unwrap();
    for item in items {
        journal.append(&[Entry::now(item.clone())]).unwrap();
    }
}

/// Journals an epoch and anchors it on chain, as the sidecar does.
pub(crate) async fn anchored(anvil: &Anvil, contract: Address, epoch: &AnchorLeaves) {
    journal(anvil, &[Item::Anchor(epoch.clone())]);
    let (root, total) = (B256::from(epoch.root.0), epoch.total);
    let call = IUsageAnchor::anchorCall { epoch: epoch.epoch, root, total };
    let (to, input) = (Some(address(contract)), call.abi_encode().into());
    let patience = Duration::from_secs(30);
    once::send(&anvil.rpc, &anvil.exit_wallet(), "anchoring", to, input, patience).await.unwrap();
}

/// What the sidecar journals of the anchor's way.
fn journal_final(anvil: &Anvil, of: &AnchorLeaves) {
    let hash = Digest([1; 32]);
    let (epoch, root, total) = (of.epoch, of.root, of.total);
    let (raw, claimed) = ("0x".into(), Vec::new());
    let steps = [
        Step::Planned { action: Action::Anchor { epoch, root, total } },
        Step::Signed { nonce: 0, hash, raw, max_fee_per_gas: 1 },
        Step::Final {
            hash,
            block: 1,
            success: true,
            gas_used: 1,
            gas_price: 1,
            claimed,
            settled: 0,
        },
    ];
    journal(anvil, &steps.map(|step| Item::Outbox(OutboxStep { intent: 1, step })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_on_chain_is_answered_from_the_journal() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let contracts = anvil.deploy().await;
    let terms = anvil.open(&contracts, 1, 1).await;
    anvil.config(&contracts, &terms, "");
    let epoch = leaves(7, 11);
    anchored(&anvil, contracts.anchor, &epoch).await;

    let exit = Address(anvil.exit_wallet().address().into_array()).to_string();
    let (url, contract) = (anvil.url(), contracts.anchor.to_string());
    let path = |name: &str| anvil.path(name).display().to_string();
    let key = anvil.key_file("payer.key", PAYER_KEY).display().to_string();
    let config = path("settle.toml");
    let chain = ["--rpc", &url, "--key-file", &key, "--anchor", &contract];
    let challenge = |epoch: &str| {
        weir_settle(
            &[&["audit", "challenge", "--exit", &exit, "--epoch", epoch], &chain[..]].concat(),
        )
    };
    let said = challenge("8").unwrap_err();
    assert!(said.contains("challenging a leaf failed"), "{said}");
    let prove = |id: &str| {
        weir_settle(&["audit", "prove", "-c", &config, "--challenge", id, "--key-file", &key])
    };
    for id in ["1", "2", "3"] {
        let made = challenge("7").unwrap();
        assert_eq!((&made["state"], &made["id"].to_string()), (&json!("open"), &id.to_string()));
        let answered = prove(id).unwrap();
        assert_eq!(answered["challenge"]["state"], "answered", "{answered}");
        assert_eq!(prove(id).unwrap()["transaction"], Value::Null, "once");
    }
    let said = prove("4").unwrap_err();
    assert!(said.contains("there is no challenge 4"), "{said}");

    // Other leaves than the anchored ones are not sent at all.
    challenge("7").unwrap();
    let challenges = Challenges::at(anvil.rpc.clone(), contracts.anchor);
    let wallet = anvil.payer_wallet();
    let said = challenges.answer(&wallet, 4, &leaves(7, 10)).await.unwrap_err().to_string();
    assert!(said.contains("aren't the leaves"), "{said}");
    let expire = || weir_settle(&[&["audit", "expire", "4"], &chain[..]].concat());
    assert!(expire().unwrap_err().contains("expiring the challenge failed"));
    anvil.call("evm_increaseTime", json!([3 * 86_400 + 60])).await;
    anvil.call("evm_mine", json!([])).await;
    assert_eq!(expire().unwrap()["challenge"]["state"], "unanswered");
    assert_eq!(expire().unwrap()["transaction"], Value::Null, "once");
    assert!(prove("4").unwrap_err().contains("went unanswered"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_leaves_and_sums_go_from_operator_to_verifier() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let contracts = anvil.deploy().await;
    let terms = anvil.open(&contracts, 1, 1).await;
    anvil.config(&contracts, &terms, "");
    let epoch = leaves(7, 11);
    anchored(&anvil, contracts.anchor, &epoch).await;
    let path = |name: &str| anvil.path(name).display().to_string();
    let (config, out, hidden) = (path("settle.toml"), path("leaves.json"), path("hidden"));
    std::fs::create_dir(Path::new(&hidden)).unwrap();

    let asked = weir_settle(&["audit", "challenge", "--epoch", "7"]).unwrap();
    let seed = asked["seed"].as_str().unwrap();
    let prove = ["audit", "prove", "-c", &config, "--epoch", "7", "--seed", seed, "--out", &out];
    weir_settle(&prove).unwrap();
    let said = weir_settle(&prove).unwrap_err();
    assert!(said.contains("can't create"), "{said}");
    let exit = Address(anvil.exit_wallet().address().into_array()).to_string();
    let (url, contract) = (anvil.url(), contracts.anchor.to_string());
    let on_chain = ["--rpc", &url, "--anchor", &contract, "--exit", &exit];
    let (root, total) = (epoch.root.to_string(), epoch.total.to_string());
    let verify = |seed: &str, total: &str| {
        let asked = ["audit", "verify", &out, "--seed", seed, "--root", &root, "--total", total];
        weir_settle(&[&asked[..], &on_chain[..]].concat())
    };
    let held = verify(seed, &total).unwrap();
    assert_eq!((&held["holds"], &held["anchored"]), (&json!(true), &json!(true)));
    assert_eq!(held["checked"], json!({ "leaves": 11, "shown": 20 }));
    assert!(verify(&SEED.to_string(), &total).unwrap_err().contains("another epoch or seed"));
    assert!(verify(seed, "1").unwrap_err().contains("doesn't lead to the root"));

    // A day of samples has a number, leaves and a total as well, of bytes and not of money.
    let sla = SlaId([0xa5; 32]);
    let day = AnchorLeaves { day: Some(SampleDay { sla, day: 20_780 }), ..leaves(8, 3) };
    journal(&anvil, &[Item::Anchor(day)]);
    let commit = ["audit", "commit", "-c", &config, "--epoch", "8", "--out", &hidden];
    let bonded = [&commit[..], &["--bond", &contract]].concat();
    for asked in [&commit[..], &bonded] {
        let said = weir_settle(asked).unwrap_err();
        assert!(said.contains("8 is no accounting period but the samples of 2026-11-23"), "{said}");
        assert!(said.contains(&sla.to_string()), "{said}");
    }
    assert_eq!(std::fs::read_dir(&hidden).unwrap().count(), 0);

    let key = anvil.key_file("usage.key", &"07".repeat(32)).display().to_string();
    let bond = Address([0xb0; 20]).to_string();
    let make = ["audit", "commit", "-c", &config, "--epoch", "7", "--out", &hidden];
    let make = || weir_settle(&[&make[..], &["--usage-key-file", &key, "--bond", &bond]].concat());
    // Planned, and after a lost journal perhaps planned otherwise: not signed, and nothing written.
    assert!(make().unwrap_err().contains("isn't final on chain"));
    assert_eq!(std::fs::read_dir(&hidden).unwrap().count(), 0);
    journal_final(&anvil, &epoch);
    make().unwrap();
    let sum = format!("{hidden}/sum.json");
    let own = format!("{hidden}/own-{}-0.json", epoch.leaves[3].channel);
    let verify = |total: &str, own: &str| {
        let asked = ["audit", "verify", "--sum", &sum, "--own", own, "--total", total];
        weir_settle(&[&asked[..], &on_chain[..]].concat())
    };
    let held = verify(&total, &own).unwrap();
    assert_eq!(held["checked"], json!({ "commitments": 11, "own_amount": "3000" }));
    assert!(verify("1", &own).unwrap_err().contains("claims 55000 units"));
    let text = std::fs::read_to_string(&own).unwrap();
    let forged = path("forged.json");
    std::fs::write(&forged, text.replace("\"3000\"", "\"2999\"")).unwrap();
    assert!(verify(&total, &forged).unwrap_err().contains("another amount"));
    // A list that adds up, of something that was never anchored.
    let (other, _) = Hidden::make(&header(), &leaves(7, 10)).unwrap();
    std::fs::remove_file(&sum).unwrap();
    other.write(Path::new(&sum)).unwrap();
    let asked = ["audit", "verify", "--sum", &sum, "--total", "45000"];
    let said = weir_settle(&[&asked[..], &on_chain[..]].concat()).unwrap_err();
    assert!(said.contains("aren't what the exit anchored"), "{said}");
    let said = weir_settle(&["evidence", "check", &format!("{hidden}/statement.json")]).unwrap();
    assert_eq!(said["statements"], 1);
}
