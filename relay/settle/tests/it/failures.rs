//! What went wrong with money elsewhere, one test each, by the numbers of the design's list.

use std::time::Duration;

use alloy::primitives::{Bytes, U256, keccak256};
use alloy::sol_types::SolCall;
use serde_json::json;
use weir_settle::book::LaneKey;
use weir_settle::chain::contracts::{self, IERC20, IExitEscrow, address};
use weir_settle::chain::once;
use weir_settle::config::{Channel, Config};
use weir_settle::control::{self, Request};
use weir_settle::journal::entry::{Action, ClaimRow};
use weir_settle::sidecar::Running;
use weir_settle::storage::FileStorage;
use weir_usage::{ChannelId, ChannelTerms, Frame, Price, Refusal, SigningKey, VoucherOffer};

use crate::chain::{LONG, settle_now, start, use_and_pay};
use crate::common::anvil::{Anvil, Contracts};
use crate::common::relay::Relay;
use crate::common::{PRICE, channel, eventually, pay, pay_with, payer, usage};
use crate::server::{Lab, http_get};

/// A channel on a node, and a configuration for it.
struct Exit {
    anvil: Anvil,
    contracts: Contracts,
    terms: ChannelTerms,
    channel: ChannelId,
    config: Config,
}

impl Exit {
    async fn new(deposit: u128) -> Option<Self> {
        let anvil = Anvil::start(&[]).await?;
        let contracts = anvil.deploy().await;
        let terms = anvil.open(&contracts, 1, deposit).await;
        let channel = terms.id(&contracts.domain);
        let config = anvil.config(&contracts, &terms, "");
        Some(Self { anvil, contracts, terms, channel, config })
    }

    async fn start(&self) -> Running {
        let storage = FileStorage::open(&self.config.journal).unwrap();
        start(&self.anvil, &self.config, storage).await
    }

    /// What the receiver got.
    async fn received(&self) -> u128 {
        self.anvil.balance(self.contracts.token, self.terms.receiver).await
    }

    async fn by_payer(&self, what: &str, to: weir_usage::Address, input: Vec<u8>) {
        let (wallet, to) = (self.anvil.payer_wallet(), Some(address(to)));
        let rpc = &self.anvil.rpc;
        once::send(rpc, &wallet, what, to, Bytes::from(input), LONG).await.unwrap();
    }
}

/// Offers a voucher until it is taken: the sidecar may not have looked at the chain yet.
async fn taken(relay: &mut Relay, offer: VoucherOffer) {
    eventually("the voucher is taken", LONG, async || {
        matches!(relay.offer(offer).await, Frame::VoucherAck(_)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_earnings_equal_bytes_times_price() {
    let Some(mut exit) = Exit::new(1_000_000).await else { return };
    // Three units a byte and a bit, so that rounding shows.
    let price = Price::new(3 * PRICE + 12_345).unwrap();
    exit.config.channels[0].price = price;
    let running = exit.start().await;
    let mut relay = Relay::connect(&exit.config.socket, 1).await;
    let mut bytes = 0;
    for tunnel in 1..=20 {
        let (up, down) = (1000 + tunnel * 37, 5000 + tunnel * 91);
        relay.report(usage(exit.channel, 0, tunnel.into(), up, down)).await;
        bytes += up + down;
    }
    let ask = relay.ask(exit.channel, 0, bytes).await;
    taken(&mut relay, pay(&ask)).await;
    let report = settle_now(&running).await;
    let due = price.amount(bytes.into()).unwrap();
    assert_eq!((report.claimed, report.settled, exit.received().await), (due, due, due));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f02_a_long_session_never_ends_as_zero_bytes() {
    const GIB: u64 = 1 << 30;
    let lab = Lab::new();
    let running = lab.start().await;
    let mut relay = lab.relay(1).await;
    // One tunnel that is never closed, past 32 bits and over a restart of the sidecar.
    for round in 1..=4 {
        relay.report(usage(channel(), 0, 1, round * GIB, 2 * round * GIB)).await;
        let ask = relay.ask(channel(), 0, 3 * round * GIB).await;
        let Frame::VoucherAck(ack) = relay.offer(pay(&ask)).await else { panic!("refused") };
        assert_eq!(ack.amount, u128::from(3 * round * GIB));
    }
    running.kill().await;
    let running = lab.start().await;
    let mut relay = lab.relay(1).await;
    relay.report(usage(channel(), 0, 1, 5 * GIB, 10 * GIB)).await;
    relay.ask(channel(), 0, 15 * GIB).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f03_a_reboot_in_a_live_session_leaves_nothing_unpaid() {
    let lab = Lab::new();
    let running = lab.start().await;
    let mut relay = lab.relay(1).await;
    relay.report(usage(channel(), 0, 1, 1000, 0)).await;
    drop(relay);
    running.kill().await;

    // What was acked is asked for although the process that reported it never comes back.
    let running = lab.start().await;
    let mut next = lab.relay(2).await;
    next.ask(channel(), 0, 1000).await;
    // The next process reads the ledger file of the dead one.
    let mut last = usage(channel(), 0, 1, 1500, 0);
    last.is_final = true;
    next.report(last).await;
    let ask = next.ask(channel(), 0, 1500).await;
    assert!(matches!(next.offer(pay(&ask)).await, Frame::VoucherAck(_)));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_a_payer_that_lost_everything_but_its_key_pays_on() {
    let lab = Lab::new();
    let running = lab.start().await;
    let mut relay = lab.relay(1).await;
    relay.report(usage(channel(), 0, 1, 1000, 0)).await;
    let ask = relay.ask(channel(), 0, 1000).await;
    let first = pay(&ask);
    assert!(matches!(relay.offer(first).await, Frame::VoucherAck(_)));
    relay.report(usage(channel(), 0, 1, 1700, 0)).await;
    running.kill().await;

    let running = lab.start().await;
    let mut relay = lab.relay(1).await;
    let ask = relay.ask(channel(), 0, 1700).await;
    // The exit shows the payer's own last word, and that is all it takes to go on.
    let last = ask.last.expect("the last voucher is shown");
    assert_eq!(last, first.signed);
    last.verify(&ask.domain, payer().address()).unwrap();
    assert!(matches!(relay.offer(pay(&ask)).await, Frame::VoucherAck(_)));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f05_short_sessions_and_reconnects_share_one_account() {
    let lab = Lab::new();
    let running = lab.start().await;
    for process in 1..=20 {
        let mut relay = lab.relay(process).await;
        let mut record = usage(channel(), 0, process.into(), 70, 30);
        record.is_final = true;
        relay.report(record).await;
    }
    let view = running.sidecar.clerk.view().await.unwrap();
    let credit = view.lanes[&LaneKey { channel: channel(), lane: 0 }].credit;
    // The relay takes the window off this: 20 sessions don't have 20 windows.
    assert_eq!((credit.used_bytes, credit.paid_bytes), (2000, 0));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f06_a_payment_that_fails_buys_nothing() {
    let lab = Lab::new();
    let running = lab.start().await;
    let mut relay = lab.relay(1).await;
    relay.report(usage(channel(), 0, 1, 1000, 0)).await;
    let ask = relay.ask(channel(), 0, 1000).await;
    let credit = async || {
        let view = running.sidecar.clerk.view().await.unwrap();
        view.lanes[&LaneKey { channel: channel(), lane: 0 }].credit
    };
    let thief = SigningKey::from_bytes(&[8; 32]).unwrap();
    let answer = relay.offer(pay_with(&ask, &thief)).await;
    assert!(matches!(answer, Frame::VoucherRefused(no) if no.refusal == Refusal::Signature));
    assert_eq!((credit().await.used_bytes, credit().await.paid_bytes), (1000, 0));
    assert!(matches!(relay.offer(pay(&ask)).await, Frame::VoucherAck(_)));
    assert_eq!((credit().await.used_bytes, credit().await.paid_bytes), (1000, 1000));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f07_nothing_counts_as_paid_before_it_is_mined() {
    let Some(exit) = Exit::new(1_000_000).await else { return };
    let running = exit.start().await;
    drop(use_and_pay(&exit.config, 1, exit.channel, 1000).await);
    let nonce = exit.anvil.exit_nonce().await;
    exit.anvil.call("evm_setAutomine", json!([false])).await;
    let driver = running.sidecar.driver.clone();
    let settle = tokio::spawn(async move { driver.settle_now().await });
    eventually("the claim is sent", LONG, async || {
        running.sidecar.driver.view().open.first().filter(|i| i.state == "broadcast").map(drop)
    })
    .await;
    let view = running.sidecar.clerk.view().await.unwrap();
    let lane = &view.lanes[&LaneKey { channel: exit.channel, lane: 0 }];
    assert_eq!((lane.claimed, lane.unclaimed), (0, 1000));
    settle.abort();
    running.kill().await;

    // The transaction is not lost with the process, and not sent under a second nonce.
    let running = exit.start().await;
    exit.anvil.call("evm_setAutomine", json!([true])).await;
    exit.anvil.call("evm_mine", json!([])).await;
    settle_now(&running).await;
    assert_eq!(exit.received().await, 1000);
    assert_eq!(exit.anvil.exit_nonce().await, nonce + 3);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f08_who_claims_first_gains_nothing_by_it() {
    let Some(exit) = Exit::new(1_000_000).await else { return };
    let running = exit.start().await;
    let mut relay = Relay::connect(&exit.config.socket, 1).await;
    relay.report(usage(exit.channel, 0, 1, 1000, 0)).await;
    let ask = relay.ask(exit.channel, 0, 1000).await;
    let offer = pay(&ask);
    taken(&mut relay, offer).await;
    let voucher = offer.signed.voucher;
    let row = ClaimRow {
        channel: voucher.channel,
        lane: voucher.lane,
        amount: voucher.amount,
        seq: voucher.seq,
        usage_head: voucher.usage_head,
        signature: offer.signed.signature,
    };
    let input = contracts::input(&Action::Claim { rows: vec![row] });
    let runner = weir_usage::Address(exit.anvil.payer_wallet().address().into_array());
    let before = exit.anvil.balance(exit.contracts.token, runner).await;
    exit.by_payer("running in front", exit.contracts.domain.escrow, input.to_vec()).await;

    let report = settle_now(&running).await;
    assert_eq!((report.settled, exit.received().await), (1000, 1000));
    let after = exit.anvil.balance(exit.contracts.token, runner).await;
    assert_eq!(after, before, "whoever claims is paid nothing for it");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f09_settlement_fires_by_itself_and_is_done_only_when_it_is() {
    let Some(mut exit) = Exit::new(1_000_000).await else { return };
    exit.config.policy.claim_threshold = 1000;
    exit.config.policy.settle_threshold = 1000;
    let running = exit.start().await;
    exit.anvil.call("evm_setAutomine", json!([false])).await;
    drop(use_and_pay(&exit.config, 1, exit.channel, 1000).await);
    eventually("it fires", LONG, async || {
        running.sidecar.driver.view().open.first().filter(|i| i.state == "broadcast").map(drop)
    })
    .await;
    let driver = running.sidecar.driver.clone();
    let settle = tokio::spawn(async move { driver.settle_now().await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!settle.is_finished(), "nothing is mined, so nothing is done");
    assert!(running.sidecar.driver.view().done.is_empty());
    exit.anvil.call("evm_setAutomine", json!([true])).await;
    exit.anvil.call("evm_mine", json!([])).await;
    let report = tokio::time::timeout(LONG, settle).await.unwrap().unwrap().unwrap();
    assert_eq!((report.claimed, report.settled, exit.received().await), (1000, 1000, 1000));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_status_metrics_and_chain_agree() {
    let Some(mut exit) = Exit::new(1_000_000).await else { return };
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    exit.config.admin = Some(admin);
    let running = exit.start().await;
    let mut relay = use_and_pay(&exit.config, 1, exit.channel, 1000).await;
    settle_now(&running).await;
    relay.report(usage(exit.channel, 0, 1, 1600, 0)).await;
    let ask = relay.ask(exit.channel, 0, 1600).await;
    taken(&mut relay, pay(&ask)).await;

    let call = IExitEscrow::claimedCall { channelId: exit.channel.0.into(), lane: 0 };
    let escrow = address(exit.contracts.domain.escrow);
    let claimed = exit.anvil.rpc.view(escrow, call).await.unwrap();
    assert_eq!((claimed, exit.received().await), (1000, 1000));
    eventually("status and metrics say the same", LONG, async || {
        let status = control::ask(&exit.config.control, &Request::Status).await.unwrap();
        let lane = &status["lanes"][0];
        let said = (&lane["claimed"], &lane["vouchered"], &status["unclaimed"]);
        let metrics = http_get(admin, "/metrics").await;
        (said == (&json!("1000"), &json!("1600"), &json!("600"))
            && metrics.contains("weir_settle_unclaimed_units 600")
            && metrics.contains("weir_settle_exposure_units 0"))
        .then_some(())
    })
    .await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f11_claims_are_cut_to_the_size_that_fits() {
    let Some(mut exit) = Exit::new(10_000).await else { return };
    exit.config.policy.claim_batch_max = 2;
    for number in 2..=5 {
        let terms = exit.anvil.open(&exit.contracts, number, 10_000).await;
        let id = terms.id(&exit.contracts.domain);
        let first = exit.config.channels[0].clone();
        exit.config.channels.push(Channel { id, terms, ..first });
    }
    let running = exit.start().await;
    for (index, channel) in exit.config.channels.iter().enumerate() {
        let bytes = 100 * (index as u64 + 1);
        drop(use_and_pay(&exit.config, index as u64 + 1, channel.id, bytes).await);
    }
    let report = settle_now(&running).await;
    let claims = report.transactions.iter().filter(|t| t.kind == "claim").count();
    assert_eq!((claims, report.claimed, report.settled), (3, 1500, 1500));
    for (index, channel) in exit.config.channels.iter().enumerate() {
        let got = exit.anvil.balance(exit.contracts.token, channel.terms.receiver).await;
        assert_eq!(got, 100 * (index as u128 + 1));
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f12_a_payer_whose_records_stop_counting_is_named() {
    let lab = Lab::new();
    let running = lab.start().await;
    let mut relay = lab.relay(1).await;
    relay.report(usage(channel(), 0, 1, 1000, 0)).await;
    relay.report(usage(channel(), 1, 2, 500, 0)).await;
    let mut wrong = usage(channel(), 0, 3, 400, 0);
    wrong.up.received.bytes = 1;
    relay.report(wrong).await;
    relay.report(usage(channel(), 1, 2, 900, 0)).await;
    // The other lane goes on, and what is wrong with this one is said.
    relay.ask(channel(), 1, 900).await;
    let status = control::ask(&lab.config.control, &Request::Status).await.unwrap();
    let why = status["lanes"][0]["held_back"].as_str().expect("lane 0 is held back");
    assert!(why.contains("forwards and drops more than it received"), "{why}");
    assert!(status["lanes"][1]["held_back"].is_null());
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f13_invalid_records_clog_nothing() {
    let lab = Lab::new();
    let running = lab.start().await;
    let mut relay = lab.relay(1).await;
    for tunnel in 100..400 {
        let mut wrong = usage(ChannelId([0xaa; 32]), 9, tunnel, 10, 10);
        if tunnel % 2 == 0 {
            wrong.channel = channel();
            wrong.lane = 0;
            wrong.down.received.bytes = 1;
        }
        relay.chain.stamp(&mut wrong);
        relay.send(&Frame::Record(Box::new(wrong))).await;
    }
    relay.report(usage(channel(), 1, 1, 1234, 0)).await;
    relay.ask(channel(), 1, 1234).await;
    let counters = running.sidecar.clerk.view().await.unwrap().counters;
    assert_eq!((counters.invalid, counters.unknown_channel, counters.records), (150, 150, 301));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f14_an_empty_escrow_burns_no_voucher() {
    let Some(exit) = Exit::new(1000).await else { return };
    let running = exit.start().await;
    let mut relay = use_and_pay(&exit.config, 1, exit.channel, 1000).await;
    assert_eq!(settle_now(&running).await.settled, 1000);
    relay.report(usage(exit.channel, 0, 1, 1800, 0)).await;
    let ask = relay.ask(exit.channel, 0, 1800).await;
    let answer = relay.offer(pay(&ask)).await;
    assert!(matches!(answer, Frame::VoucherRefused(no) if no.refusal == Refusal::Unfunded));
    let idle = settle_now(&running).await;
    assert_eq!(idle.transactions, Vec::new(), "an empty escrow is not claimed from");

    let (token, escrow) = (exit.contracts.token, exit.contracts.domain.escrow);
    let to = exit.anvil.payer_wallet().address();
    let amount = U256::from(5000);
    exit.by_payer("minting", token, IERC20::mintCall { to, amount }.abi_encode()).await;
    let approve = IERC20::approveCall { spender: address(escrow), amount };
    exit.by_payer("approving", token, approve.abi_encode()).await;
    let mut deposit = keccak256("deposit(bytes32,uint128)")[..4].to_vec();
    deposit.extend(exit.channel.0);
    deposit.extend(amount.to_be_bytes::<32>());
    exit.by_payer("paying in", escrow, deposit).await;
    taken(&mut relay, pay(&ask)).await;
    assert_eq!(settle_now(&running).await.settled, 800);
    assert_eq!(exit.received().await, 1800);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f15_a_voucher_shown_many_times_is_collected_once() {
    let Some(exit) = Exit::new(1_000_000).await else { return };
    let running = exit.start().await;
    let mut relay = Relay::connect(&exit.config.socket, 1).await;
    relay.report(usage(exit.channel, 0, 1, 1000, 0)).await;
    let ask = relay.ask(exit.channel, 0, 1000).await;
    let offer = pay(&ask);
    let mut twin = offer;
    twin.signed.signature = malleable_twin(&offer.signed.signature);
    let answer = relay.offer(twin).await;
    assert!(matches!(answer, Frame::VoucherRefused(no) if no.refusal == Refusal::Signature));
    for _ in 0..3 {
        taken(&mut relay, offer).await;
    }
    let before = running.sidecar.clerk.view().await.unwrap();
    assert_eq!(before.vouchers_accepted, 1);
    for _ in 0..2 {
        settle_now(&running).await;
    }
    assert_eq!(exit.received().await, 1000);
    running.stop().await.unwrap();
}

/// The other signature of the same message, which is as good to a careless verifier.
fn malleable_twin(signature: &weir_usage::Signature) -> weir_usage::Signature {
    let order: U256 =
        "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141".parse().unwrap();
    let mut twin = *signature;
    let s = U256::from_be_slice(&signature.0[32..64]);
    twin.0[32..64].copy_from_slice(&(order - s).to_be_bytes::<32>());
    twin.0[64] = 55 - signature.0[64];
    twin
}

#[tokio::test(flavor = "multi_thread")]
async fn f16_small_and_old_vouchers_are_as_good_as_any() {
    let Some(exit) = Exit::new(1_000_000).await else { return };
    let running = exit.start().await;
    let nonce = exit.anvil.exit_nonce().await;
    let mut relay = use_and_pay(&exit.config, 1, exit.channel, 3).await;
    relay.report(usage(exit.channel, 0, 1, 10, 0)).await;
    let ask = relay.ask(exit.channel, 0, 10).await;
    taken(&mut relay, pay(&ask)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(exit.anvil.exit_nonce().await, nonce, "no gas for ten units");
    running.stop().await.unwrap();

    // Years later: it has not expired, and it is the sum of the small ones.
    exit.anvil.call("evm_increaseTime", json!([3 * 365 * 86_400])).await;
    exit.anvil.call("evm_mine", json!([])).await;
    let running = exit.start().await;
    let report = settle_now(&running).await;
    assert_eq!((report.claimed, exit.received().await), (10, 10));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f17_gas_wallet_low_is_loud() {
    let Some(mut exit) = Exit::new(1_000_000).await else { return };
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    exit.config.admin = Some(admin);
    let running = exit.start().await;
    let wallet = exit.anvil.exit_wallet().address().to_string();
    for (wei, low) in [("0x1", true), ("0x56bc75e2d63100000", false)] {
        exit.anvil.call("anvil_setBalance", json!([wallet, wei])).await;
        eventually("status and metrics say it", LONG, async || {
            let status = control::ask(&exit.config.control, &Request::Status).await.unwrap();
            let line = format!("weir_settle_wallet_low {}", u8::from(low));
            let metrics = http_get(admin, "/metrics").await;
            (status["chain"]["wallet_low"] == low && metrics.contains(&line)).then_some(())
        })
        .await;
    }
    running.stop().await.unwrap();
}
