//! What no QUIC relay can beat: a bare forwarder with the AEAD of the same bytes.

use std::path::Path;

use anyhow::Result;
use weir_load::spec::Way;

use super::{Bed, Running, START_LIMIT, Setup, Subject, relay_address, relay_cpus};
use crate::run::lab::Host;
use crate::run::process::Process;
use crate::run::scenario::At;

#[derive(Debug)]
pub(super) struct Floor;

impl Subject for Floor {
    fn name(&self) -> &str {
        "floor"
    }

    fn start(&self, bed: &Bed, setup: &Setup, dir: &Path) -> Result<Running> {
        let listen = relay_address(bed.lab)?;
        let cpus = relay_cpus(bed.lab, setup.workers);
        let mut command = bed.lab.command(Host::Relay, &cpus, &bed.programs.load);
        command.args(["floor", "--listen", &listen.to_string()]);
        command.args(["--target", &setup.at.target.to_string()]);
        let mut process = Process::start("floor", command, dir)?;
        process.line(START_LIMIT)?;
        Ok(Running {
            way: Way::Direct,
            // It knows clients by their address, not targets by their port.
            at: At { target: listen, targets_max: 1, ..setup.at },
            pid: Some(process.pid()),
            notes: Vec::new(),
            process: Some(process),
            peer: None,
        })
    }
}
