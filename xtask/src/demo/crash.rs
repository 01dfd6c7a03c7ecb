//! `kill -9` in the middle of a transfer, and again when nothing moves.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::lab::Host;
use super::process::Process;
use super::report::Report;
use super::scene::{self, Scene};
use super::settlement;
use super::traffic;

/// The relay is killed when so much of the transfer has reached the client.
const KILL_AFTER_BYTES: u64 = 48 << 20;
const KILL_LIMIT: Duration = Duration::from_secs(60);

/// How long the client may take to find the restarted relay, and the sidecar to hear of what the
/// dead one had counted.
const RECOVER_LIMIT: Duration = Duration::from_secs(30);

pub fn run(scene: &mut Scene, report: &mut Report) -> Result<()> {
    eprintln!("==> kill -9 during a transfer");
    let before = client_total(scene)?;
    let mut transfer = start_transfer(scene)?;
    let start = Instant::now();
    while client_total(scene)?.saturating_sub(before) < KILL_AFTER_BYTES {
        if start.elapsed() > KILL_LIMIT {
            bail!("the transfer to be interrupted moves too slowly:\n{}", transfer.log_end());
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    scene.relay.kill();
    let delivered = client_total(scene)?.saturating_sub(before);
    transfer.kill();
    scene.restart_relay()?;
    wait_for_service(scene)?;

    let first = settlement::settle_all(scene, report, "after kill -9", false)?;

    eprintln!("==> kill -9 at rest: nothing may change");
    scene.relay.kill();
    scene.restart_relay()?;
    wait_for_service(scene)?;
    let second = settlement::settle_all(scene, report, "after kill -9 at rest", false)?;

    // What the payer got and did not pay for, and what it would have paid for without getting it.
    let client = first.client_bytes;
    let traffic_bytes = second.client_bytes.saturating_sub(first.client_bytes);
    report.crash.window_bytes = scene::WINDOW_BYTES;
    report.crash.lost_bytes = client.saturating_sub(first.paid_bytes);
    report.crash.double_counted_bytes = first
        .paid_bytes
        .saturating_sub(client)
        .max(second.asked_bytes.saturating_sub(first.asked_bytes + traffic_bytes));
    let crash = report.crash.clone();
    report.check(
        "kill -9 loses at most the window",
        crash.lost_bytes <= crash.window_bytes,
        format!(
            "{delivered} bytes had been delivered when the relay died, {} of all were not paid",
            crash.lost_bytes
        ),
    );
    report.check(
        "kill -9 counts nothing twice",
        crash.double_counted_bytes == 0,
        format!(
            "asked {} after the first crash, {} after the second",
            first.asked_bytes, second.asked_bytes
        ),
    );
    Ok(())
}

fn client_total(scene: &Scene) -> Result<u64> {
    let usage = scene.client_usage()?;
    let bytes = |direction: &Value| direction["bytes"].as_u64();
    bytes(&usage["total"]["up"])
        .zip(bytes(&usage["total"]["down"]))
        .map(|(up, down)| up + down)
        .with_context(|| format!("the client's usage has no totals: {usage}"))
}

fn start_transfer(scene: &Scene) -> Result<Process> {
    let mut command = scene.lab.on(Host::Client, &scene.binaries.lab);
    command.args(["drive", "tcp-download", "--socks", scene::SOCKS, "--host", scene::WEB]);
    command.args(["--port", &scene::port(&scene.lab, 80).to_string()]);
    command.args(["--bytes", &(1u64 << 30).to_string()]);
    Process::start("interrupted", command, scene.dir.path())
}

/// Waits until a small request goes through the restarted relay.
pub fn wait_for_service(scene: &Scene) -> Result<()> {
    let (web, port) = (scene::WEB, scene::port(&scene.lab, 53));
    let words = format!("dns --socks {} --target {web}:{port} --count 1", scene::SOCKS);
    let start = Instant::now();
    loop {
        match traffic::drive(scene, &words) {
            Ok(seen) if seen["ok"] == true => return Ok(()),
            Ok(seen) if start.elapsed() > RECOVER_LIMIT => {
                bail!("no service {RECOVER_LIMIT:?} after the restart: {seen}")
            }
            Err(error) if start.elapsed() > RECOVER_LIMIT => {
                return Err(error.context("no service after the restart"));
            }
            _ => std::thread::park_timeout(Duration::from_millis(100)),
        }
    }
}
