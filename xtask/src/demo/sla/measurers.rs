//! Three measurers, each with a grant, a lane and a key of its own.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use super::agreement::Agreement;
use crate::demo::chain::MEASURERS;
use crate::demo::lab::Host;
use crate::demo::process::Process;
use crate::demo::report::Report;
use crate::demo::scene::{self, STOP_LIMIT, Scene};
use crate::sh;

/// Round trips per interval: one that is lost is a third of the agreed loss.
const PROBES: u32 = 30;

const NAMES: [&str; MEASURERS] = ["measurer-0", "measurer-1", "measurer-2"];

/// Running measurers.
pub struct Measurers {
    processes: Vec<Process>,
    pub statements: Vec<PathBuf>,
}

impl Measurers {
    pub fn start(scene: &Scene, agreement: &Agreement) -> Result<Measurers> {
        let (mut processes, mut statements) = (Vec::new(), Vec::new());
        for (number, name) in NAMES.into_iter().enumerate() {
            let said = scene.dir.join(&format!("{name}.jsonl"));
            let config = config(scene, agreement, number)?;
            let config = scene.dir.write(&format!("{name}.toml"), &config)?;
            let mut command = scene.lab.on(Host::Client, &scene.binaries.weir);
            command.arg("measure").arg("-c").arg(config);
            processes.push(Process::start(name, command, scene.dir.path())?);
            statements.push(said);
        }
        Ok(Measurers { processes, statements })
    }

    /// Whether each of them has said something of so many intervals.
    pub fn all_said(&self, intervals: usize) -> Result<bool> {
        for path in &self.statements {
            if lines(path)? < intervals {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How many statements there are in all.
    pub fn count(&self) -> Result<usize> {
        self.statements.iter().map(lines).sum()
    }

    /// Waits until they have paid and ended, which they do when the agreement is over. How many
    /// didn't.
    pub fn end(&mut self) -> Result<usize> {
        let mut stuck = 0;
        for process in &mut self.processes {
            stuck += usize::from(!process.ends(STOP_LIMIT)?);
        }
        Ok(stuck)
    }

    pub fn log_end(&self) -> String {
        self.processes.iter().map(Process::log_end).collect::<Vec<_>>().join("\n")
    }

    /// They are customers: what they probed with was claimed, lane by lane.
    pub fn paid(&self, scene: &Scene, report: &mut Report) -> Result<()> {
        let mut settle = scene.lab.on(Host::Relay, &scene.binaries.settle);
        settle.args(["settle-now", "--json", "--timeout-s", "60", "-c"]);
        sh::read(settle.arg(scene.dir.join("settle.toml")))?;
        let channel = scene.chain.measurers["channel"].as_str().context("no channel")?;
        let mut claimed = Vec::new();
        for lane in 0..MEASURERS {
            claimed.push(scene.chain.claimed_of(&scene.lab, channel, lane)?);
        }
        let all = claimed.iter().all(|amount| *amount > 0);
        report.check("the measurers have paid for their probes", all, format!("{claimed:?}"));
        Ok(())
    }
}

/// Lines that are whole; a file that isn't there yet has none.
fn lines(path: &PathBuf) -> Result<usize> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.matches('\n').count()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
    }
}

fn config(scene: &Scene, agreement: &Agreement, number: usize) -> Result<String> {
    let (dir, chain) = (scene.dir.path().display(), &scene.chain);
    let channel: &Value = &chain.measurers["channel"];
    // Nothing listens there; that this is said is enough to know that the network is up.
    let control = if scene.lab.is_isolated() { "192.0.2.1:9" } else { "127.0.0.1:9" };
    Ok(format!(
        r#"[exit]
url = "{url}"
token_file = "{dir}/measurer-{number}.token"
ca_file = "{dir}/relay/self-signed.crt"

[payer]
key_file = "{dir}/measurers-session.key"
channel = "{channel}"
lane = {number}
chain_id = {chain_id}
escrow = "{escrow}"
price_max = {price}
state_file = "{dir}/measurer-{number}.state"

[measure]
agreement = "{agreement}"
references = "{references}"
key_file = "{dir}/measurer-{number}.key"
statements = "{dir}/measurer-{number}.jsonl"
probes = {PROBES}
control = ["{control}"]
"#,
        url = scene::relay_url(&scene.lab),
        channel = channel.as_str().context("no channel")?,
        chain_id = chain.chain_id,
        escrow = chain.escrow,
        price = chain.price_per_gib,
        agreement = agreement.file.display(),
        references = agreement.references.display(),
    ))
}
