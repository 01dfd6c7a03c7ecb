//! The relay that one would write in an afternoon.

use std::path::Path;

use anyhow::Result;

use super::{Bed, Running, START_LIMIT, Setup, Subject, masque, relay_address, relay_cpus};
use crate::run::lab::Host;
use crate::run::process::Process;

#[derive(Debug)]
pub(super) struct Plain;

impl Subject for Plain {
    fn name(&self) -> &str {
        "plain"
    }

    fn start(&self, bed: &Bed, setup: &Setup, dir: &Path) -> Result<Running> {
        let listen = relay_address(bed.lab)?;
        let cpus = relay_cpus(bed.lab, setup.workers);
        let mut command = bed.lab.command(Host::Relay, &cpus, &bed.programs.plain);
        command.args(["--listen", &listen.to_string()]);
        command.args(["--worker-threads", &setup.workers.to_string()]);
        command.arg("--token-file").arg(&bed.authorization);
        let mut process = Process::start("plain", command, dir)?;
        process.line(START_LIMIT)?;
        Ok(Running {
            way: masque(bed, listen, setup),
            at: setup.at,
            pid: Some(process.pid()),
            notes: Vec::new(),
            process: Some(process),
            peer: None,
        })
    }
}
