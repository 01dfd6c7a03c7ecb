//! Does AF_XDP suit this host, and what does it win?

use weir_io::limits;
use weir_io::xsk::host;

use super::Finding;
use crate::config::{BackendChoice, Config};

/// `io.xsk.exit_ports` where there is no configuration.
const EXIT_PORTS: std::ops::RangeInclusive<u16> = 61_000..=65_535;

/// More open files than any host grants without being told to.
const FILES_ASKED: u64 = 1 << 20;

/// The program knows so many queues of an interface.
const QUEUES_MAX: u32 = 64;

pub(super) fn findings(config: Option<&Config>, interfaces: &[String]) -> Vec<Finding> {
    let suits: Vec<Suits> = interfaces.iter().filter_map(|name| Suits::ask(name)).collect();
    let mut findings: Vec<Finding> = suits.iter().map(Suits::finding).collect();
    let ports = config.map_or(EXIT_PORTS, |config| config.io.xsk.exit_ports.clone());
    let asked_for = config.is_some_and(|config| config.io.backend == BackendChoice::Xsk);
    findings.push(match host::unreserved_ports(&ports) {
        None => Finding::ok("xsk ports", format!("{}-{} are kept", ports.start(), ports.end())),
        Some(problem) if asked_for => {
            Finding::fail("xsk ports", "io.xsk.exit_ports can't be used", problem)
        }
        Some(problem) => Finding::ok("xsk ports", format!("not kept, for xsk only: {problem}")),
    });
    findings.push(tunnels(config, ports.len()));
    findings.push(backend(&suits));
    findings
}

/// Which limit stops the number of UDP tunnels.
fn tunnels(config: Option<&Config>, ports: usize) -> Finding {
    let flows = config.map_or(weir_xdp::FLOWS_MAX, |config| config.xdp.flows);
    let files = match limits::raise_open_files(FILES_ASKED) {
        Ok(limit) => limit.soft.to_string(),
        Err(error) => format!("({error})"),
    };
    Finding::ok(
        "tunnels",
        format!(
            "uring and poll: one descriptor each, so {files} open files; xsk: no descriptor, but a \
             port each to one target, so {ports} to each target and {flows} (xdp.flows) in all"
        ),
    )
}

/// What an interface offers.
struct Suits {
    name: String,
    queues: u32,
    mtu: Option<u32>,
    features: Result<host::Features, String>,
}

impl Suits {
    /// `None` if there is no such interface, which another check says.
    fn ask(name: &str) -> Option<Self> {
        let interface = host::interface(name).ok()?;
        let features = host::features(&interface).map_err(|error| error.to_string());
        let mtu = weir_xdp::mtu(name).ok();
        Some(Self { name: name.to_owned(), queues: interface.queues, mtu, features })
    }

    fn finding(&self) -> Finding {
        let Self { name, queues, mtu, .. } = self;
        let found = format!("{name}: {}, {queues} queue(s), mtu {}", self.kind(), mtu.unwrap_or(0));
        match self.problem() {
            None => Finding::ok("xsk", found),
            Some(problem) => Finding::ok("xsk", format!("{found}; not for AF_XDP: {problem}")),
        }
    }

    fn kind(&self) -> String {
        match &self.features {
            Err(error) => format!("the driver's features can't be asked for ({error})"),
            Ok(features) => {
                let copies = if features.zero_copy { "zero-copy" } else { "frames are copied" };
                let sums =
                    if features.checksum { "checksums by the NIC" } else { "checksums by us" };
                format!("{copies}, {sums}")
            }
        }
    }

    fn problem(&self) -> Option<String> {
        if self.mtu.is_some_and(|mtu| mtu > host::MTU_MAX) {
            return Some(format!(
                "the MTU is beyond {}, the longest for its frames",
                host::MTU_MAX
            ));
        }
        if self.queues > QUEUES_MAX {
            let advice = format!("`ethtool -L {} combined {QUEUES_MAX}`", self.name);
            return Some(format!("only {QUEUES_MAX} queues can have a socket: {advice}"));
        }
        match self.features {
            Ok(features) if !features.redirect => {
                Some("the driver has no XDP redirect: the generic one is slower".to_owned())
            }
            _ => None,
        }
    }

    fn is_zero_copy(&self) -> bool {
        self.problem().is_none() && self.features.as_ref().is_ok_and(|features| features.zero_copy)
    }
}

/// Which `io.backend` to choose, and why.
fn backend(suits: &[Suits]) -> Finding {
    let found = if weir_io::probe().is_err() {
        "poll: io_uring is not there".to_owned()
    } else if !suits.is_empty() && suits.iter().all(Suits::is_zero_copy) {
        "xsk for many tunnels of few datagrams each, as its cost doesn't depend on trains, and the \
         drivers don't copy; uring where tunnels are bulky or mostly TCP. Measure both: \
         `cargo xtask bench --scenario udp-scattered`"
            .to_owned()
    } else {
        "uring: trains by GSO and GRO cost least, and these drivers would copy each AF_XDP frame. \
         xsk may still pay where nearly every datagram is of another tunnel"
            .to_owned()
    };
    Finding::ok("io.backend", found)
}
