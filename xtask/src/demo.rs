//! `cargo xtask demo`: the whole product once, on real traffic, with every figure checked.

mod chain;
mod crash;
mod curl;
pub mod lab;
mod process;
mod report;
mod scene;
mod settlement;
mod sla;
mod traffic;

use anyhow::{Result, bail};
use lab::{Host, Lab};
use report::Report;
use scene::{Binaries, Scene};

use crate::{setup, sh};

/// How `weir doctor --measure` calls a packet of a flow that is in the table.
const KNOWN_FLOW: &str = "exit flow, in the table";

struct Options {
    json: bool,
    keep: bool,
    unprivileged: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Options> {
        let mut options = Options { json: false, keep: false, unprivileged: false };
        for arg in args {
            match arg.as_str() {
                "--json" => options.json = true,
                "--keep" => options.keep = true,
                "--unprivileged" => options.unprivileged = true,
                other => bail!("demo has no option {other:?}: --json, --keep, --unprivileged"),
            }
        }
        Ok(options)
    }
}

pub fn run(args: &[String]) -> Result<()> {
    let options = Options::parse(args)?;
    if !options.unprivileged && !sh::is_root() {
        bail!(
            "the demo makes network namespaces and attaches XDP programs, which needs root; \
             `cargo xtask demo --unprivileged` runs on loopback without them"
        );
    }
    setup::run(setup::Need { ebpf: false, chain: true, lab: !options.unprivileged })?;
    let binaries = Binaries::build()?;
    let lab = if options.unprivileged { Lab::loopback() } else { Lab::new(options.keep)? };
    let mut scene = Scene::start(lab, binaries, options.keep)?;
    let mut report = Report::default();
    let played = play(&mut scene, &mut report);
    if options.keep {
        keep(&mut scene);
    } else {
        take_down(scene, &mut report, played.is_err())?;
    }
    played?;
    if options.json {
        println!("{}", report.json());
        eprint!("{}", report.table());
    } else {
        print!("{}", report.table());
    }
    if !report.ok() {
        bail!("the demo's figures don't reconcile");
    }
    Ok(())
}

fn play(scene: &mut Scene, report: &mut Report) -> Result<()> {
    describe(scene, report)?;
    traffic::run(scene, report)?;
    latency(scene, report)?;
    settlement::settle_all(scene, report, "after the traffic", true)?;
    crash::run(scene, report)?;
    sla::run(scene, report)
}

/// Which backend, and which kernel programs in which mode.
fn describe(scene: &Scene, report: &mut Report) -> Result<()> {
    let status = scene.relay_status()?;
    report.backend = format!(
        "{}: {}",
        status["backend"]["kind"].as_str().unwrap_or("?"),
        status["backend"]["reason"].as_str().unwrap_or("?")
    );
    report.xdp_mode = status["xdp"]["mode"].as_str().unwrap_or("off").to_owned();
    if scene.xdp {
        let attached = report.xdp_mode == "native" || report.xdp_mode == "generic";
        report.check("XDP is attached", attached, format!("{}", status["xdp"]));
        report.xdp_ns_per_packet = measure_classifier(scene);
    } else {
        report.not_shown.push("XDP, kernel counters and steering by eBPF (needs root)");
        report.not_shown.push("hosts that are apart (everything is on loopback)");
    }
    Ok(())
}

/// Nanoseconds per packet that the XDP program takes for a packet of a known exit flow.
fn measure_classifier(scene: &Scene) -> Option<f64> {
    let mut doctor = scene.lab.on(Host::Relay, &scene.binaries.weir);
    let output = sh::output(doctor.args(["doctor", "--json", "--measure"])).ok()?;
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let known = findings.as_array()?.iter().find(|finding| {
        finding["check"] == "xdp cost"
            && finding["found"].as_str().is_some_and(|text| text.starts_with(KNOWN_FLOW))
    });
    known?["figure_ns"].as_f64()
}

fn latency(scene: &Scene, report: &mut Report) -> Result<()> {
    let latency = &scene.relay_status()?["latency_ns"];
    let us = |key: &str| latency[key].as_f64().unwrap_or_default() / 1e3;
    report.latency_us = (us("p50"), us("p99"));
    Ok(())
}

/// Ends everything and looks for what is left.
fn take_down(mut scene: Scene, report: &mut Report, failed: bool) -> Result<()> {
    eprintln!("==> tear down");
    let stuck = scene.stop()?;
    report.check("every program ends on SIGTERM", stuck.is_empty(), format!("{stuck:?}"));
    let pins = std::path::Path::new("/sys/fs/bpf/weir").join(scene.instance());
    report.check("no pin is left", !pins.exists(), pins.display().to_string());
    if failed {
        scene.dir.keep = true;
        eprintln!("    the logs are in {}", scene.dir.path().display());
    }
    scene.lab.take_down();
    let remains = scene.lab.remains()?;
    report.check("no namespace is left", remains.is_empty(), format!("{remains:?}"));
    Ok(())
}

fn keep(scene: &mut Scene) {
    let ids = scene.keep();
    eprintln!("the lab stays up; in its hosts:");
    eprint!("{}", scene.lab.keep_notes());
    eprintln!(
        "on the client: curl --socks5-hostname {} http://{}/bytes/1000",
        scene::SOCKS,
        scene::WEB
    );
    eprintln!("on the relay:  weir status --admin {}", scene::RELAY_ADMIN);
    eprintln!("configuration and logs: {}", scene.dir.path().display());
    let ids = ids.map(|id| id.to_string()).join(" ");
    eprintln!("remove it with:");
    eprintln!("  kill {ids}; {}; rm -r {}", scene.lab.removal(), scene.dir.path().display());
}
