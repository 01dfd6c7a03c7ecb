//! The servers that all subjects' traffic ends at.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::lab::{Host, Lab};
use super::process::Process;
use super::scenario::Service;

const START_LIMIT: Duration = Duration::from_secs(20);

/// So many ports echo UDP datagrams: one per tunnel of the scattered scenario.
pub const ECHO_PORTS: u16 = 1000;

/// Below the ports that the kernel gives to others. On loopback two benches may run at once.
const ECHO_PORT: u16 = 20_000;
const PORT_BLOCKS: u32 = 12;

/// `weir-load target`, for the whole run: once with trains, once without.
#[derive(Debug)]
pub struct Target {
    trains: Process,
    singly: Process,
    echo: SocketAddr,
    echo_singly: SocketAddr,
    tcp: SocketAddr,
}

/// The line that it prints.
#[derive(Deserialize)]
struct Ready {
    udp: SocketAddr,
    tcp: Option<SocketAddr>,
}

impl Target {
    /// # Errors
    /// When one doesn't start.
    pub fn start(lab: &Lab, program: &Path, dir: &Path) -> Result<Target> {
        let block = if lab.is_isolated() { 0 } else { std::process::id() % PORT_BLOCKS };
        let first = SocketAddr::new(lab.target_ip(), ECHO_PORT + block as u16 * ECHO_PORTS);
        let any = SocketAddr::new(lab.target_ip(), 0);
        let (first, any) = (first.to_string(), any.to_string());
        let ports = ECHO_PORTS.to_string();
        let trains = ["--udp", &first, "--ports", &ports, "--tcp", &any];
        let (trains, ready) = start("target", lab, program, &trains, dir)?;
        let singly = ["--udp", &any, "--singly"];
        let (singly, ready_singly) = start("target-singly", lab, program, &singly, dir)?;
        let tcp = ready.tcp.context("the target has no TCP address")?;
        Ok(Target { trains, singly, echo: ready.udp, echo_singly: ready_singly.udp, tcp })
    }

    /// Whose CPU time is the lab's own.
    pub fn pids(&self) -> [u32; 2] {
        [self.trains.pid(), self.singly.pid()]
    }

    pub fn address(&self, service: Service) -> SocketAddr {
        match service {
            Service::Echo => self.echo,
            Service::EchoSingly => self.echo_singly,
            Service::Tcp => self.tcp,
        }
    }
}

fn start(
    name: &str,
    lab: &Lab,
    program: &Path,
    args: &[&str],
    dir: &Path,
) -> Result<(Process, Ready)> {
    let mut command = lab.command(Host::Target, &[lab.cpus.target], program);
    command.arg("target").args(args);
    let mut process = Process::start(name, command, dir)?;
    let line = process.line(START_LIMIT)?;
    let ready = serde_json::from_str(&line)
        .with_context(|| format!("{name} said {line:?} instead of its addresses"))?;
    Ok((process, ready))
}
