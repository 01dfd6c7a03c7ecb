//! Who is measured: a relay, a baseline, or nobody.

mod floor;
pub mod peer;
mod plain;
mod weir;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use weir_load::spec::Way;

use super::lab::{Host, Lab};
use super::process::Process;
use super::scenario::{At, Scenario};
use crate::peers::Peer;
use weir::Hooks;

/// Long enough for a debug build on a busy machine; every start is usually done in a second.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Nothing is left to drain when the generator has gone.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What the relays of the lab ask their clients for.
const TOKEN: &str = "weir-bench";

/// Something that can be measured.
pub trait Subject: std::fmt::Debug {
    fn name(&self) -> &str;

    /// Whether the scenario makes sense with it.
    fn takes_part(&self, scenario: &Scenario) -> bool {
        scenario.subjects.contains(&self.name())
    }

    /// Starts it for one repeat.
    ///
    /// # Errors
    /// When it doesn't start; with its own words.
    fn start(&self, bed: &Bed, setup: &Setup, dir: &Path) -> Result<Running>;
}

/// What all subjects share.
#[derive(Debug)]
pub struct Bed<'a> {
    pub lab: &'a Lab,
    pub programs: &'a Programs,
    /// The file with the value of the authorization header.
    pub authorization: PathBuf,
}

/// The programs of one build, copied so that a build that runs meanwhile changes nothing.
#[derive(Clone, Debug)]
pub struct Programs {
    pub weir: PathBuf,
    pub load: PathBuf,
    pub plain: PathBuf,
}

/// What one scenario wants of a subject.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub workers: u16,
    pub connections: u32,
    /// Where the traffic is to end.
    pub at: At,
}

/// A subject that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Running {
    pub way: Way,
    /// Where the traffic is to be sent, if that differs from where it ends.
    pub at: At,
    /// Whose CPU time and memory count.
    pub pid: Option<u32>,
    /// What this host made of its configuration.
    pub notes: Vec<String>,
    process: Option<Process>,
    /// Server and client of a peer.
    peer: Option<Peer>,
}

impl Running {
    /// Makes it read its configuration again.
    ///
    /// # Errors
    /// When it is none of ours, or gone.
    pub fn reload(&self) -> Result<()> {
        self.process.as_ref().context("it has no process of ours")?.signal(Signal::HUP)
    }

    /// Ends it; a note if it had to be killed.
    pub fn stop(mut self) -> Option<String> {
        if self.peer.as_mut().is_some_and(|peer| !peer.stop()) {
            return Some("didn't end when it was asked to".to_owned());
        }
        let process = self.process.as_mut()?;
        let well = process.stop(STOP_LIMIT);
        (!well).then(|| format!("didn't end well{}", process.quote_log()))
    }
}

impl Programs {
    /// Copies them from where cargo put them.
    ///
    /// # Errors
    /// When one is missing.
    pub fn copy(from: &Path, to: &Path) -> Result<Programs> {
        let copy = |name: &str| -> Result<PathBuf> {
            let (source, copy) = (from.join(name), to.join(name));
            fs::copy(&source, &copy).with_context(|| {
                format!("no {}: `cargo xtask bench` builds it", source.display())
            })?;
            Ok(copy)
        };
        Ok(Programs { weir: copy("weir")?, load: copy("weir-load")?, plain: copy("weir-plain")? })
    }
}

/// The subjects of these names.
///
/// # Errors
/// When there is none of a name.
pub fn by_names(names: &[String]) -> Result<Vec<Box<dyn Subject>>> {
    let weir = |name, backend, hooks| -> Box<dyn Subject> {
        Box::new(weir::Weir { name, backend, hooks })
    };
    names
        .iter()
        .map(|name| -> Result<Box<dyn Subject>> {
            Ok(match name.as_str() {
                "weir" => weir("weir", "auto", Hooks::Shipped),
                "noxdp" => weir("noxdp", "auto", Hooks::None),
                "allxdp" => weir("allxdp", "auto", Hooks::Xdp),
                "poll" => weir("poll", "poll", Hooks::Shipped),
                "uring" => weir("uring", "uring", Hooks::Shipped),
                "xsk" => weir("xsk", "xsk", Hooks::Xdp),
                "direct" => Box::new(Direct),
                "floor" => Box::new(floor::Floor),
                "plain" => Box::new(plain::Plain),
                other => anyhow::bail!(
                    "no subject is called {other:?}: {}",
                    super::scenario::SUBJECTS.join(", ")
                ),
            })
        })
        .collect()
}

/// Nobody: the kernel forwards.
#[derive(Debug)]
struct Direct;

impl Subject for Direct {
    fn name(&self) -> &str {
        "direct"
    }

    fn start(&self, _: &Bed, setup: &Setup, _: &Path) -> Result<Running> {
        Ok(Running {
            way: Way::Direct,
            at: setup.at,
            pid: None,
            notes: Vec::new(),
            process: None,
            peer: None,
        })
    }
}

/// The way to a relay of the lab.
fn masque(bed: &Bed, relay: SocketAddr, setup: &Setup) -> Way {
    Way::Masque {
        relay,
        server_name: "localhost".to_owned(),
        ca: None,
        authorization: Some(bed.authorization.clone()),
        connections: setup.connections,
    }
}

/// Writes the credential that the relays of the lab ask for.
///
/// # Errors
/// When the file can't be written.
pub fn write_authorization(dir: &Path) -> Result<PathBuf> {
    let file = dir.join("authorization");
    fs::write(&file, format!("Bearer {TOKEN}")).context("writing the credential")?;
    Ok(file)
}

/// SHA-256 of the token, in hexadecimal.
fn token_sha256() -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, TOKEN.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The CPUs of a relay with so many workers.
fn relay_cpus(lab: &Lab, workers: u16) -> Vec<usize> {
    lab.cpus.relay.iter().copied().take(usize::from(workers)).collect()
}

/// A free port of the relay's host.
fn relay_address(lab: &Lab) -> Result<SocketAddr> {
    lab.free_address(Host::Relay)
}
