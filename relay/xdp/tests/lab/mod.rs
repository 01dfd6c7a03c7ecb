//! Network namespaces for the tests.

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Two namespaces joined by a veth pair: a relay and a target. Removed when dropped.
pub(crate) struct Lab {
    relay: String,
    target: String,
}

pub(crate) const RELAY4: &str = "10.77.0.1";
pub(crate) const TARGET4: &str = "10.77.0.2";
pub(crate) const RELAY6: &str = "fd77::1";
pub(crate) const TARGET6: &str = "fd77::2";
pub(crate) const RELAY_IF: &str = "wxdp0";

impl Lab {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("wxdp{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let lab = Self { relay: format!("{name}r"), target: format!("{name}t") };
        for namespace in [&lab.relay, &lab.target] {
            ip(&format!("netns add {namespace}"));
            ip(&format!("-n {namespace} link set lo up"));
        }
        ip(&format!(
            "link add {RELAY_IF} netns {} type veth peer name wxdp1 netns {}",
            lab.relay, lab.target
        ));
        let ends =
            [(&lab.relay, RELAY_IF, RELAY4, RELAY6), (&lab.target, "wxdp1", TARGET4, TARGET6)];
        for (namespace, interface, v4, v6) in ends {
            ip(&format!("-n {namespace} addr add {v4}/24 dev {interface}"));
            ip(&format!("-n {namespace} addr add {v6}/64 dev {interface} nodad"));
            ip(&format!("-n {namespace} link set {interface} up"));
        }
        lab
    }

    /// Runs `work` in the relay's namespace.
    pub(crate) fn relay<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.relay, work)
    }

    /// Runs `work` in the target's namespace.
    pub(crate) fn target<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.target, work)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.relay, &self.target] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

/// A name for an instance that no other test uses.
pub(crate) fn instance(test: &str) -> String {
    format!("wxdp-{test}-{}", std::process::id())
}

pub(crate) fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse::<IpAddr>().expect("literal"), port)
}

fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    let file = File::open(format!("/var/run/netns/{namespace}")).expect("namespace");
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            // SAFETY: setns changes the calling thread only, which is new and ends here.
            let result = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(result, 0, "setns: {}", std::io::Error::last_os_error());
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn ip(args: &str) {
    let output = Command::new("ip").args(args.split(' ')).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
}
