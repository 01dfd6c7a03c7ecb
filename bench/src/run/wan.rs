//! A line with loss and delay, between client and relay.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use weir_load::spec::Way;

use super::lab::{Host, Lab};
use super::process::Process;

const START_LIMIT: Duration = Duration::from_secs(20);

/// In each direction; the delay makes a round trip of 20 ms.
const LOSS: &str = "0.01";
const DELAY_MS: &str = "10";

/// `weir-load wan`, on the client's side.
#[derive(Debug)]
pub struct Wan {
    _process: Process,
}

impl Wan {
    /// Puts it before a relay: `way` leads through it from then on.
    ///
    /// # Errors
    /// When it doesn't start, or the way has no relay.
    pub fn before(lab: &Lab, program: &Path, way: &mut Way, dir: &Path) -> Result<Wan> {
        let Way::Masque { relay, .. } = way else { bail!("only a relay has a line before it") };
        let listen = lab.free_address(Host::Client)?;
        let mut command = lab.command(Host::Client, &[lab.cpus.generator], program);
        command.args(["wan", "--listen", &listen.to_string(), "--to", &relay.to_string()]);
        command.args(["--loss", LOSS, "--delay-ms", DELAY_MS]);
        let mut process = Process::start("wan", command, dir)?;
        process.line(START_LIMIT).context("the line with loss and delay")?;
        *relay = listen;
        Ok(Wan { _process: process })
    }
}
