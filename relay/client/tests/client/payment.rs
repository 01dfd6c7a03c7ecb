//! Paying a test relay: to the byte, never more than was received, through restarts of both.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use crate::support::apps::{self, socks_connect};
use crate::support::ledger::{self, LANE, PRICE};
use crate::support::{Ledger, Running, TestRelay, config, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_client::{Budget, Client, PayerConfig, SettleReport};
use weir_usage::Price;

pub(crate) fn payer(folder: &Path) -> PayerConfig {
    let signing_key_file = folder.join("key");
    std::fs::write(&signing_key_file, format!("0x{}\n", "07".repeat(32))).unwrap();
    PayerConfig {
        signing_key_file,
        channel: ledger::channel(),
        lane: LANE,
        chain_id: ledger::domain().chain_id,
        escrow: ledger::domain().escrow,
        price_max: Price::new(PRICE).unwrap(),
        budget: Budget::default(),
        state_file: folder.join("state.json"),
        period: Duration::from_millis(20),
        crash_allowance_bytes: 0,
        vouched_file: None,
    }
}

pub(crate) async fn move_bytes(client: &Running, size: usize) {
    let echo = apps::tcp_echo().await;
    let mut stream = socks_connect(client.socks, "echo.test", echo.port()).await.unwrap();
    stream.write_all(&vec![1; size]).await.unwrap();
    stream.read_exact(&mut vec![0; size]).await.unwrap();
}

pub(crate) async fn settle(client: &Running) -> SettleReport {
    weir_client::request_settle(client.admin, Duration::from_secs(10)).await.unwrap()
}

#[tokio::test]
async fn settles_to_the_byte_through_restarts_of_client_and_relay() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::default());
    let relay = TestRelay::start(&ledger);
    let mut with_payer = config(&relay);
    with_payer.payer = Some(payer(folder.path()));
    // A price of 2^30 per GiB makes a byte cost one unit.
    let mut total = 0;
    for size in [100_000, 1, 50_000] {
        let client = start(with_payer.clone()).await;
        move_bytes(&client, size).await;
        let report = settle(&client).await;
        total += 2 * size as u128;
        assert!(report.settled, "{report:?}");
        assert_eq!(report.payment.signed_amount, total.to_string());
        assert_eq!(ledger.paid(), total);
        client.stop().await;
    }
    // Unsettled bytes are paid on the way out.
    let client = start(with_payer.clone()).await;
    move_bytes(&client, 777).await;
    client.stop().await;
    assert_eq!(ledger.paid(), total + 2 * 777);
    // The state file is gone: what the relay holds carries the own signature and is taken over.
    std::fs::remove_file(folder.path().join("state.json")).unwrap();
    let client = start(with_payer).await;
    move_bytes(&client, 10).await;
    let report = settle(&client).await;
    assert!(report.settled, "{report:?}");
    assert_eq!(ledger.paid(), total + 2 * 787);
    client.stop().await;
}

#[tokio::test]
async fn over_billing_is_not_paid() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::default());
    let relay = TestRelay::start(&ledger);
    let mut with_payer = config(&relay);
    with_payer.payer = Some(payer(folder.path()));
    let client = start(with_payer).await;
    ledger.overbilled.store(5000, SeqCst);
    move_bytes(&client, 1000).await;
    let timeout = Duration::from_millis(300);
    let report = weir_client::request_settle(client.admin, timeout).await.unwrap();
    assert!(!report.settled);
    assert_eq!(ledger.paid(), 2000, "the own count is paid");
    assert_eq!(report.payment.asked_down_bytes, Some(6000));
    assert_eq!(report.payment.down_bytes, 1000);
    client.stop().await;
}

#[tokio::test]
async fn a_voucher_that_could_not_be_delivered_is_sent_again_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::default());
    let relay = TestRelay::start(&ledger);
    let mut with_payer = config(&relay);
    with_payer.payer = Some(payer(folder.path()));
    ledger.away.store(1, SeqCst);
    let client = start(with_payer.clone()).await;
    move_bytes(&client, 1000).await;
    let timeout = Duration::from_millis(300);
    let report = weir_client::request_settle(client.admin, timeout).await.unwrap();
    assert_eq!((report.settled, report.payment.accepted), (false, false));
    assert_eq!(report.payment.signed_amount, "2000", "it was signed nevertheless");
    assert_eq!(ledger.paid(), 0);
    client.kill();
    // The lock of the state file goes with the killed client's last task.
    ledger.away.store(0, SeqCst);
    let deadline = Instant::now() + Duration::from_secs(10);
    let client = loop {
        match Client::start(with_payer.clone()).await {
            Ok(client) => break client,
            Err(error) => assert!(error.to_string().contains("in use"), "{error}"),
        }
        assert!(Instant::now() < deadline, "the state file stays locked");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    client.run(async { tokio::time::sleep(Duration::from_millis(100)).await }).await.unwrap();
    assert_eq!(ledger.paid(), 2000);
}

#[tokio::test]
async fn another_channel_or_a_higher_price_is_not_paid_and_the_problem_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::default());
    let relay = TestRelay::start(&ledger);
    for (change, text) in [
        ((|p| p.price_max = Price::new(PRICE - 1).unwrap()) as fn(&mut PayerConfig), "ceiling"),
        (|p| p.lane = 4, "lane"),
        (|p| p.budget.total = Some(500), "budget in all"),
        (|p| p.budget.per_day = Some(500), "budget of a day"),
        (|p| p.chain_id = 1, "chain"),
    ] {
        let mut with_payer = config(&relay);
        let mut payer = payer(folder.path());
        change(&mut payer);
        payer.state_file = folder.path().join(text);
        with_payer.payer = Some(payer);
        let client = start(with_payer).await;
        move_bytes(&client, 1000).await;
        let timeout = Duration::from_millis(200);
        let report = weir_client::request_settle(client.admin, timeout).await.unwrap();
        let problem = report.payment.problem.unwrap_or_default();
        assert!(problem.contains(text) && problem.contains("nothing is signed"), "{problem}");
        assert_eq!(ledger.paid(), 0);
        client.stop().await;
    }
}
