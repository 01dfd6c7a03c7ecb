//! Vouchers claimed and settled on a development chain that makes a block per transaction.

use std::time::{Duration, Instant};

use serde_json::{Map, json};
use weir_settle::sidecar;
use weir_settle::storage::FileStorage;
use weir_usage::Frame;

use crate::Measured;
use crate::common::anvil::Anvil;
use crate::common::relay::Relay;
use crate::common::{eventually, pay, usage};

/// Three transactions of 100 vouchers, which is what one holds by default.
const LANES: u32 = 300;
const BYTES: u64 = 10_000;

pub(crate) fn measure() -> Measured {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(run())
}

async fn run() -> Measured {
    let anvil = Anvil::start(&[]).await.expect("anvil: run `cargo xtask setup`");
    let contracts = anvil.deploy().await;
    let terms = anvil.open(&contracts, 1, u128::from(LANES) * u128::from(BYTES)).await;
    let channel = terms.id(&contracts.domain);
    let mut config = anvil.config(&contracts, &terms, "");
    config.channels[0].lanes = (0..LANES).collect();
    let storage = FileStorage::open(&config.journal).expect("a journal");
    let running = sidecar::start(config.clone(), storage, anvil.exit_wallet()).await;
    let running = running.expect("the sidecar starts");

    let mut relay = Relay::connect(&config.socket, 1).await;
    for lane in 0..LANES {
        relay.report(usage(channel, lane, u128::from(lane) + 1, BYTES, 0)).await;
        let ask = relay.ask(channel, lane, BYTES).await;
        // Until the sidecar has looked at the chain it can't know that the deposit is there.
        eventually("a voucher is taken", Duration::from_secs(30), async || {
            matches!(relay.offer(pay(&ask)).await, Frame::VoucherAck(_)).then_some(())
        })
        .await;
    }

    let start = Instant::now();
    let report = running.sidecar.driver.settle_now().await.expect("the driver lives");
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!(report.claimed, u128::from(LANES) * u128::from(BYTES), "to the unit");
    let claims = report.transactions.iter().filter(|done| done.kind == "claim");
    let gas: u64 = claims.clone().map(|done| done.gas_used).sum();
    let mut figures = Map::new();
    figures.insert("transactions".into(), json!(claims.count()));
    figures.insert("gas_per_voucher".into(), json!(gas / u64::from(LANES)));
    running.stop().await.expect("the journal closes");
    Measured { units: LANES.into(), seconds, cpu_ns: None, figures }
}
