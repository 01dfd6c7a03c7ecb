//! Relays of others: one that is already running, and those that the bench starts.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use weir_load::spec::Way;

use super::{Bed, Running, Setup, Subject, relay_cpus};
use crate::peers::{Kind, Peer, Place, Programs};
use crate::run::lab::Host;
use crate::run::scenario::Scenario;

/// `--peer NAME=host:port`: any MASQUE server. Everything runs on this host's own network then.
#[derive(Debug)]
pub struct External {
    name: String,
    relay: SocketAddr,
    server_name: String,
    authorization: Option<PathBuf>,
    pid: Option<u32>,
}

impl External {
    /// # Errors
    /// When it isn't NAME=HOST:PORT, or the host has no address.
    pub fn parse(text: &str, authorization: Option<PathBuf>, pid: Option<u32>) -> Result<External> {
        let (name, address) = text
            .split_once('=')
            .with_context(|| format!("--peer {text:?} is not NAME=HOST:PORT"))?;
        let (host, _) = address
            .rsplit_once(':')
            .with_context(|| format!("--peer {text:?} has no port: NAME=HOST:PORT"))?;
        let relay = address
            .to_socket_addrs()
            .with_context(|| format!("--peer {text:?}: {host} has no address"))?
            .next()
            .with_context(|| format!("--peer {text:?}: {host} has no address"))?;
        let server_name = host.trim_matches(['[', ']']).to_owned();
        Ok(External { name: name.to_owned(), relay, server_name, authorization, pid })
    }
}

impl Subject for External {
    fn name(&self) -> &str {
        &self.name
    }

    fn takes_part(&self, scenario: &Scenario) -> bool {
        scenario.subjects.contains(&"plain")
    }

    fn start(&self, _: &Bed, setup: &Setup, _: &Path) -> Result<Running> {
        Ok(Running {
            way: Way::Masque {
                relay: self.relay,
                server_name: self.server_name.clone(),
                ca: None,
                authorization: self.authorization.clone(),
                connections: setup.connections,
            },
            at: setup.at,
            pid: self.pid,
            notes: match self.pid {
                Some(pid) => vec![format!("CPU and memory of process {pid}")],
                None => vec!["no CPU time: --peer-pid wasn't given".to_owned()],
            },
            process: None,
            peer: None,
        })
    }
}

/// `--with-peers`: a tunnel of another kind, driven through its own SOCKS5 client.
#[derive(Debug)]
pub struct Tunnel {
    pub kind: Kind,
    pub programs: Programs,
}

impl Subject for Tunnel {
    fn name(&self) -> &str {
        self.kind.name()
    }

    /// Where payload goes through SOCKS5; its handshakes and connections are its client's affair.
    fn takes_part(&self, scenario: &Scenario) -> bool {
        scenario.subjects.contains(&"direct")
    }

    fn start(&self, bed: &Bed, setup: &Setup, dir: &Path) -> Result<Running> {
        let (lab, cpus) = (bed.lab, relay_cpus(bed.lab, setup.workers));
        let at_relay = |program: &Path| lab.command(Host::Relay, &cpus, program);
        let at_client = |program: &Path| lab.command(Host::Client, &[lab.cpus.generator], program);
        let server = Place { listen: lab.free_address(Host::Relay)?, command: &at_relay };
        let client = Place { listen: lab.free_address(Host::Client)?, command: &at_client };
        let peer = Peer::start(self.kind, &self.programs, &server, &client, dir)?;
        Ok(Running {
            way: Way::Socks5 { proxy: peer.socks() },
            at: setup.at,
            pid: Some(peer.server_pid()),
            notes: vec![peer.version().to_owned()],
            process: None,
            peer: Some(peer),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_a_name_a_host_and_a_port() {
        let peer = External::parse("other=127.0.0.1:4433", None, Some(7)).unwrap();
        assert_eq!((peer.name(), peer.relay.port(), peer.pid), ("other", 4433, Some(7)));
        assert_eq!(peer.server_name, "127.0.0.1");
        assert_eq!(External::parse("v6=[::1]:443", None, None).unwrap().server_name, "::1");
        for wrong in ["127.0.0.1:4433", "other=127.0.0.1", "other=127.0.0.1:port"] {
            assert!(External::parse(wrong, None, None).is_err(), "{wrong}");
        }
    }
}
