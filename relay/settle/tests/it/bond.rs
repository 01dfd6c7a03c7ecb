//! Stakes and agreements against a real node: what is asked for is there, once.

use std::path::Path;
use std::process::Command;

use alloy::primitives::U256;
use serde_json::{Value, json};
use weir_settle::chain::bond::abi::IOperatorBond;
use weir_settle::chain::bond::{Bond, Done};
use weir_settle::chain::contracts::{IERC20, address};
use weir_settle::chain::deploy::{Contract, deploy};
use weir_settle::chain::once;
use weir_settle::keys::Wallet;
use weir_usage::bond::{Agreement, CreditStep, SlaTerms, StakeTerms, Verdict};
use weir_usage::{Address, ChannelId, Digest, SigningKey};

use crate::common::anvil::{Anvil, PAYER_KEY};

/// The third account of every development chain.
const OPERATOR_KEY: &str = "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a";
const DAY_S: u64 = 86_400;

pub(crate) struct Chain {
    pub(crate) bond: Bond,
    pub(crate) token: Address,
    pub(crate) operator: Wallet,
}

pub(crate) async fn chain(anvil: &Anvil) -> Chain {
    let deployer = anvil.exit_wallet();
    let made = deploy(&anvil.rpc, &deployer, Contract::OperatorBond).await.unwrap();
    let bond = Bond::at(anvil.rpc.clone(), made.address.parse().unwrap()).await.unwrap();
    let made = deploy(&anvil.rpc, &deployer, Contract::TestToken).await.unwrap();
    let operator = Wallet::load(&anvil.key_file("operator.key", OPERATOR_KEY), None).unwrap();
    Chain { bond, token: made.address.parse().unwrap(), operator }
}

impl Chain {
    pub(crate) fn stake_terms(&self, signer: Address) -> StakeTerms {
        StakeTerms {
            operator: own(&self.operator),
            signer,
            payout: Address([0x50; 20]),
            token: self.token,
            unbond_delay_s: DAY_S,
            committed_kbps: 1000,
            availability_ppm: 999_000,
            salt: Digest::ZERO,
        }
    }
}

fn own(wallet: &Wallet) -> Address {
    Address(wallet.address().into_array())
}

pub(crate) fn key(digits: &str) -> SigningKey {
    let digest: Digest = format!("0x{digits}").parse().unwrap();
    SigningKey::from_bytes(&digest.0).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stake_is_opened_raised_unbonded_and_released() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let chain = chain(&anvil).await;
    let (bond, operator) = (&chain.bond, &chain.operator);
    let terms = chain.stake_terms(Address([7; 20]));
    let id = terms.id(&bond.domain());

    let poor = bond.open_stake(operator, &terms, 1000, false).await.unwrap_err().to_string();
    assert!(poor.contains("0 of the 1000 token units"), "{poor}");
    let stranger = anvil.payer_wallet();
    let foreign = bond.open_stake(&stranger, &terms, 1000, true).await.unwrap_err().to_string();
    assert!(foreign.contains("signed by"), "{foreign}");
    let unknown = bond.unbond(operator, id, 0).await.unwrap_err().to_string();
    assert!(unknown.contains(&id.to_string()), "{unknown}");

    let dry = operator.clone().for_dry_run();
    let next = bond.open_stake(&dry, &terms, 1000, true).await.unwrap_err();
    assert_eq!(next.exit_code(), 0);
    assert!(next.to_string().starts_with("dry run: next would be mint"), "{next}");
    assert!(bond.stake(id).await.unwrap().is_none(), "nothing was sent");

    let opened = bond.open_stake(operator, &terms, 1000, true).await.unwrap();
    assert_eq!(opened.transactions.len(), 3, "mint, approve, stake");
    let done = bond.open_stake(&dry, &terms, 1000, true).await.unwrap();
    assert_eq!(done, Done::default(), "nothing is left to do");
    assert_eq!(bond.open_stake(operator, &terms, 1000, true).await.unwrap(), Done::default());
    // Anybody may add; what somebody allowed before isn't in the way.
    let call = IERC20::approveCall { spender: address(bond.domain().bond), amount: U256::ONE };
    let input = alloy::sol_types::SolCall::abi_encode(&call).into();
    let patience = std::time::Duration::from_secs(30);
    let to = Some(address(chain.token));
    once::send(&anvil.rpc, &stranger, "approving", to, input, patience).await.unwrap();
    bond.raise_stake(&stranger, id, 1500, true).await.unwrap();
    let stake = bond.stake(id).await.unwrap().unwrap();
    assert_eq!((stake.active, stake.deposited, stake.terms), (1500, 1500, terms));

    let denied = bond.unbond(&stranger, id, 0).await.unwrap_err().to_string();
    assert!(denied.contains("signed by"), "{denied}");
    for again in [1, 0] {
        let done = bond.unbond(operator, id, 500).await.unwrap();
        assert_eq!(done.transactions.len(), again, "repeating it changes nothing");
    }
    bond.rebond(operator, id).await.unwrap();
    assert_eq!(bond.rebond(operator, id).await.unwrap(), Done::default());
    bond.unbond(operator, id, 500).await.unwrap();
    let early = bond.release(operator, id).await.unwrap_err().to_string();
    assert!(early.contains("can be released from Unix time"), "{early}");
    anvil.call("evm_increaseTime", json!([DAY_S + 1])).await;
    anvil.call("evm_mine", json!([])).await;
    bond.release(&stranger, id).await.unwrap();
    assert_eq!(anvil.balance(chain.token, terms.payout).await, 1000);
    assert_eq!(bond.release(operator, id).await.unwrap(), Done::default());
    let stake = bond.stake(id).await.unwrap().unwrap();
    assert_eq!((stake.active, stake.unbonding, stake.release_at), (500, 0, 0));
}

/// A command that was killed after it sent a transaction: the next one waits for that transaction
/// instead of sending a second.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_command_sent_is_waited_for() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let chain = chain(&anvil).await;
    let (bond, operator) = (&chain.bond, &chain.operator);
    let terms = chain.stake_terms(Address([7; 20]));
    let id = terms.id(&bond.domain());
    bond.open_stake(operator, &terms, 1000, true).await.unwrap();

    anvil.call("evm_setAutomine", json!([false])).await;
    let killed = tokio::spawn({
        let (bond, operator) = (bond.clone(), operator.clone());
        async move { bond.unbond(&operator, id, 400).await }
    });
    crate::common::eventually("it is sent", std::time::Duration::from_secs(20), async || {
        let of = operator.address();
        let pending = alloy::eips::BlockNumberOrTag::Pending;
        let latest = alloy::eips::BlockNumberOrTag::Latest;
        let known = anvil.rpc.nonce(of, pending).await.unwrap();
        (known > anvil.rpc.nonce(of, latest).await.unwrap()).then_some(())
    })
    .await;
    killed.abort();
    let again = tokio::spawn({
        let (bond, operator) = (bond.clone(), operator.clone());
        async move { bond.unbond(&operator, id, 400).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert!(!again.is_finished(), "it waits");
    anvil.call("evm_mine", json!([])).await;
    assert_eq!(again.await.unwrap().unwrap(), Done::default(), "nothing is left to do");
    let stake = bond.stake(id).await.unwrap().unwrap();
    assert_eq!((stake.active, stake.unbonding), (400, 600));
}

/// An hour that ended two hours ago, 60 intervals, fee 1,000,000, bond 300,000.
async fn agreement(anvil: &Anvil, chain: &Chain) -> Agreement {
    let block = anvil.call("eth_getBlockByNumber", json!(["latest", false])).await;
    let now = block["timestamp"].as_str().unwrap().trim_start_matches("0x").to_owned();
    let now = u64::from_str_radix(&now, 16).unwrap();
    let terms = SlaTerms {
        payer: own(&anvil.payer_wallet()),
        operator: own(&chain.operator),
        payout: Address([0x51; 20]),
        token: chain.token,
        channel: ChannelId([1; 32]),
        committed_kbps: 1000,
        burst_kbps: 2000,
        availability_ppm: 990_000,
        rtt_p95_us: 20_000,
        loss_ppm: 1000,
        references: Digest::ZERO,
        maintenance: Digest::ZERO,
        start: now - 3 * 3600,
        period_s: 3600,
        periods: 2,
        interval_s: 60,
        claim_s: DAY_S as u32,
        fee: 1_000_000,
        bond: 300_000,
        credits: vec![CreditStep { below_ppm: 990_000, credit_ppm: 500_000 }],
        measurers: Vec::new(),
        threshold: 0,
        arbiter: Address::ZERO,
        salt: Digest([2; 32]),
    };
    let mut agreement = Agreement::new(chain.bond.domain(), terms).unwrap();
    agreement.sign(&key(PAYER_KEY)).unwrap();
    agreement.sign(&key(OPERATOR_KEY)).unwrap();
    agreement
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_period_is_credited_once_and_no_more_than_the_bond() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let chain = chain(&anvil).await;
    let (bond, operator) = (&chain.bond, &chain.operator);
    let agreement = agreement(&anvil, &chain).await;
    let terms = &agreement.terms;
    let verdict =
        Verdict { sla: agreement.id(), period: 0, good: 50, bad: 5, evidence: Digest([9; 32]) };
    let by = |verdict: &Verdict, keys: &[&str]| -> Vec<_> {
        keys.iter().map(|k| verdict.sign(&bond.domain(), &key(k))).collect()
    };
    let both = by(&verdict, &[OPERATOR_KEY, PAYER_KEY]);
    let anybody = anvil.exit_wallet();

    let closed = bond.apply_credit(&anybody, terms, &verdict, &both).await.unwrap_err();
    assert!(closed.to_string().contains("isn't open"), "{closed}");
    let mut unsigned = agreement.clone();
    unsigned.payer_signature = None;
    let missing = bond.open_sla(operator, &unsigned, true).await.unwrap_err().to_string();
    assert_eq!(missing, "payer_signature: is missing");
    bond.open_sla(operator, &agreement, true).await.unwrap();
    assert_eq!(bond.open_sla(operator, &agreement, true).await.unwrap(), Done::default());

    let alone = by(&verdict, &[PAYER_KEY, PAYER_KEY]);
    let few = bond.apply_credit(&anybody, terms, &verdict, &alone).await.unwrap_err();
    assert!(few.to_string().contains("signed by 1 of payer, operator and arbiter"), "{few}");
    let foreign = by(&Verdict { bad: 6, ..verdict }, &[OPERATOR_KEY, PAYER_KEY]);
    assert!(bond.apply_credit(&anybody, terms, &verdict, &foreign).await.is_err());

    // Half of the fee is owed; the bond is short of it, and pays the rest once it is filled up.
    let short = bond.apply_credit(&anybody, terms, &verdict, &both).await.unwrap();
    assert_eq!((short.credit, short.paid), (500_000, 300_000));
    assert_eq!(anvil.balance(chain.token, terms.payer).await, 300_000);
    let idle = bond.apply_credit(&anybody, terms, &verdict, &[]).await.unwrap();
    assert_eq!(idle.done, Done::default(), "nothing is left to pay from");
    bond.fund_sla(operator, terms, 250_000, true).await.unwrap();
    let rest = bond.apply_credit(&anybody, terms, &verdict, &[]).await.unwrap();
    assert_eq!((rest.credit, rest.paid), (500_000, 500_000));
    assert_eq!(anvil.balance(chain.token, terms.payer).await, 500_000);
    let other = Verdict { bad: 4, ..verdict };
    let signed = by(&other, &[OPERATOR_KEY, PAYER_KEY]);
    let late = bond.apply_credit(&anybody, terms, &other, &signed).await.unwrap_err().to_string();
    assert!(late.contains("judged already"), "{late}");

    let early = bond.close_sla(operator, terms).await.unwrap_err().to_string();
    assert!(early.contains("verdicts are taken until Unix time"), "{early}");
    bond.close_sla(&anvil.payer_wallet(), terms).await.unwrap();
    assert_eq!(bond.close_sla(operator, terms).await.unwrap(), Done::default());
    assert_eq!(anvil.balance(chain.token, terms.payout).await, 50_000);
    let again = bond.open_sla(operator, &agreement, true).await.unwrap_err().to_string();
    assert!(again.contains("it was closed"), "{again}");
    let call =
        IOperatorBond::owedCall { account: address(terms.payer), token: address(chain.token) };
    let owed = anvil.rpc.view(address(bond.domain().bond), call).await.unwrap();
    assert!(owed.is_zero(), "everything is fetched");
}

/// From a file of terms to an open agreement, by the commands that people use.
#[tokio::test(flavor = "multi_thread")]
async fn the_commands_make_sign_and_open_an_agreement() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let chain = chain(&anvil).await;
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/sla-terms.toml");
    let sample = std::fs::read_to_string(sample).unwrap();
    let text = sample
        .replace(&format!("0x{}", "1".repeat(40)), &own(&anvil.payer_wallet()).to_string())
        .replace(&format!("0x{}", "2".repeat(40)), &own(&chain.operator).to_string())
        .replace(&format!("0x{}", "4".repeat(40)), &chain.token.to_string());
    let terms = anvil.path("terms.toml");
    std::fs::write(&terms, &text).unwrap();
    let file = anvil.path("agreement.json").display().to_string();
    let terms = terms.display().to_string();
    let contract = chain.bond.domain().bond.to_string();
    let make = |terms: &str, out: &str| {
        weir_settle(&[
            "terms",
            "make",
            terms,
            "--chain-id",
            "31337",
            "--bond",
            &contract,
            "-o",
            out,
        ])
    };

    let wrong = anvil.path("wrong.toml");
    std::fs::write(&wrong, text.replace("periods = 12", "periods = 121")).unwrap();
    let said = make(&wrong.display().to_string(), &file).unwrap_err();
    assert!(said.contains("periods: is not between 1 and 120"), "{said}");
    std::fs::write(&wrong, text.replace("periods = 12", "perods = 12")).unwrap();
    let said = make(&wrong.display().to_string(), &file).unwrap_err();
    assert!(said.contains("wrong.toml") && said.contains("perods"), "{said}");

    let made = make(&terms, &file).unwrap();
    assert_eq!((&made["payer"], &made["operator"]), (&json!("not yet"), &json!("not yet")));
    let said = make(&terms, &file).unwrap_err();
    assert!(said.contains("can't create"), "an agreement isn't overwritten: {said}");
    let operator = anvil.key_file("operator.key", OPERATOR_KEY).display().to_string();
    let payer = anvil.key_file("payer.key", PAYER_KEY).display().to_string();
    let open = || {
        let url = anvil.url();
        weir_settle(&["terms", "open", &file, "--rpc", &url, "--key-file", &operator, "--mint"])
    };
    for key in [&operator, &payer] {
        let said = open().unwrap_err();
        assert!(said.contains("payer_signature: is missing"), "{said}");
        weir_settle(&["terms", "sign", &file, "--key-file", key]).unwrap();
    }
    let stranger = anvil.key_file("stranger.key", &"07".repeat(32)).display().to_string();
    let said = weir_settle(&["terms", "sign", &file, "--key-file", &stranger]).unwrap_err();
    assert!(said.contains("signed by"), "{said}");
    let dry = Command::new(env!("CARGO_BIN_EXE_weir-settle"))
        .args(["terms", "open", &file, "--rpc", &anvil.url(), "--key-file", &operator])
        .args(["--mint", "--dry-run"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&dry.stdout);
    assert!(dry.status.success() && said.contains("Nothing was signed or sent"), "{dry:?}");
    let opened = open().unwrap();
    assert_eq!(opened["agreement"]["state"], "open");
    assert_eq!(opened["agreement"]["balance"], "3000000");
    let shown = weir_settle(&["terms", "show", &file, "--rpc", &anvil.url()]).unwrap();
    assert_eq!((&shown["payer"], &shown["operator"]), (&json!("signed"), &json!("signed")));
    assert_eq!((&shown["on_chain"]["state"], &shown["id"]), (&json!("open"), &made["id"]));

    let forged = std::fs::read_to_string(&file).unwrap().replace("3000000", "4000000");
    std::fs::write(&file, forged).unwrap();
    let shown = weir_settle(&["terms", "show", &file]).unwrap();
    assert!(shown["payer"].as_str().unwrap().contains("signed by"), "{shown}");
}

/// The answer of a command, or what it complains about.
pub(crate) fn weir_settle(arguments: &[&str]) -> Result<Value, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_weir-settle")).args(arguments).output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let text = String::from_utf8(output.stdout).unwrap();
    Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
}
