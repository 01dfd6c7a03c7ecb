//! Two sidecars with one usage key: refused on one host, noticed on two.

use weir_settle::config::Config;
use weir_settle::journal::entry::Item;
use weir_settle::journal::scan;
use weir_settle::sidecar::{self, Running};
use weir_settle::storage::{FileStorage, ReadOnly};
use weir_usage::{Address, Frame};

use crate::bond::weir_settle;
use crate::chain::{LONG, settle_now, start, use_and_pay};
use crate::common::service::key_file;
use crate::common::{eventually, pay, usage};
use crate::duties::{BOND, Exit, names};

/// `Exit::new`'s exit once more, as a second host with a copy of everything but the journal.
fn second_host(exit: &Exit) -> Config {
    let mut config = exit.config.clone();
    for path in [&mut config.journal, &mut config.socket, &mut config.control] {
        path.as_mut_os_string().push("-2");
    }
    let copy = exit.anvil.path("copy");
    std::fs::create_dir(&copy).unwrap();
    config.usage_key = Some(key_file(&copy, 2));
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_usage_key_has_one_sidecar_on_a_host() {
    let Some(exit) = Exit::new(&[], BOND).await else { return };
    let mut other = second_host(&exit);
    other.usage_key = exit.config.usage_key.clone();
    let start = async || {
        let storage = FileStorage::open(&other.journal).unwrap();
        sidecar::start(other.clone(), storage, exit.anvil.payer_wallet()).await
    };
    let running = exit.start().await;
    let refused = start().await.unwrap_err().to_string();
    assert!(refused.contains("key-2 is in use by another weir-settle"), "{refused}");
    assert!(refused.contains("a usage key and a stake of its own"), "{refused}");
    assert!(!other.socket.exists(), "nothing is left of it");
    // Commands that sign what the journal says go on beside it.
    let (toml, out) = (exit.anvil.path("settle.toml"), exit.anvil.path("export.json"));
    let (toml, out) = (toml.display().to_string(), out.display().to_string());
    let bond = Address([0xb0; 20]).to_string();
    weir_settle(&["evidence", "export", "-c", &toml, "--bond", &bond, "-o", &out]).unwrap();
    // Kill -9 leaves nothing that a human would have to remove.
    running.kill().await;
    start().await.unwrap().stop().await.unwrap();
}

/// A copy of the whole exit runs on another host, as after a failover that wasn't one.
#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_with_the_same_keys_on_another_host_stops_the_signing() {
    let Some(exit) = Exit::new(&[], BOND).await else { return };
    let other = second_host(&exit);
    let start = async |config: &Config| {
        start(&exit.anvil, config, FileStorage::open(&config.journal).unwrap()).await
    };
    let trouble = async |running: &Running, epoch: u64| {
        let words = eventually("the other one is noticed", LONG, async || {
            running.sidecar.driver.view().vouch_trouble.clone()
        })
        .await;
        let found = format!("for epoch {epoch} that this journal never planned");
        assert!(words.contains(&found) && words.contains("Stop the other one"), "{words}");
        assert!(names(running).contains(&"statement"));
    };
    let vouched = |config: &Config| {
        let mut found = 0;
        scan(&ReadOnly::open(&config.journal).unwrap(), |_, _, entry| {
            found += u32::from(matches!(entry.item, Item::Vouched(_)));
            Ok(())
        })
        .unwrap();
        found
    };
    let running = start(&exit.config).await;
    let mut relay = use_and_pay(&exit.config, 1, exit.channel, 1000).await;
    assert_eq!(settle_now(&running).await.epoch, Some(1));
    eventually("a statement", LONG, async || {
        (running.sidecar.driver.view().vouched == Some(1)).then_some(())
    })
    .await;

    // The second one sees at start that it isn't the first; money is collected all the same.
    let second = start(&other).await;
    trouble(&second, 1).await;
    drop(use_and_pay(&other, 2, exit.channel, 2000).await);
    let report = settle_now(&second).await;
    assert_eq!((report.epoch, report.claimed), (Some(2), 1000));
    assert_eq!((vouched(&other), vouched(&exit.config)), (0, 1));

    // The first one sees it when it anchors the next time.
    relay.report(usage(exit.channel, 0, 1, 3000, 0)).await;
    let ask = relay.ask(exit.channel, 0, 3000).await;
    eventually("the voucher is taken", LONG, async || {
        let answer = relay.offer(pay(&ask)).await;
        matches!(answer, Frame::VoucherAck(_)).then_some(())
    })
    .await;
    assert_eq!(settle_now(&running).await.epoch, Some(3));
    trouble(&running, 2).await;
    assert_eq!((vouched(&other), vouched(&exit.config)), (0, 1), "two stories are never signed");

    // Once the other one is gone, a restart goes on, with what this journal has anchored.
    second.stop().await.unwrap();
    running.stop().await.unwrap();
    let running = start(&exit.config).await;
    eventually("a statement", LONG, async || {
        (running.sidecar.driver.view().vouched == Some(3)).then_some(())
    })
    .await;
    assert_eq!(running.sidecar.driver.view().vouch_trouble, None);
    running.stop().await.unwrap();
}
