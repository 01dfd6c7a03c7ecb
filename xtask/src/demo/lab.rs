//! Three hosts on one machine: client, relay and internet, network namespaces joined by veth.
//!
//! ```text
//!   client ns            relay ns                      internet ns
//!   c0 192.0.2.2  <--->  r0 192.0.2.1
//!                        r1 198.51.100.1  <--->  i0 198.51.100.2
//! ```
//! The addresses are documentation ranges (RFC 5737, RFC 3849), so that nothing in the lab can be
//! mistaken for a real host; the relay's policy refuses them unless its configuration allows them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::sh;

pub const RELAY_V6: &str = "2001:db8:1::1";
pub const INTERNET_V4: &str = "198.51.100.2";
pub const INTERNET_V6: &str = "2001:db8:2::2";

/// A host of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    Client,
    Relay,
    Internet,
}

/// The namespaces; dropping them takes everything in them away, unless they are to be kept.
pub struct Lab {
    /// `None`: no namespaces, everything runs on this machine's loopback.
    prefix: Option<String>,
    keep: bool,
}

impl Lab {
    /// Makes the namespaces. Needs root and iproute2.
    pub fn new(keep: bool) -> Result<Lab> {
        let prefix = format!("weir{}", std::process::id());
        let lab = Lab { prefix: Some(prefix), keep };
        for host in [Host::Client, Host::Relay, Host::Internet] {
            ip(&["netns", "add", &lab.namespace(host)])
                .context("the lab needs network namespaces (root, and not a locked container)")?;
            lab.ip_in(host, &["link", "set", "lo", "up"])?;
        }
        lab.join((Host::Client, "c0"), (Host::Relay, "r0"))?;
        lab.join((Host::Relay, "r1"), (Host::Internet, "i0"))?;
        lab.address(Host::Client, "c0", "192.0.2.2/24", "2001:db8:1::2/64")?;
        lab.address(Host::Relay, "r0", "192.0.2.1/24", "2001:db8:1::1/64")?;
        lab.address(Host::Relay, "r1", "198.51.100.1/24", "2001:db8:2::1/64")?;
        lab.address(Host::Internet, "i0", "198.51.100.2/24", "2001:db8:2::2/64")?;
        Ok(lab)
    }

    /// No namespaces: everything on loopback.
    pub fn loopback() -> Lab {
        Lab { prefix: None, keep: false }
    }

    /// Whether the hosts are apart.
    pub fn is_isolated(&self) -> bool {
        self.prefix.is_some()
    }

    pub fn namespace(&self, host: Host) -> String {
        let name = match host {
            Host::Client => "client",
            Host::Relay => "relay",
            Host::Internet => "internet",
        };
        match &self.prefix {
            Some(prefix) => format!("{prefix}-{name}"),
            None => name.to_owned(),
        }
    }

    /// A command that runs on `host`.
    pub fn on(&self, host: Host, program: impl AsRef<Path>) -> Command {
        if self.prefix.is_none() {
            return sh::cmd(program.as_ref());
        }
        // `ip netns exec` gives the command a /sys of its own, without the BPF filesystem; nsenter
        // changes the network alone.
        let mut command = sh::cmd("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace(host))).arg(program.as_ref());
        command
    }

    fn join(&self, a: (Host, &str), b: (Host, &str)) -> Result<()> {
        ip(&[
            "link",
            "add",
            a.1,
            "netns",
            &self.namespace(a.0),
            "type",
            "veth",
            "peer",
            "name",
            b.1,
            "netns",
            &self.namespace(b.0),
        ])?;
        self.ip_in(a.0, &["link", "set", a.1, "up"])?;
        self.ip_in(b.0, &["link", "set", b.1, "up"])
    }

    fn address(&self, host: Host, interface: &str, v4: &str, v6: &str) -> Result<()> {
        self.ip_in(host, &["addr", "add", v4, "dev", interface])?;
        // nodad: an address that is still being probed can't be bound.
        self.ip_in(host, &["addr", "add", v6, "dev", interface, "nodad"])
    }

    fn ip_in(&self, host: Host, args: &[&str]) -> Result<()> {
        let namespace = self.namespace(host);
        let mut all = vec!["-n", &namespace];
        all.extend_from_slice(args);
        ip(&all)
    }

    /// What of the lab is still there after it was taken down.
    pub fn remains(&self) -> Result<Vec<String>> {
        let Some(prefix) = &self.prefix else { return Ok(Vec::new()) };
        let list = sh::read(sh::cmd("ip").args(["netns", "list"]))?;
        Ok(list
            .lines()
            .filter(|line| line.starts_with(prefix.as_str()))
            .map(str::to_owned)
            .collect())
    }

    /// How to use and remove a lab that was kept.
    pub fn keep_notes(&self) -> String {
        let mut notes = String::new();
        for host in [Host::Client, Host::Relay, Host::Internet] {
            let namespace = self.namespace(host);
            notes.push_str(&format!("  nsenter --net=/run/netns/{namespace} bash\n"));
        }
        notes
    }

    /// The commands that remove the namespaces.
    pub fn removal(&self) -> String {
        [Host::Client, Host::Relay, Host::Internet]
            .map(|host| format!("ip netns del {}", self.namespace(host)))
            .join("; ")
    }

    pub fn take_down(&mut self) {
        if self.prefix.is_none() || self.keep {
            return;
        }
        for host in [Host::Client, Host::Relay, Host::Internet] {
            // A namespace that was never made is no reason to leave the others.
            let _ = sh::output(sh::cmd("ip").args(["netns", "del", &self.namespace(host)]));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.take_down();
    }
}

fn ip(args: &[&str]) -> Result<()> {
    sh::read(sh::cmd("ip").args(args)).map(drop)
}
