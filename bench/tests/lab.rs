//! Every application against every target of the lab, directly over loopback.

use std::path::Path;

use clap::Parser;
use weir_bench::lab::drive::{self, Report};
use weir_bench::lab::serve::{self, Servers};

#[derive(Parser)]
struct Serve {
    #[command(flatten)]
    args: serve::Args,
}

#[derive(Parser)]
struct Drive {
    #[command(flatten)]
    args: drive::Args,
}

async fn servers(folder: &Path) -> Servers {
    let folder = folder.to_str().unwrap();
    let line = ["serve", "--v4", "127.0.0.1", "--v6", "::1", "--dir", folder];
    let ports = ["--http-port=0", "--h3-port=0", "--echo-port=0", "--dns-port=0"];
    serve::start(&Serve::parse_from(line.into_iter().chain(ports)).args).await.unwrap()
}

async fn drive(line: &str) -> Report {
    let words = ["drive"].into_iter().chain(line.split_ascii_whitespace());
    drive::run(Drive::parse_from(words).args).await
}

#[tokio::test]
async fn every_application_succeeds_and_reports_what_it_saw() {
    let folder = tempfile::tempdir().unwrap();
    let servers = servers(folder.path()).await;
    let ready = &servers.ready;
    let cert = ready.cert.display();
    for index in 0..2 {
        let (http, h3) = (ready.http[index].port(), ready.h3[index].port());
        let (echo, dns) = (ready.echo[index], ready.dns[index]);
        let host = ready.http[index].ip();
        for (line, field, value) in [
            (
                format!("tcp-download --host {host} --port {http} --bytes 3000001"),
                "body_bytes",
                3_000_001,
            ),
            (
                format!("tcp-upload --host {host} --port {http} --bytes 3000001"),
                "body_bytes",
                3_000_001,
            ),
            (format!("tcp-download --host {host} --port {http} --bytes 0"), "body_bytes", 0),
            (format!("udp-echo --target {echo} --count 2000"), "received", 2000),
            (format!("dns --target {dns} --count 400"), "nxdomain", 100),
            (format!("rtt --target {echo} --direct {echo} --count 50"), "lost", 0),
            (
                format!("h3-get --host {host} --port {h3} --ca {cert} --bytes 500000"),
                "body_bytes",
                500_000,
            ),
        ] {
            let report = drive(&line).await;
            assert!(report.ok, "{line}: {}", report.json());
            assert_eq!(report.field(field).unwrap(), value, "{line}: {}", report.json());
        }
    }
}

#[tokio::test]
async fn what_goes_wrong_is_not_ok() {
    let folder = tempfile::tempdir().unwrap();
    let servers = servers(folder.path()).await;
    let (http, echo) = (servers.ready.http[0].port(), servers.ready.echo[0]);
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (line, text) in [
        (format!("tcp-download --host 127.0.0.1 --port {} --bytes 1", closed.port()), "connecting"),
        (format!("tcp-upload --host 127.0.0.1 --port {} --bytes 1", echo.port()), "connecting"),
        (format!("udp-echo --target {closed} --count 3 --loss-ms 50"), "3 of 3 datagrams lost"),
        (format!("dns --target {echo} --count 4"), "expected"),
        (format!("--timeout 1 rtt --target {closed}"), "not finished"),
        (format!("denied --host 127.0.0.1 --port {http}"), "could be reached"),
        (format!("tcp-download --socks {closed} --host a --bytes 1"), "SOCKS proxy"),
    ] {
        let report = drive(&line).await;
        assert!(!report.ok, "{line}: {}", report.json());
        assert!(report.json().contains(text), "{line}: {}", report.json());
    }
}
