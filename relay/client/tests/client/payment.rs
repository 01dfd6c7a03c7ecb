//! Paying a test relay: to the byte, never more than was received, through restarts of both.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use crate::support::apps::{self, socks_connect};
use crate::support::ledger::{self, LANE, PRICE};
use crate::support::{Ledger, Running, TestRelay, config, eventually, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_client::purse::{DayReport, Tolerance, read_journal};
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
        state_file: folder.join("journal"),
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
    // The journal is gone: what the relay holds carries the own signature and is taken over.
    std::fs::remove_file(folder.path().join("journal")).unwrap();
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
    // The lock of the journal goes with the killed client's last task.
    ledger.away.store(0, SeqCst);
    let deadline = Instant::now() + Duration::from_secs(10);
    let client = loop {
        match Client::start(with_payer.clone()).await {
            Ok(client) => break client,
            Err(error) => assert!(error.to_string().contains("in use"), "{error}"),
        }
        assert!(Instant::now() < deadline, "the journal stays locked");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    client.run(async { tokio::time::sleep(Duration::from_millis(100)).await }).await.unwrap();
    assert_eq!(ledger.paid(), 2000);
}

#[tokio::test]
async fn other_terms_are_refused_before_a_byte_flows() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::default());
    let relay = TestRelay::start(&ledger);
    for (name, change, texts) in [
        (
            "price",
            (|p| p.price_max = Price::new(PRICE - 1).unwrap()) as fn(&mut PayerConfig),
            ["price of 1073741824 units/GiB", "ceiling of 1073741823", "--payer-price-max"],
        ),
        ("lane", |p| p.lane = 4, ["lane 3", "lane 4", "compare"]),
        ("chain", |p| p.chain_id = 1, ["chain 31337", "chain 1 ", "compare"]),
    ] {
        let mut with_payer = config(&relay);
        let mut payer = payer(folder.path());
        change(&mut payer);
        payer.state_file = folder.path().join(name);
        with_payer.payer = Some(payer);
        let error = Client::start(with_payer).await.unwrap_err().to_string();
        assert!(texts.iter().all(|text| error.contains(text)), "{error}");
    }
    assert_eq!(ledger.bytes(), (0, 0));
}

#[tokio::test]
async fn no_tunnel_is_opened_before_the_price_is_known_or_once_it_is_too_high() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::default());
    let relay = TestRelay::start(&ledger);
    let mut with_payer = config(&relay);
    with_payer.payer = Some(payer(folder.path()));
    ledger.silent.store(1, SeqCst);
    let client = start(with_payer).await;
    let echo = apps::tcp_echo().await;
    let refused = socks_connect(client.socks, "echo.test", echo.port()).await;
    assert_eq!(refused.unwrap_err(), 1);
    let answer = apps::http(client.http, "CONNECT echo.test:1 HTTP/1.1\r\n\r\n").await;
    assert!(answer.contains("terms") && answer.contains("sidecar is away"), "{answer}");
    assert_eq!(client.usage().await.total.refused, 0, "the relay was not asked");
    ledger.silent.store(0, SeqCst);
    eventually("the price is known", || async {
        socks_connect(client.socks, "echo.test", echo.port()).await.is_ok()
    })
    .await;
    let mut stream = socks_connect(client.socks, "echo.test", echo.port()).await.unwrap();
    ledger.dearer.store(1, SeqCst);
    stream.write_all(&[1; 100]).await.unwrap();
    eventually("the new price is known", || async {
        socks_connect(client.socks, "echo.test", echo.port()).await.is_err()
    })
    .await;
    client.stop().await;
}

#[tokio::test]
async fn a_budget_that_is_spent_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::default());
    let relay = TestRelay::start(&ledger);
    for (change, text) in [
        ((|p| p.budget.total = Some(500)) as fn(&mut PayerConfig), "budget in all"),
        (|p| p.budget.per_day = Some(500), "budget of a day"),
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

#[tokio::test]
async fn over_billing_that_lasts_ends_the_client_after_it_paid_what_came() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::default());
    let relay = TestRelay::start(&ledger);
    let mut with_payer = config(&relay);
    with_payer.payer = Some(payer(folder.path()));
    // A first run: what an exit is ahead then may be what the last client forgot in a crash.
    start(with_payer.clone()).await.stop().await;
    let in_flight = Duration::from_millis(500);
    with_payer.tolerance = Tolerance { in_flight, bytes: 4_000, permille: 10, asks_max: 3 };
    let client = Client::start(with_payer).await.unwrap();
    let (socks, admin) = (client.socks_addr().unwrap(), client.admin_addr().unwrap());
    let mut run = tokio::spawn(client.run(std::future::pending()));
    let echo = apps::tcp_echo().await;
    let mut stream = socks_connect(socks, "echo.test", echo.port()).await.unwrap();
    stream.write_all(&[1; 1000]).await.unwrap();
    stream.read_exact(&mut [0; 1000]).await.unwrap();
    // Within the tolerance: of 5,000 bytes, 4,000 and 1 %.
    ledger.overbilled.store(4_000, SeqCst);
    tokio::time::sleep(in_flight * 3).await;
    let usage = weir_client::fetch_usage(admin).await.unwrap();
    assert_eq!(usage.payment.unwrap().overbilled_asks, 0);
    ledger.overbilled.store(5_000, SeqCst);
    eventually("over-billing is counted", || async {
        let usage = weir_client::fetch_usage(admin).await;
        let (status, page) = apps::get(admin, "/metrics").await;
        assert!(status == 0 || page.contains("weir_client_overbilled_asks_total{"), "{page}");
        usage.is_err() || usage.unwrap().payment.unwrap().overbilled_asks > 0
    })
    .await;
    let ended = tokio::time::timeout(Duration::from_secs(60), &mut run).await.unwrap().unwrap();
    let error = ended.unwrap_err().to_string();
    for text in [&relay.address.to_string(), "6000 down", "1000 and 1000", "3 asks in a row"] {
        assert!(error.contains(text), "{error}");
    }
    assert_eq!(ledger.paid(), 2_000);
}

#[tokio::test]
async fn the_journal_says_what_was_paid_for_what_and_takes_the_old_state_over() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::default());
    let relay = TestRelay::start(&ledger);
    let mut with_payer = config(&relay);
    let payer = payer(folder.path());
    let journal = payer.state_file.clone();
    with_payer.payer = Some(payer);
    // As an older client left it: 500 bytes, paid with the exit's knowledge.
    let signed = ledger.pay_before(200, 300);
    let old = serde_json::json!({
        "version": 1, "chain_id": ledger::domain().chain_id,
        "escrow": ledger::domain().escrow.to_string(), "channel": ledger::channel().to_string(),
        "lane": LANE, "up_bytes": 200, "down_bytes": 300, "clean": true,
        "voucher": {
            "amount": "500", "seq": 1, "usage_head": signed.voucher.usage_head.to_string(),
            "signature": signed.signature.to_string(), "up_bytes": 200, "down_bytes": 300,
            "accepted": true,
        },
        "day": { "number": 20_000, "before": "0" },
    });
    std::fs::write(&journal, serde_json::to_string_pretty(&old).unwrap()).unwrap();
    assert_eq!(read_journal(&journal).unwrap().signed_amount, "500");
    for _ in 0..2 {
        let client = start(with_payer.clone()).await;
        move_bytes(&client, 1_000).await;
        assert!(settle(&client).await.settled);
        client.stop().await;
    }
    assert_eq!(ledger.paid(), 4_500);
    let report = read_journal(&journal).unwrap();
    assert_eq!((report.up_bytes, report.down_bytes), (2_200, 2_300));
    assert_eq!((report.signed_amount.as_str(), report.lane), ("4500", LANE));
    let (first, rest) = report.days.split_first().unwrap();
    assert_eq!((first.day.as_ref(), first.amount.as_str(), first.up_bytes), (None, "500", 200));
    // One row, or two if midnight passed.
    let sum = |field: fn(&DayReport) -> u64| rest.iter().map(field).sum::<u64>();
    assert_eq!((sum(|day| day.up_bytes), sum(|day| day.down_bytes)), (2_000, 2_000));
    assert_eq!((sum(|day| day.paid_up_bytes), sum(|day| day.paid_down_bytes)), (2_000, 2_000));
    assert!(sum(|day| day.vouchers) >= 2);
    let price = PRICE.to_string();
    for day in rest {
        assert_eq!(day.exit, format!("https://{}", relay.address));
        assert_eq!((day.price_min.as_ref(), day.price_max.as_ref()), (Some(&price), Some(&price)));
    }
    // The old file is kept beside it; a second client would only find the journal.
    assert!(folder.path().join("journal.1").exists());
    let text = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, text.replacen("\"lane\":3", "\"lane\":4", 1)).unwrap();
    let error = Client::start(with_payer).await.unwrap_err().to_string();
    assert!(error.contains("is damaged in line 1, at byte 0"), "{error}");
}
