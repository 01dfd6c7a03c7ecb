//! The relay from end to end: the real binary as relay and as client, real sockets on loopback.

mod lab;

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::time::Duration;

use lab::socks::{Association, connect};
use lab::target::{sink_and_source, tcp_echo, udp_echo};
use lab::{Relay, http, wait_for};
use rustix::process::Signal;

const UP: usize = 3_000_001;
const DOWN: usize = 5_000_003;

fn backend(name: &str) -> String {
    format!("[io]\nbackend = \"{name}\"\n")
}

/// Uploads `UP` bytes, downloads `DOWN`, and expects both ledgers' totals to the byte.
fn tcp_is_counted_to_the_byte(relay: &Relay, host: &str, target_ip: &str) {
    let client = relay.client_at(host, 1, lab::TOKEN).unwrap();
    let target = sink_and_source(target_ip, DOWN);
    let mut stream = connect(client.socks, target).unwrap();
    stream.write_all(&vec![0xCD; UP]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), DOWN);
    assert!(got.iter().all(|byte| *byte == 0xAB));
    let totals = relay.totals("tcp", 1);
    for (direction, bytes) in [("up", UP), ("down", DOWN)] {
        assert_eq!(totals["a"][direction]["received"]["bytes"], bytes, "{direction}: {totals}");
        assert_eq!(totals["a"][direction]["forwarded"]["bytes"], bytes, "{direction}: {totals}");
    }
}

/// Datagrams of many sizes, the empty one among them, come back and are counted.
fn udp_is_counted_to_the_byte(relay: &Relay, host: &str, target_ip: &str) {
    let client = relay.client_at(host, 1, lab::TOKEN).unwrap();
    let target = udp_echo(target_ip);
    let sizes = [0, 1, 100, 0, 1_000, 1_100, 0];
    {
        let association = Association::open(client.socks);
        for (number, size) in sizes.into_iter().enumerate() {
            let payload = vec![number as u8; size];
            association.send(target, &payload);
            assert_eq!(association.receive(), payload, "datagram {number}");
        }
    }
    let totals = relay.totals("udp", 1);
    for direction in ["up", "down"] {
        let forwarded = &totals["a"][direction]["forwarded"];
        assert_eq!(forwarded["datagrams"], sizes.len(), "{direction}: {totals}");
        assert_eq!(forwarded["bytes"], sizes.iter().sum::<usize>(), "{direction}: {totals}");
    }
}

#[test]
fn tcp_over_uring() {
    let relay = Relay::start(1, &backend("auto"));
    tcp_is_counted_to_the_byte(&relay, "127.0.0.1", "127.0.0.1");
}

#[test]
fn tcp_over_poll() {
    let relay = Relay::start(1, &backend("poll"));
    assert_eq!(relay.status()["backend"]["kind"], "poll");
    tcp_is_counted_to_the_byte(&relay, "127.0.0.1", "127.0.0.1");
}

#[test]
fn tcp_over_ipv6() {
    let relay = Relay::start(2, "");
    tcp_is_counted_to_the_byte(&relay, "[::1]", "::1");
}

#[test]
fn udp_over_uring() {
    let relay = Relay::start(1, &backend("auto"));
    udp_is_counted_to_the_byte(&relay, "127.0.0.1", "127.0.0.1");
}

#[test]
fn udp_over_poll() {
    let relay = Relay::start(1, &backend("poll"));
    udp_is_counted_to_the_byte(&relay, "127.0.0.1", "127.0.0.1");
}

#[test]
fn udp_over_ipv6() {
    let relay = Relay::start(2, "");
    udp_is_counted_to_the_byte(&relay, "[::1]", "::1");
}

#[test]
fn a_denied_target_is_refused_and_a_refusing_one_reported() {
    let relay = Relay::start(1, "");
    let client = relay.client(1);
    // RFC 1928 section 6: 2 is "not allowed by ruleset", 5 "connection refused".
    assert_eq!(connect(client.socks, "127.0.0.2:80".parse().unwrap()).unwrap_err(), 2);
    let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], lab::free_port()));
    assert_eq!(connect(client.socks, nobody).unwrap_err(), 5);
    wait_for("the refusal to be counted", || {
        let (_, metrics) = http(relay.admin, "GET", "/metrics")?;
        metrics.contains("weir_requests_prohibited_total{worker=\"0\"} 1\n").then_some(())
    });
}

#[test]
fn a_grant_with_all_its_tunnels_open_is_told_so() {
    let hash = lab::sha256_hex("narrow-token");
    let grant = format!("[[grant]]\nname = \"narrow\"\ntoken_sha256 = \"{hash}\"\ntunnels = 1\n");
    let relay = Relay::start(1, &grant);
    let client = relay.client_at("127.0.0.1", 1, "narrow-token").unwrap();
    let target = tcp_echo("127.0.0.1");
    let open = connect(client.socks, target).unwrap();
    // Not 2, "not allowed by ruleset": it is no matter of this target.
    assert_eq!(connect(client.socks, target).unwrap_err(), 1);
    let said = std::fs::read_to_string(&client.log).unwrap();
    assert!(said.contains("has as many tunnels open as it may; close some"), "{said}");
    assert!(said.contains("(relay: 429)") && !said.contains("policy"), "{said}");
    drop(open);
    let _again = wait_for("the place to be free", || connect(client.socks, target).ok());
}

#[test]
fn a_wrong_token_is_told_at_the_start_of_the_client() {
    let relay = Relay::start(1, "");
    let said = relay.client_at("127.0.0.1", 1, "not-the-token").err().expect("a refusal");
    assert!(said.contains("token"), "{said}");
    assert!(!said.contains("not-the-token"), "{said}");
}

/// Both steerings bring every packet to its worker: by the classic program, and by handing over.
#[test]
fn connections_spread_over_workers() {
    for steering in ["classic", "hash"] {
        let relay = Relay::start(2, &format!("[io]\nsteering = \"{steering}\"\n"));
        assert_eq!(relay.status()["steering"]["kind"], steering);
        let client = relay.client(8);
        let target = tcp_echo("127.0.0.1");
        for _ in 0..16 {
            let mut stream = connect(client.socks, target).unwrap();
            stream.write_all(b"ping").unwrap();
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"ping");
        }
        let totals = relay.totals("tcp", 16);
        assert_eq!(totals["a"]["up"]["forwarded"]["bytes"], 64, "{steering}: {totals}");
    }
}

#[test]
fn a_drain_lets_tunnels_finish() {
    let mut relay = Relay::start(2, "");
    let client = relay.client(1);
    let mut stream = connect(client.socks, tcp_echo("127.0.0.1")).unwrap();
    relay.signal(Signal::TERM);
    wait_for("readiness to end", || (http(relay.admin, "GET", "/readyz")?.0 == 503).then_some(()));
    stream.write_all(b"still here").unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"still here");
    drop(stream);
    drop(client);
    assert_eq!(relay.wait_exit().code(), Some(0), "{}", relay.log());
    assert_eq!(std::fs::read_dir(relay.path("run/ledger")).unwrap().count(), 0);
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut relay = Relay::start(1, "");
    let client = relay.client(1);
    let _stream = connect(client.socks, tcp_echo("127.0.0.1")).unwrap();
    relay.signal(Signal::TERM);
    wait_for("the drain", || relay.log().contains("draining").then_some(()));
    let before = std::time::Instant::now();
    relay.signal(Signal::TERM);
    assert_eq!(relay.wait_exit().code(), Some(0), "{}", relay.log());
    // The drain lasts 8 s.
    assert!(before.elapsed() < Duration::from_secs(6));
}

#[test]
fn sighup_takes_new_grants_and_refuses_a_broken_file() {
    let relay = Relay::start(1, "");
    let file = relay.path("relay.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    assert!(relay.client_at("127.0.0.1", 1, "second-token").is_err());
    let hash = lab::sha256_hex("second-token");
    let more = format!("{good}\n[[grant]]\nname = \"second\"\ntoken_sha256 = \"{hash}\"\n");
    std::fs::write(&file, &more).unwrap();
    relay.signal(Signal::HUP);
    wait_for("the reload", || relay.log().contains("configuration reloaded").then_some(()));
    drop(relay.client_at("127.0.0.1", 1, "second-token").unwrap());
    std::fs::write(&file, "[relay]\nlissten = []\n").unwrap();
    relay.signal(Signal::HUP);
    wait_for("the refusal", || relay.log().contains("the old configuration stays").then_some(()));
    assert!(relay.log().contains("did you mean `listen`?"), "{}", relay.log());
    drop(relay.client_at("127.0.0.1", 1, "second-token").unwrap());
}

#[test]
fn kill_9_loses_no_count() {
    let mut relay = Relay::start(1, "");
    let client = relay.client(1);
    let mut stream = connect(client.socks, tcp_echo("127.0.0.1")).unwrap();
    let mut answer = vec![0; 1 << 20];
    stream.write_all(&answer).unwrap();
    stream.read_exact(&mut answer).unwrap();
    // Uplink that the target answered was forwarded, and published before the answer was read.
    relay.child.kill().unwrap();
    relay.child.wait().unwrap();
    drop((stream, client));
    assert_eq!(std::fs::read_dir(relay.path("run/ledger")).unwrap().count(), 1);
    relay.restart();
    let inherited = relay.status()["inherited"]["tcp"].clone();
    assert_eq!(inherited["tunnels"], 1, "{inherited}");
    assert_eq!(inherited["a"]["up"]["forwarded"]["bytes"], 1 << 20, "{inherited}");
    let down = inherited["a"]["down"]["forwarded"]["bytes"].as_u64().unwrap();
    assert_eq!(down, 1 << 20, "{inherited}");
    assert_eq!(relay.status()["totals"]["tcp"]["tunnels"], 0);
    // The dead process' file is gone, the living one's is there.
    assert_eq!(std::fs::read_dir(relay.path("run/ledger")).unwrap().count(), 1);
}
