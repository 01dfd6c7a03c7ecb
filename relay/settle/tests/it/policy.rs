//! When money moves: gas that is too expensive, claims that aren't worth it, payers that leave,
//! and transactions that get lost on the way.

use std::time::Duration;

use alloy::primitives::{Bytes, keccak256};
use serde_json::json;
use weir_settle::chain::contracts::address;
use weir_settle::chain::{ChainView, Waiting, once};
use weir_settle::config::{Channel, Config};
use weir_settle::journal::entry::{Entry, Item, Note};
use weir_settle::journal::{Header, Journal};
use weir_settle::sidecar::Running;
use weir_settle::storage::FileStorage;
use weir_usage::{ChannelId, ChannelTerms, Frame};

use crate::chain::{LONG, settle_now, start, use_and_pay};
use crate::common::anvil::{Anvil, Contracts};
use crate::common::{EXIT, eventually, pay, usage};

struct Scene {
    anvil: Anvil,
    contracts: Contracts,
    terms: ChannelTerms,
    channel: ChannelId,
    config: Config,
}

async fn scene(extra: &str, change: impl FnOnce(&mut Config)) -> Option<Scene> {
    let anvil = Anvil::start(&[]).await?;
    let contracts = anvil.deploy().await;
    let terms = anvil.open(&contracts, 1, 1_000_000).await;
    let channel = terms.id(&contracts.domain);
    let mut config = anvil.config(&contracts, &terms, extra);
    change(&mut config);
    Some(Scene { anvil, contracts, terms, channel, config })
}

impl Scene {
    async fn start(&self) -> Running {
        start(&self.anvil, &self.config, FileStorage::open(&self.config.journal).unwrap()).await
    }

    /// From the next block on, and a block.
    async fn gas_costs(&self, gwei: u64) {
        let wei = format!("{:#x}", gwei * 1_000_000_000);
        self.anvil.call("anvil_setNextBlockBaseFeePerGas", json!([wei])).await;
        self.anvil.call("evm_mine", json!([])).await;
    }

    async fn leave(&self, channel: ChannelId) {
        let mut input = keccak256("initiateWithdraw(bytes32)")[..4].to_vec();
        input.extend(channel.0);
        let escrow = Some(address(self.contracts.domain.escrow));
        let (rpc, payer) = (&self.anvil.rpc, self.anvil.payer_wallet());
        once::send(rpc, &payer, "leaving", escrow, Bytes::from(input), LONG).await.unwrap();
    }

    async fn paid(&self) -> u128 {
        self.anvil.balance(self.contracts.token, self.terms.receiver).await
    }
}

async fn seen<T>(running: &Running, what: &str, wanted: impl Fn(&ChainView) -> Option<T>) -> T {
    eventually(what, LONG, async || wanted(&running.sidecar.driver.view())).await
}

fn waits(view: &ChainView, kind: &str, reason: &str) -> Option<Waiting> {
    view.waiting.iter().find(|w| (w.kind, w.reason) == (kind, reason)).cloned()
}

fn claims(view: &ChainView) -> usize {
    let claimed = |i: &&weir_settle::chain::IntentView| i.kind == "claim";
    view.done.iter().filter(claimed).filter(|i| i.success == Some(true)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_waits_until_gas_is_below_the_ceiling_again() {
    let Some(scene) = scene("", |c| c.policy.claim_threshold = 1000).await else { return };
    scene.gas_costs(500).await;
    let running = scene.start().await;
    drop(use_and_pay(&scene.config, 1, scene.channel, 1000).await);
    let nonce = scene.anvil.exit_nonce().await;
    let waiting = seen(&running, "it waits", |view| waits(view, "claim", "expensive")).await;
    assert!(waiting.words.contains("the ceiling is 200000000000"), "{waiting:?}");
    assert_eq!(scene.anvil.exit_nonce().await, nonce, "nothing was sent");
    // Who asks for it is told why not, and doesn't wait for ever.
    let report = settle_now(&running).await;
    assert!(report.problems[0].contains("the ceiling is"), "{report:?}");
    scene.gas_costs(1).await;
    seen(&running, "it is claimed", |view| (claims(view) == 1).then_some(())).await;
    running.stop().await.unwrap();
}

/// The payer can take its deposit in an hour, and half an hour before that the ceiling is lifted.
#[tokio::test(flavor = "multi_thread")]
async fn the_ceiling_is_lifted_when_a_deposit_is_about_to_leave() {
    let Some(scene) = scene("", |c| c.policy.deadline = Duration::from_secs(1800)).await else {
        return;
    };
    let running = scene.start().await;
    drop(use_and_pay(&scene.config, 1, scene.channel, 1000).await);
    scene.gas_costs(500).await;
    // The payer doesn't mind what gas costs.
    scene.leave(scene.channel).await;
    scene.gas_costs(500).await;
    let waiting = seen(&running, "it waits", |view| waits(view, "claim", "expensive")).await;
    assert!(waiting.words.contains("the payer can take its deposit in 3"), "{waiting:?}");
    assert_eq!(waiting.channel, Some(scene.channel.to_string()));
    let left = running.sidecar.driver.view().leaving.clone();
    assert!(left.len() == 1 && left[0].seconds_left > 3500, "{left:?}");

    scene.anvil.call("evm_increaseTime", json!([1900])).await;
    scene.gas_costs(500).await;
    seen(&running, "it is claimed", |view| (claims(view) == 1).then_some(())).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_worth_less_than_its_gas_waits() {
    // A thousand units are worth 10^14 wei; a claim at 2 gwei costs about 1.3 * 10^14.
    let Some(scene) = scene("", |c| {
        c.policy.claim_threshold = 1;
        c.policy.wei_per_million_units = 100_000_000_000_000_000;
    })
    .await
    else {
        return;
    };
    // Before the first look: a voucher could arrive before the second.
    scene.gas_costs(4).await;
    let running = scene.start().await;
    let mut relay = use_and_pay(&scene.config, 1, scene.channel, 1000).await;
    let waiting = seen(&running, "it waits", |view| waits(view, "claim", "uneconomic")).await;
    assert!(waiting.words.contains("1000 units are worth 100000000000000 wei"), "{waiting:?}");
    relay.report(usage(scene.channel, 0, 1, 900_000, 0)).await;
    let ask = relay.ask(scene.channel, 0, 900_000).await;
    assert!(matches!(relay.offer(pay(&ask)).await, Frame::VoucherAck(_)));
    seen(&running, "it is claimed", |view| (claims(view) == 1).then_some(())).await;
    running.stop().await.unwrap();
}

/// One claim hangs in the pool while the payer of another channel starts to leave.
#[tokio::test(flavor = "multi_thread")]
async fn a_payer_that_leaves_is_planned_before_and_beside_everything_else() {
    let Some(mut scene) = scene("stuck_after_s = 2", |_| {}).await else { return };
    let other = scene.anvil.open(&scene.contracts, 2, 1_000_000).await;
    let id = other.id(&scene.contracts.domain);
    let first = scene.config.channels[0].clone();
    scene.config.channels.push(Channel { id, terms: other, ..first });
    scene.config.policy.claim_threshold = 1000;
    scene.config.chain.fee_ceiling_wei = 5_000_000_000;
    let running = scene.start().await;
    scene.anvil.call("evm_setAutomine", json!([false])).await;
    drop(use_and_pay(&scene.config, 2, scene.channel, 1000).await);
    let both = |view: &ChainView| {
        let open: Vec<_> = view.open.iter().filter(|i| i.kind == "claim").cloned().collect();
        (!open.is_empty()).then_some(open)
    };
    let sent = |open: &Vec<weir_settle::chain::IntentView>| open[0].state == "broadcast";
    let open = seen(&running, "the first claim", |view| both(view).filter(sent)).await;
    assert_eq!(open.len(), 1);
    scene.gas_costs(6).await;
    drop(use_and_pay(&scene.config, 3, id, 500).await);

    // 500 units are below every threshold, but they would be gone.
    let mut input = keccak256("initiateWithdraw(bytes32)")[..4].to_vec();
    input.extend(id.0);
    let escrow = Some(address(scene.contracts.domain.escrow));
    let (rpc, payer) = (scene.anvil.rpc.clone(), scene.anvil.payer_wallet());
    let leaving = tokio::spawn(async move {
        once::send(&rpc, &payer, "leaving", escrow, Bytes::from(input), LONG).await.unwrap();
    });
    let payer_address = scene.anvil.payer_wallet().address().to_string().to_lowercase();
    // Gas becomes too expensive for the claim in the pool, but not for the payer.
    eventually("the payer's transaction waits", LONG, async || {
        let pool = scene.anvil.call("txpool_content", json!([])).await;
        let from = pool["pending"].as_object()?.keys().map(|k| k.to_lowercase());
        from.into_iter().any(|k| k == payer_address).then_some(())
    })
    .await;
    scene.gas_costs(6).await;
    leaving.await.unwrap();
    let open = seen(&running, "the second claim", |view| both(view).filter(|o| o.len() == 2)).await;
    assert_eq!((open[0].nonce.is_some(), open[1].state), (true, "planned"), "{open:?}");
    // The one in its way may now pay more than the ceiling.
    let paid_more = |view: &ChainView| {
        let first = view.open.iter().find(|i| i.id == open[0].id)?;
        (first.transactions.len() > open[0].transactions.len()).then_some(())
    };
    seen(&running, "a higher fee", paid_more).await;
    scene.anvil.call("evm_setAutomine", json!([true])).await;
    scene.gas_costs(6).await;
    seen(&running, "both are claimed", |view| (claims(view) == 2).then_some(())).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_the_node_forgot_is_sent_again_as_it_was() {
    let Some(scene) = scene("stuck_after_s = 8", |_| {}).await else { return };
    let running = scene.start().await;
    drop(use_and_pay(&scene.config, 1, scene.channel, 1000).await);
    scene.anvil.call("evm_setAutomine", json!([false])).await;
    let driver = running.sidecar.driver.clone();
    let settle = tokio::spawn(async move { driver.settle_now().await });
    let sent = |view: &ChainView| {
        view.open.iter().find(|i| i.state == "broadcast").map(|i| i.transactions[0].clone())
    };
    let hash = seen(&running, "it is sent", sent).await;
    scene.anvil.call("anvil_dropTransaction", json!([hash])).await;
    eventually("it is there again", LONG, async || {
        let found = scene.anvil.call("eth_getTransactionByHash", json!([hash])).await;
        (!found.is_null()).then_some(())
    })
    .await;
    scene.anvil.call("evm_setAutomine", json!([true])).await;
    scene.anvil.call("evm_mine", json!([])).await;
    let report = tokio::time::timeout(LONG, settle).await.unwrap().unwrap().unwrap();
    assert_eq!((report.claimed, report.problems.len()), (1000, 0));
    assert_eq!(report.transactions[0].tx, hash);
    running.stop().await.unwrap();
}

/// Somebody else has the key and uses the nonce: it is said, and what was owed is claimed anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_nonce_was_taken_is_claimed_by_another() {
    let Some(scene) = scene("stuck_after_s = 60", |_| {}).await else { return };
    let running = scene.start().await;
    drop(use_and_pay(&scene.config, 1, scene.channel, 1000).await);
    scene.anvil.call("evm_setAutomine", json!([false])).await;
    let driver = running.sidecar.driver.clone();
    let settle = tokio::spawn(async move { driver.settle_now().await });
    let sent = |view: &ChainView| view.open.iter().find(|i| i.state == "broadcast")?.nonce;
    let nonce = seen(&running, "it is sent", sent).await;
    let thief = json!([{
        "from": scene.anvil.exit_wallet().address().to_string(),
        "to": "0x0000000000000000000000000000000000000001",
        "nonce": format!("{nonce:#x}"),
        "gas": "0x5208",
        "maxFeePerGas": "0x2540be40000",
        "maxPriorityFeePerGas": "0x2540be4000",
    }]);
    scene.anvil.call("eth_sendTransaction", thief).await;
    scene.anvil.call("evm_mine", json!([])).await;
    scene.anvil.call("evm_setAutomine", json!([true])).await;
    let report = tokio::time::timeout(LONG, settle).await.unwrap().unwrap().unwrap();
    assert!(report.problems[0].contains("another transaction took its nonce"), "{report:?}");
    let second = settle_now(&running).await;
    assert_eq!(report.claimed + second.claimed, 1000, "{second:?}");
    assert_eq!(scene.paid().await, 1000);
    running.stop().await.unwrap();
}

/// Somebody else has the key, and what they did leaves the chain again. A transaction of ours with
/// the nonce after theirs could then never be mined.
#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_of_somebody_else_is_built_upon_when_it_is_final() {
    let Some(scene) = scene("", |config| config.chain.confirmations = 2).await else { return };
    let running = scene.start().await;
    drop(use_and_pay(&scene.config, 1, scene.channel, 1000).await);
    let before = scene.anvil.exit_nonce().await;
    let theirs = json!([{
        "from": scene.anvil.exit_wallet().address().to_string(),
        "to": "0x0000000000000000000000000000000000000001",
        "gas": "0x5208",
    }]);
    scene.anvil.call("eth_sendTransaction", theirs).await;
    eventually("it is mined", LONG, async || {
        (scene.anvil.exit_nonce().await == before + 1).then_some(())
    })
    .await;
    let driver = running.sidecar.driver.clone();
    let settle = tokio::spawn(async move { driver.settle_now().await });
    seen(&running, "a claim is planned", |view| (!view.open.is_empty()).then_some(())).await;
    // Some looks at the chain later it still is: nothing is built on what may go.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let view = running.sidecar.driver.view();
    assert_eq!((view.open[0].state, view.open[0].nonce), ("planned", None));

    scene.anvil.call("anvil_reorg", json!([1, []])).await;
    let mined = |view: &ChainView| view.open.iter().find(|i| i.state == "mined")?.nonce;
    assert_eq!(seen(&running, "ours is mined", mined).await, before);
    let mining = async {
        loop {
            scene.anvil.call("evm_mine", json!([])).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let report = tokio::select! {
        report = tokio::time::timeout(LONG, settle) => report.unwrap().unwrap().unwrap(),
        () = mining => unreachable!("it goes on for ever"),
    };
    assert_eq!((report.claimed, report.problems.len()), (1000, 0), "{report:?}");
    running.stop().await.unwrap();
}

/// The journal is from next year: the clock was wrong then, or is wrong now. Waiting a year for the
/// period to be over would be the end of a deposit.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_set_back_does_not_stop_the_periods() {
    let Some(scene) = scene("", |_| {}).await else { return };
    let future = weir_settle::now_ms() + 365 * 86_400_000;
    let storage = FileStorage::open(&scene.config.journal).unwrap();
    let header = Header { exit: EXIT.0, secret: [1; 32], created_ms: future };
    let mut journal = Journal::open(storage, header, |_, _, _| Ok(())).unwrap();
    let reason = "written by a clock that was wrong".into();
    let note = Note::Waived { tunnel: "0".repeat(32), reason };
    journal.append(&[Entry { at_ms: future, item: Item::Note(note) }]).unwrap();
    drop(journal);
    let running = scene.start().await;
    drop(use_and_pay(&scene.config, 1, scene.channel, 1000).await);
    seen(&running, "it is claimed", |view| (claims(view) == 1).then_some(())).await;
    running.stop().await.unwrap();
}
