//! Contradictions: found in files, reported on a real node, and nothing else is.

use serde_json::{Value, json};
use weir_settle::evidence::{Statements, search, stream};
use weir_settle::journal::entry::{Action, Entry, Item, OutboxStep, Step};
use weir_settle::journal::{Header, Journal};
use weir_settle::storage::FileStorage;
use weir_usage::bond::{BondDomain, EpochStatement, Statement, StreamStatement};
use weir_usage::{Address, Digest, RecordChain, SigningKey};

use crate::bond::{chain, key, weir_settle};
use crate::common::anvil::Anvil;
use crate::common::{EXIT, channel, config, usage};

const USAGE_KEY: &str = "0707070707070707070707070707070707070707070707070707070707070707";
/// The fourth account of every development chain.
const REPORTER_KEY: &str = "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6";

fn epoch(epoch: u64, total: u128) -> EpochStatement {
    EpochStatement { epoch, root: Digest([4; 32]), total }
}

fn file(domain: BondDomain, said: &[EpochStatement], key: &SigningKey) -> Statements {
    let epochs = said.iter().map(|one| one.sign(&domain, key)).collect();
    Statements { domain, epochs, records: Vec::new() }
}

#[test]
fn only_contradictions_are_found() {
    let domain = BondDomain { chain_id: 1, bond: Address([1; 20]) };
    let elsewhere = BondDomain { chain_id: 2, ..domain };
    let (own, other) = (key(USAGE_KEY), key(REPORTER_KEY));
    let honest = file(domain, &[epoch(1, 10), epoch(2, 20)], &own);
    let find = |two: Statements| search(&[honest.clone(), two], &domain);

    assert_eq!(find(honest.clone()).contradictions, []);
    assert_eq!(find(file(domain, &[epoch(3, 30)], &own)).contradictions, []);
    assert_eq!(find(file(domain, &[epoch(1, 11)], &other)).contradictions, []);
    let foreign = find(file(elsewhere, &[epoch(1, 11)], &own));
    assert_eq!((foreign.contradictions.len(), foreign.statements), (0, 2));
    assert_eq!(foreign.flawed[0].reason, "of another chain or contract");
    // Relabelled as ours, the signature is somebody else's, or nobody's.
    let mut forged = file(elsewhere, &[epoch(1, 11)], &own);
    forged.domain = domain;
    assert_eq!(find(forged).contradictions, []);
    let mut broken = file(domain, &[epoch(1, 11)], &own);
    broken.epochs[0].signature.0[64] = 29;
    let broken = find(broken);
    assert!(broken.flawed[0].reason.contains("recovery byte"), "{broken:?}");
    assert_eq!(broken.contradictions, []);

    let twice = find(file(domain, &[epoch(1, 11), epoch(1, 12)], &own));
    assert_eq!(twice.contradictions.len(), 1, "one per subject");
    assert_eq!(twice.contradictions[0].signer, own.address());

    let record = |content| StreamStatement {
        stream: Digest([1; 32]),
        seq: 3,
        content: Digest([content; 32]),
    };
    let mut records = file(domain, &[], &own);
    records.records = [1, 1, 2].map(|n| record(n).sign(&domain, &own)).to_vec();
    assert_eq!(search(&[records], &domain).contradictions.len(), 1);
}

/// What is exported is what was journaled, and the same every time.
#[test]
fn statements_come_from_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let header = Header { exit: EXIT.0, created_ms: 1, secret: [9; 32] };
    let storage = FileStorage::open(&path).unwrap();
    let mut journal = Journal::open(storage, header, |_, _, _| Ok(())).unwrap();
    let mut process = RecordChain::new(EXIT, 5);
    let mut records = Vec::new();
    for bytes in [100, 200] {
        let mut record = usage(channel(), 0, 1, bytes, 0);
        process.stamp(&mut record);
        journal.append(&[Entry::now(Item::Record(Box::new(record.clone())))]).unwrap();
        records.push(record);
    }
    // Epoch 3 is final on chain, the anchor of epoch 4 reverted, that of epoch 5 is planned.
    for (intent, success) in [(1, Some(true)), (2, Some(false)), (3, None)] {
        let (epoch, root, total) = (intent + 2, Digest([6; 32]), 200);
        let mut steps = vec![Step::Planned { action: Action::Anchor { epoch, root, total } }];
        let hash = Digest([intent as u8; 32]);
        if let Some(success) = success {
            let raw = "00".into();
            steps.push(Step::Signed { nonce: intent, hash, raw, max_fee_per_gas: 1 });
            let (claimed, settled) = (Vec::new(), 0);
            let (block, gas_used, gas_price) = (1, 1, 1);
            steps.push(Step::Final { hash, block, success, gas_used, gas_price, claimed, settled });
        }
        for step in steps {
            journal.append(&[Entry::now(Item::Outbox(OutboxStep { intent, step }))]).unwrap();
        }
    }

    let domain = BondDomain { chain_id: config().chain.domain.chain_id, bond: Address([1; 20]) };
    let secret = directory.path().join("usage.key");
    std::fs::write(&secret, USAGE_KEY).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&secret, mode).unwrap();
    let wallet = weir_settle::keys::Wallet::load(&secret, None).unwrap();
    let read = weir_settle::storage::ReadOnly::open(&path).unwrap();
    let of = |channel| Statements::of_journal(&read, domain, channel, &wallet).unwrap();
    let made = of(Some(channel()));
    assert_eq!(made, of(Some(channel())), "nothing contradicts itself");
    let signer = key(USAGE_KEY).address();
    let said = EpochStatement { epoch: 3, root: Digest([6; 32]), total: 200 };
    assert_eq!(made.epochs.iter().map(|one| one.statement).collect::<Vec<_>>(), [said]);
    made.epochs[0].verify(&domain, signer).unwrap();
    assert_eq!(made.records.len(), 2);
    for (signed, record) in made.records.iter().zip(&records) {
        signed.verify(&domain, signer).unwrap();
        let said = signed.statement;
        assert_eq!((said.seq, said.content), (record.seq, record.hash()));
        assert_eq!(said.stream, stream(record));
    }
    assert_eq!(of(None).records, [], "nobody sees another payer's records");
}

/// An operator that told two payers two totals of one epoch.
#[tokio::test(flavor = "multi_thread")]
async fn a_contradiction_is_slashed_and_its_reporter_rewarded() {
    let Some(anvil) = Anvil::start(&["--block-time", "1"]).await else { return };
    let chain = chain(&anvil).await;
    let domain = chain.bond.domain();
    let usage_key = key(USAGE_KEY);
    let terms = chain.stake_terms(usage_key.address());
    let id = terms.id(&domain);
    chain.bond.open_stake(&chain.operator, &terms, 1000, true).await.unwrap();

    let path = |name: &str| anvil.path(name).display().to_string();
    let write = |name: &str, said: &[EpochStatement], key: &SigningKey| {
        file(domain, said, key).write(&anvil.path(name)).unwrap();
    };
    write("one.json", &[epoch(1, 10), epoch(2, 20)], &usage_key);
    write("two.json", &[epoch(2, 21)], &usage_key);
    write("same.json", &[epoch(2, 20)], &usage_key);
    write("slander.json", &[epoch(1, 11)], &key(REPORTER_KEY));
    let reporter = anvil.key_file("reporter.key", REPORTER_KEY).display().to_string();
    let (url, contract, stake) = (anvil.url(), domain.bond.to_string(), id.to_string());
    let run = |command: &str, files: [&str; 2]| -> Result<Value, String> {
        let [one, two] = files.map(path);
        let at = ["--rpc", &url, "--key-file", &reporter, "--bond", &contract, "--stake", &stake];
        weir_settle(&[&["evidence", command], &at[..], &[&one, &two]].concat())
    };

    for honest in [["one.json", "same.json"], ["one.json", "slander.json"]] {
        for command in ["commit", "report"] {
            let said = run(command, honest).unwrap_err();
            assert!(said.contains("no contradiction of"), "{said}");
        }
    }
    let checked = weir_settle(&["evidence", "check", &path("one.json"), &path("same.json")]);
    assert_eq!(checked.unwrap()["contradictions"], json!([]));
    let checked = weir_settle(&["evidence", "check", &path("one.json"), &path("two.json")]);
    assert!(checked.is_err(), "contradictions have an exit status of their own");

    let announced = run("commit", ["one.json", "two.json"]).unwrap();
    assert_eq!(announced["commitments"][0]["done"]["transactions"].as_array().unwrap().len(), 1);
    let held = chain.bond.stake(id).await.unwrap().unwrap();
    assert_eq!(held.slashed, 0, "an announcement takes nothing");
    let report = run("report", ["one.json", "two.json"]).unwrap();
    let sent = report["reports"][0]["done"]["transactions"].as_array().unwrap().len();
    assert_eq!(sent, 2, "the announcement of before counts: slash and pay out");
    assert_eq!(report["reports"][0]["slashed"], "250");
    let own = key(REPORTER_KEY).address();
    assert_eq!(anvil.balance(chain.token, own).await, 125, "half of a quarter");
    let again = run("report", ["one.json", "two.json"]).unwrap();
    assert_eq!(again["reports"][0]["done"]["transactions"], json!([]));
    let held = chain.bond.stake(id).await.unwrap().unwrap();
    assert_eq!((held.active, held.slashed, held.equivocations), (750, 250, 1));
}
