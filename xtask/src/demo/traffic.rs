//! The traffic of the demo, and what each party counted of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::curl;
use super::lab::Host;
use super::report::{Report, TunnelRow};
use super::scene::{self, Scene};
use super::settlement;
use crate::sh;

const DOWNLOAD_BYTES: u64 = 256 << 20;
const UPLOAD_BYTES: u64 = 64 << 20;
const SOCKS_BYTES: u64 = 16 << 20;
const H3_BYTES: u64 = 1 << 20;
const ECHOES: u64 = 100_000;
const ECHOES_V6: u64 = 10_000;
const DNS_QUERIES: u64 = 1_000;

/// 0 to 1200 bytes, evenly, there and back: well above this on average.
const MEAN_ECHO_BYTES: u64 = 1_100;

/// A DNS header alone (RFC 1035 section 4.1.1).
const MIN_DNS_BYTES: u64 = 12;

/// The ledgers are read every 200 ms by the exporter; two equal readings in a row are the end.
const SETTLE_DOWN: Duration = Duration::from_millis(450);
const SETTLE_DOWN_LIMIT: Duration = Duration::from_secs(20);

/// What every party has counted so far, for one transport, both directions together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub client: u64,
    pub engine: u64,
    pub kernel: u64,
    /// What the kernel must have seen if all ledgers are right: what was forwarded to targets, and
    /// what came from them, forwarded or dropped.
    pub on_exit: u64,
    pub drops: u64,
    pub datagrams: u64,
}

impl Counts {
    fn since(self, before: Counts) -> Counts {
        Counts {
            client: self.client.saturating_sub(before.client),
            engine: self.engine.saturating_sub(before.engine),
            kernel: self.kernel.saturating_sub(before.kernel),
            on_exit: self.on_exit.saturating_sub(before.on_exit),
            drops: self.drops.saturating_sub(before.drops),
            datagrams: self.datagrams.saturating_sub(before.datagrams),
        }
    }
}

/// Who makes the traffic.
enum Application {
    /// `weir-lab drive` with these words.
    Lab(String),
    CurlDownload,
    CurlUpload,
}

/// One step: which kind of tunnel, what drives it, and what has to come out.
struct Step {
    kind: &'static str,
    transport: &'static str,
    application: Application,
    /// Payload of both directions together that it takes at least.
    at_least: u64,
}

/// Drives all kinds of tunnels, one after the other, settles each, and enters a row for it.
pub fn run(scene: &Scene, report: &mut Report) -> Result<()> {
    let mut paid = 0;
    for step in steps(scene) {
        let mut row = run_step(scene, report, &step)?;
        let settled = settlement::settle_all(scene, report, step.kind, true)?;
        row.chain_bytes = settled.paid_bytes.saturating_sub(paid);
        paid = settled.paid_bytes;
        report.check(
            "chain = engine",
            row.chain_bytes == row.engine_bytes,
            format!("{}: chain {} engine {}", step.kind, row.chain_bytes, row.engine_bytes),
        );
        report.tunnels.push(row);
    }
    denied_target(scene, report)
}

fn steps(scene: &Scene) -> Vec<Step> {
    let port = |standard| scene::port(&scene.lab, standard);
    let (socks, web, echo) = (scene::SOCKS, scene::WEB, scene::ECHO);
    let (_, v6) = scene::internet_addresses(&scene.lab);
    let cert = scene.dir.join("lab-cert.pem").display().to_string();
    let curl = sh::has("curl");
    let lab = |words: String| Application::Lab(format!("{words} --socks {socks} --timeout 120"));
    let tcp = |what: &str, bytes: u64| {
        lab(format!("{what} --host {web} --port {} --bytes {bytes}", port(80)))
    };
    let step =
        |kind, transport, at_least, application| Step { kind, transport, application, at_least };
    vec![
        step(
            "tcp_download",
            "tcp",
            DOWNLOAD_BYTES,
            match curl {
                true => Application::CurlDownload,
                false => tcp("tcp-download", DOWNLOAD_BYTES),
            },
        ),
        step(
            "tcp_upload",
            "tcp",
            UPLOAD_BYTES,
            match curl {
                true => Application::CurlUpload,
                false => tcp("tcp-upload", UPLOAD_BYTES),
            },
        ),
        step("tcp_socks", "tcp", SOCKS_BYTES, tcp("tcp-download", SOCKS_BYTES)),
        step(
            "h3_in_udp",
            "udp",
            H3_BYTES,
            lab(format!("h3-get --host {web} --port {} --ca {cert} --bytes {H3_BYTES}", port(443))),
        ),
        step(
            "udp_echo",
            "udp",
            ECHOES * MEAN_ECHO_BYTES,
            lab(format!("udp-echo --target {echo}:{} --count {ECHOES} --sizes 0..=1200", port(7))),
        ),
        step(
            "udp_echo_v6",
            "udp",
            ECHOES_V6 * MEAN_ECHO_BYTES,
            lab(format!(
                "udp-echo --target [{v6}]:{} --count {ECHOES_V6} --sizes 0..=1200",
                port(7)
            )),
        ),
        step(
            "dns",
            "udp",
            DNS_QUERIES * 2 * MIN_DNS_BYTES,
            lab(format!("dns --target {web}:{} --count {DNS_QUERIES}", port(53))),
        ),
    ]
}

fn run_step(scene: &Scene, report: &mut Report, step: &Step) -> Result<TunnelRow> {
    eprintln!("==> {}", step.kind);
    let before = counts_at_rest(scene, step.transport)?;
    let cpu_before = scene.relay.cpu_ns()?;
    let start = Instant::now();
    let seen = match &step.application {
        Application::Lab(words) => drive(scene, words)?,
        Application::CurlDownload => curl::download(scene, DOWNLOAD_BYTES)?,
        Application::CurlUpload => curl::upload(scene, UPLOAD_BYTES)?,
    };
    let seconds = start.elapsed().as_secs_f64();
    let cpu = scene.relay.cpu_ns()?.saturating_sub(cpu_before);
    let delta = counts_at_rest(scene, step.transport)?.since(before);

    let exact = step.transport == "udp";
    let row = TunnelRow {
        kind: step.kind,
        client_bytes: delta.client,
        engine_bytes: delta.engine,
        kernel_bytes: scene.xdp.then_some(delta.kernel),
        chain_bytes: 0,
        drops: delta.drops,
        seconds,
    };
    report.check(
        step.kind,
        seen["ok"] == true && delta.engine >= step.at_least,
        format!("application saw {seen}"),
    );
    report.check(
        "client = engine",
        delta.client == delta.engine,
        format!("{}: client {} engine {}", step.kind, delta.client, delta.engine),
    );
    if scene.xdp {
        // TCP: the kernel sees retransmissions too, and never less than the engine.
        let ok = if exact {
            delta.kernel == delta.on_exit
        } else {
            delta.kernel >= delta.on_exit && delta.kernel <= delta.on_exit + delta.on_exit / 50
        };
        report.check(
            "kernel = engine",
            ok,
            format!("{}: kernel {} engine {}", step.kind, delta.kernel, delta.on_exit),
        );
    }
    if step.kind == "udp_echo" && delta.datagrams > 0 {
        report.cpu_ns_per_datagram = cpu / delta.datagrams;
    }
    Ok(row)
}

/// A name that resolves to a private address must be refused, and nothing may leave for it.
fn denied_target(scene: &Scene, report: &mut Report) -> Result<()> {
    eprintln!("==> denied target");
    let target = format!("denied --host {} --socks {}", scene::PRIVATE, scene::SOCKS);
    let seen = drive(scene, &target)?;
    report.check("denied target", seen["ok"] == true, format!("{seen}"));
    Ok(())
}

/// Runs `weir-lab drive` on the client's host; it prints what the application saw.
pub fn drive(scene: &Scene, words: &str) -> Result<Value> {
    let mut command = scene.lab.on(Host::Client, &scene.binaries.lab);
    command.arg("drive").args(words.split(' '));
    let output = sh::output(&mut command)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().with_context(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("{} said nothing on stdout: {said}", sh::line(&command))
    })?;
    serde_json::from_str(last).with_context(|| format!("{} said {last:?}", sh::line(&command)))
}

/// Reads all counters until two readings in a row agree: the ledgers are published once per turn
/// and collected a few times a second.
pub fn counts_at_rest(scene: &Scene, transport: &str) -> Result<Counts> {
    let start = Instant::now();
    let mut last = counts(scene, transport)?;
    loop {
        std::thread::park_timeout(SETTLE_DOWN);
        let now = counts(scene, transport)?;
        if now == last {
            return Ok(now);
        }
        if start.elapsed() > SETTLE_DOWN_LIMIT {
            bail!("the counters of {transport} still move {SETTLE_DOWN_LIMIT:?} after the traffic");
        }
        last = now;
    }
}

fn counts(scene: &Scene, transport: &str) -> Result<Counts> {
    let client = scene.client_usage()?;
    let relay = scene.relay_status()?;
    let number = |value: &Value, what: &str| -> Result<u64> {
        value.as_u64().with_context(|| format!("no number at {what}: {value}"))
    };
    let seen = &client[transport];
    let (a, b) = (&relay["totals"][transport]["a"], &relay["totals"][transport]["b"]);
    let mut counts = Counts::default();
    for direction in ["up", "down"] {
        let (seen, a, b) = (&seen[direction], &a[direction], &b[direction]);
        counts.client += number(&seen["bytes"], "the client's bytes")?;
        counts.engine += number(&a["forwarded"]["bytes"], "forwarded bytes")?;
        counts.datagrams += number(&a["forwarded"]["datagrams"], "forwarded datagrams")?;
        for (reason, amount) in a["dropped"].as_object().into_iter().flatten() {
            counts.drops += number(&amount["bytes"], reason)?;
        }
        counts.kernel += number(&b["payload_bytes"], "the kernel's bytes")?;
    }
    counts.on_exit = number(&a["up"]["forwarded"]["bytes"], "forwarded bytes")?
        + number(&a["down"]["received"]["bytes"], "received bytes")?;
    Ok(counts)
}
