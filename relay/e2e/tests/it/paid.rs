//! What was carried is what is paid: the payer's journal, the engine, the sidecar and the chain
//! agree to the byte and to the unit, and go on agreeing when one of them is killed.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::time::Duration;

use crate::lab::socks::Association;
use crate::lab::target::{sink_and_source, tcp_echo, udp_echo};
use crate::lab::{Relay, wait_for};
use crate::market::{Market, PRICE_PER_GIB, wait_reported};
use crate::payer::{Payer, Trickle, echo, engine, number};

const WINDOW: u64 = 8 << 20;

/// Everybody's count of the only lane in use, compared when nothing moves. Returns the bytes.
fn all_agree(market: &Market, relay: &Relay, payer: &Payer) -> u64 {
    payer.settle();
    wait_reported(relay);
    let (up, down) = engine(relay);
    let amount = up + down;
    market.settle();

    let usage = payer.usage();
    let payment = &usage["client"]["payment"];
    for count in ["up_bytes", "asked_up_bytes"] {
        assert_eq!(payment[count], up, "{count}: {payment}");
    }
    for count in ["down_bytes", "asked_down_bytes"] {
        assert_eq!(payment[count], down, "{count}: {payment}");
    }
    assert_eq!(number(&payment["signed_amount"]), amount, "{payment}");
    assert!(payment["accepted"] == true && payment["problem"].is_null(), "{payment}");
    let journal = &usage["journals"][0];
    assert_eq!((&journal["up_bytes"], &journal["down_bytes"]), (&up.into(), &down.into()));
    assert_eq!(number(&journal["signed_amount"]), amount, "{journal}");
    // The test may run over midnight.
    let days = journal["days"].as_array().unwrap();
    assert_eq!(days.iter().map(|day| number(&day["amount"])).sum::<u64>(), amount, "{journal}");
    let paid = |day: &serde_json::Value| {
        day["paid_up_bytes"].as_u64().unwrap() + day["paid_down_bytes"].as_u64().unwrap()
    };
    assert_eq!(days.iter().map(paid).sum::<u64>(), amount, "{journal}");

    market.has_claimed(0, amount.into());
    market.has_earned(amount.into());
    let lane = market.lane(0);
    assert_eq!((&lane["up_bytes"], &lane["down_bytes"]), (&up.into(), &down.into()), "{lane}");
    for sum in ["used", "asked", "vouchered"] {
        assert_eq!(number(&lane[sum]), amount, "{sum}: {lane}");
    }
    amount
}

#[test]
fn all_counts_agree_to_the_byte_and_the_unit() {
    let Some(market) = Market::start() else { return };
    let relay = market.relay(WINDOW, "");
    let payer = Payer::start(&market, &relay, 0, "");
    let (up, down) = (1_500_001, 2_500_003);
    let mut stream = payer.connect(sink_and_source("127.0.0.1", down));
    stream.write_all(&vec![0xcd; up]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), down);
    relay.totals("tcp", 1);
    let (target, sizes) = (udp_echo("127.0.0.1"), [0, 1, 700, 1_100]);
    {
        let association = Association::open(payer.socks);
        for size in sizes {
            association.send(target, &vec![7; size]);
            assert_eq!(association.receive().len(), size);
        }
    }
    relay.totals("udp", 1);

    let amount = all_agree(&market, &relay, &payer);
    let datagrams: usize = sizes.iter().sum();
    assert_eq!(amount as usize, up + down + 2 * datagrams);
    let (up, down) = (up + datagrams, down + datagrams);
    let text = payer.usage_text();
    for said in [
        format!("the exit asks for {up} bytes up and {down} down; own counts {up} and {down}"),
        format!("channel {} lane 0 on chain {}", market.channel, market.chain.id()),
        format!("{amount} units signed, voucher "),
        format!("https://127.0.0.1:{}", relay.port),
        PRICE_PER_GIB.to_string(),
    ] {
        assert!(text.contains(&said), "{said:?} is not in\n{text}");
    }
    let all = text.lines().find(|line| line.trim_start().starts_with("all")).expect("a sum");
    let sum: Vec<&str> = all.split_whitespace().skip(1).collect();
    let (amount, up, down) = (amount.to_string(), up.to_string(), down.to_string());
    assert_eq!(sum[..3], [up.as_str(), &down, &amount], "{text}");
    assert_eq!(sum[4], amount, "{text}");
}

#[test]
fn a_sidecar_that_is_killed_in_mid_traffic_bills_nothing_twice_and_forgets_nothing() {
    let Some(mut market) = Market::start() else { return };
    let relay = market.relay(WINDOW, "");
    let payer = Payer::start(&market, &relay, 0, "");
    // More than the credit that is left when the sidecar dies, so it can't end without it.
    let size = 4 * WINDOW as usize;
    let mut stream = payer.connect(sink_and_source("127.0.0.1", size));
    stream.shutdown(Shutdown::Write).unwrap();
    let reader = std::thread::spawn(move || stream.read_to_end(&mut Vec::new()).unwrap());
    wait_for("traffic", || (engine(&relay).1 > 1 << 20).then_some(()));
    market.kill_sidecar();
    let paid = payer.signed();
    wait_for("the window to be used up", || {
        (relay.status()["grants"][1]["exhausted"] == true).then_some(())
    });
    let (up, down) = engine(&relay);
    // What was signed meanwhile can't have been acknowledged: nobody is there to journal it.
    assert!(up + down <= payer.signed().max(paid) + WINDOW + (256 << 10), "{up} {down} {paid}");
    assert!(!reader.is_finished(), "all of it came without the sidecar");
    market.restart_sidecar();
    assert_eq!(reader.join().unwrap(), size);
    relay.totals("tcp", 1);
    let amount = all_agree(&market, &relay, &payer);
    assert_eq!(amount as usize, size);

    // And once more while nothing moves.
    market.kill_sidecar();
    market.restart_sidecar();
    echo(payer.connect(tcp_echo("127.0.0.1")), 100_000);
    relay.totals("tcp", 2);
    assert_eq!(all_agree(&market, &relay, &payer), amount + 200_000);
}

#[test]
fn a_client_that_is_killed_in_mid_traffic_pays_for_what_it_knows_of_and_once() {
    let Some(market) = Market::start() else { return };
    let relay = market.relay(WINDOW, "");
    let mut payer = Payer::start(&market, &relay, 0, "");
    let target = tcp_echo("127.0.0.1");
    let tunnel = payer.connect(target);
    // Slow enough that the window never fills up between two vouchers.
    let trickle = Trickle::start(tunnel, 4 << 10, Duration::from_millis(2));
    let seen = wait_for("vouchers", || Some(payer.signed()).filter(|signed| *signed > 256 << 10));
    payer.kill();
    drop(trickle);
    let known = payer.journal();
    assert!(number(&known["signed_amount"]) >= seen, "{known}");

    // The exit notices after 10 s that nobody is there any more.
    let payer = Payer::start(&market, &relay, 0, "");
    let billed = || {
        wait_reported(&relay);
        market.settle();
        let lane = market.lane(0);
        (lane["up_bytes"].as_u64().unwrap(), lane["down_bytes"].as_u64().unwrap())
    };
    let paid = |due: u64| {
        wait_for("the own counts to be paid", || {
            let payment = payer.payment();
            (number(&payment["signed_amount"]) == due && payment["accepted"] == true).then_some(())
        });
        market.settle();
        market.has_claimed(0, due.into());
        market.has_earned(due.into());
    };
    let (up, down) = billed();
    // It signs for the smaller count of each direction.
    let own = |of: &str| known[of].as_u64().unwrap();
    let due = own("up_bytes").min(up) + own("down_bytes").min(down);
    paid(due);
    let lost = up + down - due;
    assert!(lost <= WINDOW, "{lost} bytes are unpaid, more than the window");

    // It goes on from there: what comes now is paid in full, what was lost stays lost.
    let more = 100_000;
    echo(payer.connect(target), more);
    let due = due + 2 * more as u64;
    paid(due);
    let (up, down) = billed();
    assert_eq!(up + down - due, lost);
    paid(due);
}
