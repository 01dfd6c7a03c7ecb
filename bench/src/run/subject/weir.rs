//! The relay itself, as shipped or with its backend chosen.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{
    Bed, Running, START_LIMIT, Setup, Subject, masque, relay_address, relay_cpus, token_sha256,
};
use crate::run::lab::{Host, Lab, XSK_PORTS, instance};
use crate::run::process::Process;

/// The admin endpoint answers from memory.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Weir {
    pub(super) name: &'static str,
    /// `io.backend`
    pub(super) backend: &'static str,
    pub(super) hooks: Hooks,
}

/// Where its kernel programs see what arrives. In the lab this is most of what they cost, because
/// veth copies and segments for XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hooks {
    /// No programs, no ledger B: the network that the other subjects have.
    None,
    /// XDP towards clients, tc towards targets, as the configuration reference advises for veth.
    Shipped,
    /// XDP on both sides, which AF_XDP needs.
    Xdp,
}

impl Hooks {
    /// The section `[xdp]`.
    fn section(self) -> String {
        let interfaces = match self {
            Self::None => return "mode = \"off\"".to_owned(),
            Self::Shipped => "interfaces = [\"r0\"]\ntc_interfaces = [\"r1\"]",
            Self::Xdp => "interfaces = [\"r0\", \"r1\"]",
        };
        format!("mode = \"native\"\n{interfaces}\ninstance = \"{}\"", instance())
    }
}

impl Subject for Weir {
    fn name(&self) -> &str {
        self.name
    }

    fn start(&self, bed: &Bed, setup: &Setup, dir: &Path) -> Result<Running> {
        let listen = relay_address(bed.lab)?;
        let admin = SocketAddr::from(([127, 0, 0, 1], admin_port(bed.lab)?));
        let config = dir.join("relay.toml");
        fs::write(&config, self.config(bed.lab, setup, listen, admin, dir))
            .with_context(|| format!("can't write {}", config.display()))?;
        let cpus = relay_cpus(bed.lab, setup.workers);
        let mut command = bed.lab.command(Host::Relay, &cpus, &bed.programs.weir);
        command.arg("run").arg("-c").arg(&config);
        let mut process = Process::start(self.name, command, dir)?;
        process.wait_until(START_LIMIT, || status(bed.lab, admin).is_ok())?;
        let status = status(bed.lab, admin)?;
        Ok(Running {
            way: masque(bed, listen, setup),
            at: setup.at,
            pid: Some(process.pid()),
            notes: self.notes(&status),
            process: Some(process),
            peer: None,
        })
    }
}

impl Weir {
    /// Everything that isn't given here is as shipped.
    fn config(
        &self,
        lab: &Lab,
        setup: &Setup,
        listen: SocketAddr,
        admin: SocketAddr,
        dir: &Path,
    ) -> String {
        let (workers, backend) = (setup.workers, self.backend);
        let target = setup.at.target.ip();
        let xdp = if lab.is_isolated() { self.hooks } else { Hooks::None }.section();
        let xsk = match backend {
            "xsk" => format!("[io.xsk]\nexit_ports = \"{XSK_PORTS}\"\n"),
            _ => String::new(),
        };
        format!(
            r#"[relay]
name = "bench"
workers = {workers}
listen = ["{listen}"]
admin = "{admin}"
run_dir = "{run_dir}"
drain_s = 1

[log]
level = "warn"

[tls]
self_signed = true

[io]
backend = "{backend}"

{xsk}
[xdp]
{xdp}

[exit]
allow = ["{target}/32"]

[dns]
servers = ["{target}:53"]

# All of the load comes from one address, by one payer.
[limits]
connections_per_source = 8192

[[grant]]
name = "bench"
token_sha256 = "{token_sha256}"
"#,
            run_dir = dir.join("run").display(),
            token_sha256 = token_sha256(),
        )
    }

    /// What the host made of it.
    fn notes(&self, status: &Value) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        let backend = &status["backend"];
        vec![
            format!("backend {}: {}", text(&backend["kind"]), text(&backend["reason"])),
            format!("XDP {}", status["xdp"]["mode"].as_str().unwrap_or("off")),
        ]
    }
}

/// The relay's own view of itself.
fn status(lab: &Lab, admin: SocketAddr) -> Result<Value> {
    let answer = lab.inside(Host::Relay, || {
        let mut stream = TcpStream::connect_timeout(&admin, STATUS_TIMEOUT)?;
        stream.set_read_timeout(Some(STATUS_TIMEOUT))?;
        write!(stream, "GET /status HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    serde_json::from_str(body).context("/status isn't JSON")
}

/// A TCP port of the relay's loopback.
fn admin_port(lab: &Lab) -> Result<u16> {
    lab.inside(Host::Relay, || {
        Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
    })
}
