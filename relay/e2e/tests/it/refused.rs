//! When a payer says no: over its budget, above its ceiling, and to an exit that bills what it
//! never got. Each with its words, and nothing signed beyond what is due.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::lab::socks::connect;
use crate::lab::target::tcp_echo;
use crate::lab::{PATIENCE, Relay, wait_for};
use crate::market::{Market, PRICE_PER_GIB, grant};
use crate::payer::{Payer, Trickle, echo, engine, number, options, run};

const WINDOW: u64 = 1 << 20;

/// One CONNECT of an HTTP proxy: head and body of the answer.
fn http_connect(proxy: SocketAddr, target: SocketAddr) -> String {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// How far the relay carried a lane, by its grant.
fn used(relay: &Relay, lane: u32) -> u64 {
    let status = relay.status();
    let mut grants = status["grants"].as_array().unwrap().iter();
    let found = grants.find(|found| found["name"] == *grant(lane)).expect("the grant");
    found["used_bytes"].as_u64().unwrap()
}

#[test]
fn a_used_up_budget_ends_the_service_and_says_so() {
    const BUDGET: u64 = 2 << 20;
    const CHUNK: usize = 16 << 10;
    let Some(market) = Market::start() else { return };
    let relay = market.relay(WINDOW, "");
    let payer = Payer::start(&market, &relay, 0, &format!("--payer-budget {BUDGET}"));
    let target = tcp_echo("127.0.0.1");
    let tunnel = payer.connect(target);
    let _trickle = Trickle::start(tunnel, CHUNK, Duration::ZERO);
    let problem = wait_for("the budget to be used up", || {
        let problem = payer.payment()["problem"].as_str()?.to_owned();
        problem.starts_with("the budget in all is 2097152 units").then_some(problem)
    });
    assert!(problem.ends_with("nothing is signed"), "{problem}");
    wait_for("the exit to stop", || {
        (relay.status()["grants"][1]["exhausted"] == true).then_some(())
    });

    // SOCKS knows only "general failure"; it isn't 2, "not allowed by ruleset".
    assert_eq!(connect(payer.socks, target).unwrap_err(), 1);
    let answer = http_connect(payer.http, target);
    assert!(answer.starts_with("HTTP/1.1 402 "), "{answer}");
    for said in [
        "the credit of this grant is used up",
        "`weir client usage` shows what keeps it from being signed: the budget in all is 2097152",
    ] {
        assert!(answer.contains(said) && payer.said().contains(said), "{said:?}: {answer}");
    }
    let text = payer.usage_text();
    assert!(text.contains("problem: the budget in all is 2097152 units"), "{text}");

    let (signed, (up, down)) = (payer.signed(), engine(&relay));
    assert!(signed <= BUDGET && up + down <= signed + WINDOW + (64 << 10), "{up} {down}");
    market.settle();
    market.has_claimed(0, signed.into());
    market.has_earned(signed.into());
}

#[test]
fn a_price_above_the_ceiling_is_refused_before_a_byte_flows() {
    let Some(market) = Market::start() else { return };
    let relay = market.relay(WINDOW, "");
    let listen = ["--socks".to_owned(), "127.0.0.1:0".to_owned()];
    // Until the exit knows its price, a client waits for it.
    let said = wait_for("the refusal", || {
        let mut options = options(&market, 1, PRICE_PER_GIB - 1);
        options.extend(listen.clone());
        match run(&relay, 1, options) {
            Ok((mut early, ..)) => {
                early.kill().unwrap();
                early.wait().unwrap();
                None
            }
            Err(said) => Some(said),
        }
    });
    for words in ["is above the configured ceiling of", "nothing is signed", "--payer-price-max"] {
        assert!(said.contains(words), "{words:?}: {said}");
    }
    assert_eq!(engine(&relay), (0, 0));
    // At the price itself it is served.
    let payer = Payer::start(&market, &relay, 1, "");
    echo(payer.connect(tcp_echo("127.0.0.1")), 1_000);
    payer.settle();
    assert_eq!(payer.signed(), 2_000);
}

/// Somebody else has the payer's token. The exit can't know, and bills both to the channel.
#[test]
fn bytes_that_never_came_are_not_paid_and_end_the_client_once_that_lasts() {
    const STOLEN: usize = 200_000;
    let Some(market) = Market::start() else { return };
    let relay = market.relay(WINDOW, "");
    let strict = "--payer-tolerance 0 --payer-overbilled-max 6";
    let target = tcp_echo("127.0.0.1");
    // A run that ends in order: after a crash the exit would be given a minute of the doubt.
    let mut payer = Payer::start(&market, &relay, 2, strict);
    echo(payer.connect(target), 10_000);
    payer.settle();
    payer.stop();

    let mut payer = Payer::start(&market, &relay, 2, strict);
    let thief = relay.client_at("127.0.0.1", 1, &grant(2)).unwrap_or_else(|log| panic!("{log}"));
    echo(connect(thief.socks, target).unwrap(), STOLEN);
    // While bytes move, the payer asks each period.
    let trickle = Trickle::start(payer.connect(target), 100, Duration::from_millis(20));
    wait_for("the payer to notice", || {
        (payer.payment()["overbilled_in_a_row"].as_u64()? > 0).then_some(())
    });
    trickle.finish();
    assert_eq!(payer.ends().code(), Some(69));
    let said = payer.said();
    for words in [
        "the exit bills more than this client can confirm; only the own counts are paid",
        "through with relay",
        "6 asks in a row",
        "Try another exit",
    ] {
        assert!(said.contains(words), "{words:?}: {said}");
    }
    let journal = payer.journal();
    let signed = number(&journal["signed_amount"]);
    let own = journal["up_bytes"].as_u64().unwrap() + journal["down_bytes"].as_u64().unwrap();
    assert_eq!(signed, own, "{journal}");
    relay.totals("tcp", 3);
    assert_eq!(used(&relay, 2), signed + 2 * STOLEN as u64);
    market.settle();
    market.has_claimed(2, signed.into());
    market.has_earned(signed.into());
}
