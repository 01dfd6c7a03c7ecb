//! Three hosts on one machine, joined by veth, or its loopback where that can't be had.
//!
//! ```text
//!   client ns            relay ns                      target ns
//!   c0 192.0.2.2  <--->  r0 192.0.2.1
//!                        r1 198.51.100.1  <--->  i0 198.51.100.2
//! ```
//! Relay and kernel forwarding share the relay's namespace, so that `direct` takes the same two
//! links. Addresses are of the documentation ranges (RFC 5737).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, test_kill_process};
use rustix::thread::sched_getaffinity;

use super::launch;

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const RELAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const EXIT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const TARGET: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

/// Local ports of the relay's AF_XDP backend: enough for every scenario, and none that the kernel
/// gives to sockets.
pub const XSK_PORTS: &str = "10000-32767";

/// Names of the bench's namespaces begin with this and its process id.
const PREFIX: &str = "weirbench";
const NETNS: &str = "/run/netns";

/// Names of its folders begin with these and its process id.
pub const FILES_PREFIX: &str = "weir-bench-";
const INSTANCE_PREFIX: &str = "weirbench";
const PINS: &str = "/sys/fs/bpf/weir";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    Client,
    Relay,
    Target,
}

const HOSTS: [Host; 3] = [Host::Client, Host::Relay, Host::Target];

/// The CPUs of each part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus {
    /// Of the relay's workers, in order; the first is its only one in most scenarios.
    pub relay: Vec<usize>,
    pub generator: usize,
    pub target: usize,
}

/// The hosts. Dropping it removes the namespaces.
#[derive(Debug)]
pub struct Lab {
    /// `None`: everything on this machine's loopback.
    prefix: Option<String>,
    pub cpus: Cpus,
    /// Each interface and how it is set, for the report.
    pub links: Vec<String>,
    /// Why it isn't made of namespaces.
    pub loopback_reason: Option<String>,
}

impl Lab {
    /// Namespaces if this process may make them, loopback with the reason if not.
    ///
    /// # Errors
    /// When something fails that works where namespaces can be made.
    pub fn new() -> Result<Lab> {
        if !rustix::process::geteuid().is_root() {
            return Lab::loopback("network namespaces, XDP and AF_XDP need root");
        }
        if Command::new("ip").arg("-V").output().is_err() {
            return Lab::loopback("`ip` is missing: install iproute2");
        }
        sweep();
        sweep_folders();
        let prefix = unique_prefix();
        let lab = Lab { prefix: Some(prefix), cpus: cpus()?, links: vec![], loopback_reason: None };
        if let Err(error) = ip(&["netns", "add", &lab.namespace(Host::Client)]) {
            return Lab::loopback(format!("no network namespace can be made here: {error:#}"));
        }
        lab.build()
    }

    /// Everything on loopback.
    ///
    /// # Errors
    /// When the CPUs of this process can't be told.
    pub fn loopback(reason: impl Into<String>) -> Result<Lab> {
        let links = vec!["lo: XDP off, MTU as the host has it".to_owned()];
        Ok(Lab { prefix: None, cpus: cpus()?, links, loopback_reason: Some(reason.into()) })
    }

    fn build(mut self) -> Result<Lab> {
        for host in [Host::Relay, Host::Target] {
            ip(&["netns", "add", &self.namespace(host)])?;
        }
        for host in HOSTS {
            self.ip_in(host, &["link", "set", "lo", "up"])?;
        }
        self.join((Host::Client, "c0", CLIENT), (Host::Relay, "r0", RELAY))?;
        self.join((Host::Relay, "r1", EXIT), (Host::Target, "i0", TARGET))?;
        self.ip_in(Host::Client, &["route", "add", "default", "via", &RELAY.to_string()])?;
        self.ip_in(Host::Target, &["route", "add", "default", "via", &EXIT.to_string()])?;
        self.inside(Host::Relay, || {
            fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("net.ipv4.ip_forward")?;
            fs::write("/proc/sys/net/ipv4/ip_local_reserved_ports", XSK_PORTS)
                .context("net.ipv4.ip_local_reserved_ports")
        })?;
        for (host, name) in
            [(Host::Client, "c0"), (Host::Relay, "r0"), (Host::Relay, "r1"), (Host::Target, "i0")]
        {
            let gro = self.inside(host, || {
                weir_xdp::set_gro(name, true).with_context(|| format!("GRO of {name}"))?;
                weir_xdp::gro(name).with_context(|| format!("GRO of {name}"))
            })?;
            let gro = if gro { "on" } else { "off" };
            self.links.push(format!("{name}: veth, MTU 1500, one queue, GRO {gro}"));
        }
        Ok(self)
    }

    pub fn is_isolated(&self) -> bool {
        self.prefix.is_some()
    }

    /// `namespaces` or `loopback`.
    pub fn label(&self) -> &'static str {
        if self.is_isolated() { "namespaces" } else { "loopback" }
    }

    /// Where the relay listens.
    pub fn relay_ip(&self) -> IpAddr {
        if self.is_isolated() { RELAY.into() } else { Ipv4Addr::LOCALHOST.into() }
    }

    pub fn target_ip(&self) -> IpAddr {
        if self.is_isolated() { TARGET.into() } else { Ipv4Addr::LOCALHOST.into() }
    }

    /// A UDP and TCP address of `host` with a port that nobody has now.
    ///
    /// # Errors
    /// When there is none.
    pub fn free_address(&self, host: Host) -> Result<SocketAddr> {
        let ip = match host {
            Host::Client if self.is_isolated() => CLIENT.into(),
            Host::Client | Host::Relay => self.relay_ip(),
            Host::Target => self.target_ip(),
        };
        self.inside(host, || {
            let udp = std::net::UdpSocket::bind((ip, 0))?;
            Ok(udp.local_addr()?)
        })
    }

    /// A command on a host of the lab, on the given CPUs.
    pub fn command(&self, host: Host, cpus: &[usize], program: &Path) -> Command {
        let net = self.prefix.is_some().then(|| self.path(host));
        launch::command(net.as_deref(), cpus, program)
    }

    /// Does something inside a host of the lab.
    ///
    /// # Errors
    /// Those of `work`, or when the host can't be entered.
    pub fn inside<T: Send>(
        &self,
        host: Host,
        work: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        let net = self.prefix.is_some().then(|| self.path(host));
        // A thread of its own: the namespace belongs to the thread that enters it.
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                if let Some(net) = &net {
                    launch::enter(net)?;
                }
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn namespace(&self, host: Host) -> String {
        let name = match host {
            Host::Client => "client",
            Host::Relay => "relay",
            Host::Target => "target",
        };
        format!("{}-{name}", self.prefix.as_deref().unwrap_or_default())
    }

    fn path(&self, host: Host) -> PathBuf {
        Path::new(NETNS).join(self.namespace(host))
    }

    fn join(&self, a: (Host, &str, Ipv4Addr), b: (Host, &str, Ipv4Addr)) -> Result<()> {
        let (a_ns, b_ns) = (self.namespace(a.0), self.namespace(b.0));
        let ends = ["type", "veth", "peer", "name", b.1, "netns", &b_ns];
        let start = ["link", "add", a.1, "netns", &a_ns];
        ip(&[&start[..], &ends[..]].concat())?;
        for (host, name, address) in [a, b] {
            self.ip_in(host, &["addr", "add", &format!("{address}/24"), "dev", name])?;
            self.ip_in(host, &["link", "set", name, "up"])?;
        }
        Ok(())
    }

    fn ip_in(&self, host: Host, args: &[&str]) -> Result<()> {
        let namespace = self.namespace(host);
        ip(&[&["-n", &namespace][..], args].concat())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.prefix.is_none() {
            return;
        }
        // Only a relay that had to be killed leaves its pins.
        let _ = fs::remove_dir_all(Path::new(PINS).join(instance()));
        for host in HOSTS {
            // One that was never made is no reason to leave the others.
            let _ = ip(&["netns", "del", &self.namespace(host)]);
        }
    }
}

/// Unique among the running benches of this host, and the labs of one process.
fn unique_prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{}x{number}", std::process::id())
}

/// Removes the labs of benches that were killed.
fn sweep() {
    let Ok(entries) = fs::read_dir(NETNS) else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let Some(pid) = owner(&name) else { continue };
        if test_kill_process(pid).is_err() {
            eprintln!("removing {name}: the bench that made it is gone");
            // Another bench that starts now may have removed it first.
            let _ = ip(&["netns", "del", &name]);
        }
    }
}

/// Folders that a killed bench leaves: its files, and the pinned maps of its relay.
fn sweep_folders() {
    let files = std::env::temp_dir();
    for (folder, prefix) in [(files.as_path(), FILES_PREFIX), (Path::new(PINS), INSTANCE_PREFIX)] {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let pid = name.to_str().and_then(|name| name.strip_prefix(prefix)?.parse().ok());
            let gone = |pid| Pid::from_raw(pid).is_some_and(|pid| test_kill_process(pid).is_err());
            if pid.is_some_and(gone) {
                // Another bench that starts now may have removed it first.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// Names the pinned maps of this bench's relays.
pub fn instance() -> String {
    format!("{INSTANCE_PREFIX}{}", std::process::id())
}

/// The bench that made a namespace.
fn owner(name: &str) -> Option<Pid> {
    let (pid, _) = name.strip_prefix(PREFIX)?.split_once('x')?;
    Pid::from_raw(pid.parse().ok()?)
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(args).output().context("can't start `ip`")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`ip {}`: {}", args.join(" "), said.trim());
    }
    Ok(())
}

/// The relay's first worker has a CPU of its own; so have generator and targets if there are
/// enough, else they share the last one.
fn cpus() -> Result<Cpus> {
    let set = sched_getaffinity(None).context("sched_getaffinity")?;
    let mine: Vec<usize> =
        (0..rustix::thread::CpuSet::MAX_CPU).filter(|&c| set.is_set(c)).collect();
    assign(&mine).context("this process may use no CPU")
}

fn assign(mine: &[usize]) -> Option<Cpus> {
    let (&first, &last) = (mine.first()?, mine.last()?);
    Some(match mine {
        [_, generator, target, second, ..] => {
            Cpus { relay: vec![first, *second], generator: *generator, target: *target }
        }
        [_, generator, target] => {
            Cpus { relay: vec![first, *target], generator: *generator, target: *target }
        }
        _ => Cpus { relay: vec![first, last], generator: last, target: last },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_labs_never_share_a_name_and_their_maker_is_known() {
        let (a, b) = (unique_prefix(), unique_prefix());
        assert_ne!(a, b);
        for prefix in [a, b] {
            let pid = owner(&format!("{prefix}-client")).unwrap();
            assert_eq!(pid.as_raw_nonzero().get().cast_unsigned(), std::process::id());
        }
        for foreign in ["weir123-client", "weirbench-client", "weirbench12-x", "other"] {
            assert!(owner(foreign).is_none(), "{foreign}");
        }
    }

    #[test]
    fn the_first_worker_shares_its_cpu_only_where_there_is_one() {
        let two = assign(&[0, 1]).unwrap();
        assert_eq!((two.relay, two.generator, two.target), (vec![0, 1], 1, 1));
        let eight = assign(&[0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
        assert_eq!((eight.relay, eight.generator, eight.target), (vec![0, 3], 1, 2));
        assert_eq!(assign(&[5]).unwrap().generator, 5);
        assert!(assign(&[]).is_none());
    }

    #[test]
    fn a_lab_without_namespaces_says_why() {
        let lab = Lab::loopback("for the test").unwrap();
        assert_eq!((lab.label(), lab.relay_ip()), ("loopback", Ipv4Addr::LOCALHOST.into()));
        assert_ne!(lab.free_address(Host::Relay).unwrap().port(), 0);
    }
}
