//! Tunnels through a client and a test relay: what goes in comes out, and is counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::support::apps::{self, datagram, socks_connect, socks_udp};
use crate::support::relay::CAPSULE_HOST;
use crate::support::{Ledger, TestRelay, config, eventually, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_client::{Client, Trust};

async fn exchange(mut stream: tokio::net::TcpStream, size: usize) {
    let sent: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
    let (mut reader, mut writer) = stream.split();
    let send = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let receive = async { reader.read_to_end(&mut received).await.unwrap() };
    tokio::join!(send, receive);
    assert!(received == sent, "{} of {size} bytes came back right", received.len());
}

#[tokio::test]
async fn tcp_carries_both_directions_and_half_close_and_both_ends_count_the_same() {
    let ledger = Arc::new(Ledger::default());
    let relay = TestRelay::start(&ledger);
    let client = start(config(&relay)).await;
    let echo = apps::tcp_echo().await;
    let size = 3_000_000;
    for host in ["echo.test", "127.0.0.1"] {
        let stream = socks_connect(client.socks, host, echo.port()).await.unwrap();
        exchange(stream, size).await;
    }
    let expected = 2 * size as u64;
    eventually("the tunnels are closed", || async { client.usage().await.open.is_empty() }).await;
    let usage = client.usage().await;
    assert_eq!((usage.tcp.up.bytes, usage.tcp.down.bytes), (expected, expected));
    assert_eq!((usage.tcp.tunnels, usage.total.tunnels, usage.udp.tunnels), (2, 2, 0));
    assert_eq!(ledger.bytes(), (expected, expected));
    assert_eq!(usage.targets.len(), 2);
    assert_eq!(usage.connections, 1);
    client.stop().await;
}

#[tokio::test]
async fn a_reset_of_the_target_reaches_the_application_as_one() {
    let ledger = Arc::new(Ledger::default());
    let relay = TestRelay::start(&ledger);
    let client = start(config(&relay)).await;
    let target = apps::tcp_resetter().await;
    let mut stream = socks_connect(client.socks, "r.test", target.port()).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    let error = stream.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    client.stop().await;
}

#[tokio::test]
async fn refusals_have_the_reply_that_says_why() {
    let ledger = Arc::new(Ledger::default());
    let relay = TestRelay::start(&ledger);
    let client = start(config(&relay)).await;
    for (host, reply, status) in [
        ("private.test", 2, 403),
        ("nx.test", 4, 502),
        ("slow.test", 6, 504),
        ("127.0.0.1", 5, 502),
    ] {
        // Port 1 of this host is closed.
        let code = socks_connect(client.socks, host, 1).await.unwrap_err();
        assert_eq!(code, reply, "{host}");
        let answer = apps::http(client.http, &format!("CONNECT {host}:1 HTTP/1.1\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
        assert!(answer.contains("\r\nproxy-status: test; error="), "{host}: {answer}");
    }
    assert_eq!(client.usage().await.tcp.refused, 8);
    assert_eq!(client.usage().await.total.tunnels, 0);
    client.stop().await;
}

#[tokio::test]
async fn the_http_proxy_tunnels_connect_and_refuses_the_rest_in_words() {
    let ledger = Arc::new(Ledger::default());
    let relay = TestRelay::start(&ledger);
    let client = start(config(&relay)).await;
    let echo = apps::tcp_echo().await;
    let mut stream = tokio::net::TcpStream::connect(client.http).await.unwrap();
    // The payload follows the head in one write.
    let head = format!("CONNECT echo.test:{} HTTP/1.1\r\nHost: x\r\n\r\nearly", echo.port());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "HTTP/1.1 200 OK\r\n\r\nearly");
    let long = "x".repeat(20_000);
    for (request, status) in [
        ("GET http://web.test/ HTTP/1.1\r\n\r\n", 501),
        ("GET / HTTP/1.1\r\n\r\n", 405),
        ("CONNECT nowhere HTTP/1.1\r\n\r\n", 400),
        ("CONNECT a:0 HTTP/1.1\r\n\r\n", 400),
        ("CONNECT a:1\r\n\r\n", 400),
        ("CONNECT a:1 HTTP/2.0\r\n\r\n", 505),
        (&format!("CONNECT a:1 HTTP/1.1\r\na: {long}"), 431),
    ] {
        let answer = apps::http(client.http, request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.40}: {answer}");
        assert!(answer.contains("weir client: "), "{answer}");
    }
    client.stop().await;
}

#[tokio::test]
async fn udp_goes_to_several_targets_at_a_time_and_every_datagram_is_counted() {
    let ledger = Arc::new(Ledger::default());
    let relay = TestRelay::start(&ledger);
    let client = start(config(&relay)).await;
    let (v4, v6) = (apps::udp_echo("127.0.0.1").await, apps::udp_echo("::1").await);
    let targets = [("echo.test", v4.port()), ("127.0.0.1", v4.port()), ("::1", v6.port())];
    let (_control, socket) = socks_udp(client.socks).await;
    let mut bytes = 0;
    let mut buffer = vec![0; 65_536];
    let sizes = [0, 1, 2, 63, 64, 500, 1199, 1200];
    for (round, size) in sizes.into_iter().enumerate() {
        let mut expected = HashMap::new();
        for (host, port) in targets {
            let sent = datagram(host, port, &vec![round as u8; size]);
            socket.send(&sent).await.unwrap();
            expected.insert(sent, ());
            bytes += size as u64;
        }
        // A fragment is dropped; if it were not, it would be counted.
        let mut fragment = datagram("echo.test", v4.port(), b"fragment");
        fragment[2] = 1;
        socket.send(&fragment).await.unwrap();
        while !expected.is_empty() {
            let receive = socket.recv(&mut buffer);
            let length =
                tokio::time::timeout(Duration::from_secs(5), receive).await.unwrap().unwrap();
            assert!(expected.remove(&buffer[..length]).is_some(), "an unexpected reply");
        }
    }
    let usage = client.usage().await;
    let datagrams = (sizes.len() * targets.len()) as u64;
    assert_eq!((usage.udp.up.bytes, usage.udp.down.bytes), (bytes, bytes));
    assert_eq!((usage.udp.up.datagrams, usage.udp.down.datagrams), (datagrams, datagrams));
    assert_eq!((usage.udp.tunnels, usage.open.len()), (3, 3));
    assert_eq!(ledger.bytes(), (bytes, bytes));
    drop(_control);
    // Datagrams under way are waited for, then the tunnels are closed.
    eventually("the tunnels are closed", || async { client.usage().await.open.is_empty() }).await;
    assert_eq!(client.usage().await.udp, usage.udp);
    client.stop().await;
}

#[tokio::test]
async fn datagrams_sent_before_the_tunnel_stands_are_kept_in_order() {
    let ledger = Arc::new(Ledger::default());
    let relay = TestRelay::start(&ledger);
    let client = start(config(&relay)).await;
    let echo = apps::udp_echo("127.0.0.1").await;
    let (_control, socket) = socks_udp(client.socks).await;
    for index in 0..100u8 {
        socket.send(&datagram("echo.test", echo.port(), &[index])).await.unwrap();
    }
    let mut buffer = [0; 100];
    for index in 0..100 {
        let receive = socket.recv(&mut buffer);
        let length = tokio::time::timeout(Duration::from_secs(5), receive).await.unwrap().unwrap();
        assert_eq!(buffer[length - 1], index);
    }
    client.stop().await;
}

#[tokio::test]
async fn replies_in_capsules_are_understood() {
    let ledger = Arc::new(Ledger::default());
    let relay = TestRelay::start(&ledger);
    let client = start(config(&relay)).await;
    let echo = apps::udp_echo("127.0.0.1").await;
    let (_control, socket) = socks_udp(client.socks).await;
    for size in [1, 100, 1200] {
        let sent = datagram(CAPSULE_HOST, echo.port(), &vec![7; size]);
        socket.send(&sent).await.unwrap();
        let mut buffer = vec![0; 2000];
        let receive = socket.recv(&mut buffer);
        let length = tokio::time::timeout(Duration::from_secs(5), receive).await.unwrap().unwrap();
        assert_eq!(buffer[..length], sent);
    }
    assert_eq!(client.usage().await.udp.down.bytes, 1301);
    client.stop().await;
}

#[tokio::test]
async fn after_the_relay_was_killed_new_tunnels_use_a_new_connection() {
    let ledger = Arc::new(Ledger::default());
    let mut relay = TestRelay::start(&ledger);
    let client = start(config(&relay)).await;
    let echo = apps::tcp_echo().await;
    let mut old = socks_connect(client.socks, "echo.test", echo.port()).await.unwrap();
    old.write_all(b"before").await.unwrap();
    old.read_exact(&mut [0; 6]).await.unwrap();
    let ledger_again = Arc::clone(&ledger);
    let relay = tokio::task::spawn_blocking(move || {
        relay.kill_and_restart(&ledger_again);
        relay
    });
    let relay = relay.await.unwrap();
    let error = old.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let stream = socks_connect(client.socks, "echo.test", echo.port()).await.unwrap();
    exchange(stream, 1000).await;
    assert_eq!(client.usage().await.tcp.up.bytes, 1006);
    client.stop().await;
    drop(relay);
}

#[tokio::test]
async fn start_fails_in_words_when_something_is_wrong() {
    let ledger = Arc::new(Ledger::default());
    let relay = TestRelay::start(&ledger);
    let mut wrong_token = config(&relay);
    wrong_token.token = Some("wrong".parse().unwrap());
    let mut no_token = config(&relay);
    no_token.token = None;
    let mut wrong_pin = config(&relay);
    wrong_pin.trust = Trust::Pinned([0; 32]);
    let mut system = config(&relay);
    system.trust = Trust::System;
    let mut nobody = config(&relay);
    nobody.relay = "https://127.0.0.1:9".parse().unwrap();
    let mut in_use = config(&relay);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    in_use.socks = Some(taken.local_addr().unwrap());
    let mut public_admin = config(&relay);
    public_admin.admin = Some("0.0.0.0:0".parse().unwrap());
    for (config, text) in [
        (wrong_token, "the relay refused it"),
        (no_token, "the relay wants one"),
        (wrong_pin, "pinned certificate mismatch"),
        (system, "pin its certificate"),
        (nobody, "does not answer over UDP"),
        (in_use, "another program"),
        (public_admin, "not a loopback address"),
    ] {
        let error = Client::start(config).await.unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
        assert!(!error.contains("wrong\""), "the token is not shown: {error}");
    }
}
