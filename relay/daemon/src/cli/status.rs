//! `weir status` and `weir drain`: talk to the admin endpoint of a running relay.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::failure::Failure;

/// The endpoint answers from memory.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A status of a relay with many workers is some kilobytes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug, Args)]
pub struct AdminArgs {
    /// The relay's admin address (relay.admin)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9600")]
    admin: SocketAddr,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Print everything, as JSON
    #[arg(long)]
    json: bool,
}

/// # Errors
/// When the relay doesn't answer.
pub fn status(args: &StatusArgs) -> Result<(), Failure> {
    let body = request(args.admin.admin, "GET", "/status")?;
    if args.json {
        print!("{body}");
        return Ok(());
    }
    let status: Value = serde_json::from_str(&body)
        .map_err(|error| Failure::Unavailable(format!("{}: {error}", args.admin.admin)))?;
    print!("{}", render(&status));
    Ok(())
}

/// # Errors
/// When the relay doesn't answer.
pub fn drain(args: &AdminArgs) -> Result<(), Failure> {
    request(args.admin, "POST", "/drain")?;
    println!("the relay at {} drains; /readyz says no from now on", args.admin);
    Ok(())
}

fn request(admin: SocketAddr, method: &str, path: &str) -> Result<String, Failure> {
    let unavailable = |problem: String| {
        Failure::Unavailable(format!(
            "no relay answers at {admin}: {problem}; --admin names its relay.admin address"
        ))
    };
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&admin, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().map_err(|error| unavailable(error.to_string()))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let line = head.lines().next().unwrap_or_default();
    if !line.starts_with("HTTP/1.1 2") {
        return Err(unavailable(format!("it said `{line}`")));
    }
    Ok(body.to_owned())
}

fn render(status: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let mut lines = vec![
        format!(
            "{} {} is {} for {} s, at {}",
            text(&status["name"]),
            text(&status["version"]),
            text(&status["state"]),
            status["uptime_s"],
            list(&status["listen"]),
        ),
        choice("backend", &status["backend"]),
        choice("steering", &status["steering"]),
        format!("xdp       {}", text(&status["xdp"]["mode"])),
        format!(
            "tunnels   {} tcp, {} udp open",
            status["tunnels"]["tcp"], status["tunnels"]["udp"]
        ),
        format!(
            "latency   p50 {} us, p99 {} us, p99.9 {} us over {} datagrams",
            micros(&status["latency_ns"]["p50"]),
            micros(&status["latency_ns"]["p99"]),
            micros(&status["latency_ns"]["p999"]),
            status["latency_ns"]["datagrams"],
        ),
    ];
    for transport in ["tcp", "udp"] {
        let kind = &status["totals"][transport];
        lines.push(format!(
            "{transport}       {} tunnels, up {} B, down {} B (ledger A); up {} B, down {} B (ledger B)",
            kind["tunnels"],
            kind["a"]["up"]["forwarded"]["bytes"],
            kind["a"]["down"]["forwarded"]["bytes"],
            kind["b"]["up"]["payload_bytes"],
            kind["b"]["down"]["payload_bytes"],
        ));
    }
    if let Value::Object(access) = &status["access"] {
        let alarm = if access["alarm"] == true { " ALARM: the engines count more" } else { "" };
        lines.push(format!(
            "clients   up {} B, down {} B (engines); up {} B, down {} B (ledger C){alarm}",
            access["a"]["up"]["bytes"],
            access["a"]["down"]["bytes"],
            access["c"]["up"]["bytes"],
            access["c"]["down"]["bytes"],
        ));
    }
    for grant in status["grants"].as_array().into_iter().flatten() {
        let limit = match &grant["limit_bytes"] {
            Value::Null => "not billed".to_owned(),
            limit => format!("may use {limit} B"),
        };
        let standing = match grant["standing"].as_str() {
            Some("throttled") => ", SLOWED DOWN until it pays",
            Some("stopped") => ", STOPPED until it pays",
            _ => "",
        };
        lines.push(format!(
            "grant     {}: used {} B, {limit}, {} sessions{standing}",
            text(&grant["name"]),
            grant["used_bytes"],
            grant["sessions"],
        ));
    }
    let export = &status["export"];
    if export["settlement"] == true {
        let there = if export["connected"] == true { "connected" } else { "AWAY" };
        lines.push(format!(
            "export    sidecar {there}, {} tunnels waiting, {} records in flight",
            export["tunnels_waiting"], export["records_in_flight"],
        ));
    }
    lines.join("\n") + "\n"
}

fn list(values: &Value) -> String {
    let items = values.as_array().into_iter().flatten().filter_map(Value::as_str);
    items.collect::<Vec<_>>().join(" ")
}

fn choice(what: &str, value: &Value) -> String {
    let text = |key: &str| value[key].as_str().unwrap_or("?").to_owned();
    format!("{what:<9} {} ({})", text("kind"), text("reason"))
}

fn micros(ns: &Value) -> String {
    format!("{:.1}", ns.as_f64().unwrap_or(0.0) / 1e3)
}
