//! A service level that is broken, and the credit for it.
//!
//! Payer and operator sign an agreement, the operator bonds a stake and the agreement's bond, and
//! three measurers buy service like any customer. Then the relay is killed and stays away for a few
//! intervals. What was good and bad comes from samples that client and exit signed and from what
//! the measurers saw; the credit is paid on the chain, out of the bond, to the unit.
//!
//! A month of minutes would take a month: the terms say intervals of three seconds and a period of
//! ten. Nothing else is shortened, and no clock is moved.

mod agreement;
mod measurers;
mod verdict;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

use super::crash;
use super::lab::Host;
use super::process::Process;
use super::report::Report;
use super::scene::{self, Scene};
use agreement::Agreement;
use measurers::Measurers;

/// Each measurer has said that so many intervals were good before the breach.
const GOOD_FIRST: usize = 2;
/// Longer than three intervals, so that at least two of them are without an exit from end to end.
const OUTAGE: Duration = Duration::from_secs(10);
/// Until the first statements, and until the exit is found again.
const PATIENCE: Duration = Duration::from_secs(30);
/// The client posts a sample a second after its interval and tries three times.
const LAST_SAMPLE: Duration = Duration::from_secs(4);

pub fn run(scene: &mut Scene, report: &mut Report) -> Result<()> {
    eprintln!("==> a service level");
    let agreement = Agreement::make(scene, report)?;
    scene.chain.agreement = Some(agreement.file.clone());
    scene.restart_settle()?;
    scene.restart_client(&agreement.file)?;
    let mut traffic = start_traffic(scene)?;
    let mut measurers = Measurers::start(scene, &agreement)?;

    let begins = Instant::now();
    while !measurers.all_said(GOOD_FIRST)? {
        if begins.elapsed() > PATIENCE {
            bail!("the measurers say nothing:\n{}", measurers.log_end());
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    eprintln!("==> the breach: kill -9, and nothing for {} s", OUTAGE.as_secs());
    scene.relay.kill();
    std::thread::sleep(OUTAGE);
    scene.restart_relay()?;
    crash::wait_for_service(scene)?;
    let left = agreement.ends_s().saturating_sub(now_s()) + 1;
    std::thread::sleep(Duration::from_secs(left) + LAST_SAMPLE);
    traffic.kill();
    let stuck = measurers.end()?;
    report.check("every measurer ends with the agreement", stuck == 0, format!("{stuck} did not"));

    verdict::credit(scene, report, &agreement, &measurers)?;
    measurers.paid(scene, report)
}

/// Somebody uses the service, so that there is something to sign.
fn start_traffic(scene: &Scene) -> Result<Process> {
    let mut command = scene.lab.on(Host::Client, &scene.binaries.lab);
    let target = format!("{}:{}", scene::ECHO, scene::port(&scene.lab, 7));
    command.args(["drive", "rtt", "--socks", scene::SOCKS, "--target", &target]);
    command.args(["--size", "1000", "--count", "100000000", "--timeout", "300"]);
    Process::start("sla-traffic", command, scene.dir.path())
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}
