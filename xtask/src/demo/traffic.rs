//! The traffic of the demo, and what each party counted of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::lab::Host;
use super::report::{Report, TunnelRow};
use super::scene::{self, Scene};
use crate::sh;

pub const DOWNLOAD_BYTES: u64 = 256 << 20;
pub const UPLOAD_BYTES: u64 = 64 << 20;
pub const ECHOES: u64 = 100_000;
pub const DNS_QUERIES: u64 = 1_000;

/// The ledgers are read every 200 ms by the exporter; two equal readings in a row are the end.
const SETTLE_DOWN: Duration = Duration::from_millis(450);
const SETTLE_DOWN_LIMIT: Duration = Duration::from_secs(20);

/// What every party has counted so far, for one transport, both directions together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub client: u64,
    pub engine: u64,
    pub kernel: u64,
    pub drops: u64,
    pub datagrams: u64,
}

impl Counts {
    fn since(self, before: Counts) -> Counts {
        Counts {
            client: self.client.saturating_sub(before.client),
            engine: self.engine.saturating_sub(before.engine),
            kernel: self.kernel.saturating_sub(before.kernel),
            drops: self.drops.saturating_sub(before.drops),
            datagrams: self.datagrams.saturating_sub(before.datagrams),
        }
    }
}

/// One step: which kind of tunnel, what drives it, and what has to come out.
struct Step {
    kind: &'static str,
    transport: &'static str,
    args: Vec<String>,
    /// Application payload in both directions together, if the step knows it beforehand.
    at_least: u64,
}

/// Drives all kinds of tunnels, one after the other, and enters a row for each.
pub fn run(scene: &Scene, report: &mut Report) -> Result<()> {
    for step in steps(scene) {
        run_step(scene, report, &step)?;
    }
    denied_target(scene, report)
}

fn steps(scene: &Scene) -> Vec<Step> {
    let port = |real: u16| if scene.lab.is_isolated() { real } else { 20_000 + real };
    let words = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let (web, echo) = (scene::WEB, scene::ECHO);
    let ca = scene.dir.join("h3-cert.pem").display().to_string();
    vec![
        Step {
            kind: "tcp_download",
            transport: "tcp",
            args: words(format!(
                "tcp-download --socks {} --target {web}:{} --bytes {DOWNLOAD_BYTES}",
                scene::SOCKS,
                port(80)
            )),
            at_least: DOWNLOAD_BYTES,
        },
        Step {
            kind: "tcp_upload",
            transport: "tcp",
            args: words(format!(
                "tcp-upload --socks {} --target {web}:{} --bytes {UPLOAD_BYTES}",
                scene::SOCKS,
                port(80)
            )),
            at_least: UPLOAD_BYTES,
        },
        Step {
            kind: "h3_in_udp",
            transport: "udp",
            args: words(format!(
                "h3-get --socks {} --target {web}:{} --ca {ca} --bytes 1048576",
                scene::SOCKS,
                port(443)
            )),
            at_least: 1 << 20,
        },
        Step {
            kind: "udp_echo",
            transport: "udp",
            args: words(format!(
                "udp-echo --socks {} --target {echo}:{} --count {ECHOES} --sizes 0..=1200",
                scene::SOCKS,
                port(7)
            )),
            at_least: ECHOES,
        },
        Step {
            kind: "dns",
            transport: "udp",
            args: words(format!(
                "dns --socks {} --target {web}:{} --count {DNS_QUERIES}",
                scene::SOCKS,
                port(53)
            )),
            at_least: DNS_QUERIES,
        },
    ]
}

fn run_step(scene: &Scene, report: &mut Report, step: &Step) -> Result<()> {
    eprintln!("==> {}", step.kind);
    let before = counts_at_rest(scene, step.transport)?;
    let cpu_before = scene.relay.cpu_ns()?;
    let start = Instant::now();
    let seen = drive(scene, &step.args)?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu = scene.relay.cpu_ns()?.saturating_sub(cpu_before);
    let delta = counts_at_rest(scene, step.transport)?.since(before);

    let exact = step.transport == "udp";
    let row = TunnelRow {
        kind: step.kind,
        client_bytes: delta.client,
        engine_bytes: delta.engine,
        kernel_bytes: scene.xdp.then_some(delta.kernel),
        drops: delta.drops,
        exact,
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
            delta.kernel == delta.engine + delta.drops
        } else {
            delta.kernel >= delta.engine && delta.kernel <= delta.engine + delta.engine / 50
        };
        report.check(
            "kernel = engine",
            ok,
            format!("{}: kernel {} engine {}", step.kind, delta.kernel, delta.engine),
        );
    }
    if step.kind == "udp_echo" && delta.datagrams > 0 {
        report.cpu_ns_per_datagram = cpu / delta.datagrams;
    }
    report.tunnels.push(row);
    Ok(())
}

/// A name that resolves to a private address must be refused, and nothing may leave for it.
fn denied_target(scene: &Scene, report: &mut Report) -> Result<()> {
    eprintln!("==> denied target");
    let args: Vec<String> =
        ["denied", "--socks", scene::SOCKS, "--target", &format!("{}:80", scene::PRIVATE)]
            .map(str::to_owned)
            .to_vec();
    let seen = drive(scene, &args)?;
    report.check("denied target", seen["ok"] == true, format!("{seen}"));
    Ok(())
}

/// Runs `weir-lab drive` on the client's host; it prints what the application saw.
pub fn drive(scene: &Scene, args: &[String]) -> Result<Value> {
    let mut command = scene.lab.on(Host::Client, &scene.binaries.lab);
    command.arg("drive").args(args);
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
    Ok(counts)
}
