//! What is measured: a table. A scenario is the work of the generator and what surrounds it.

use std::net::SocketAddr;

use weir_load::spec::{Pace, Payload, Udp, Work};

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    /// What CPU and rate are counted per.
    pub unit: &'static str,
    pub kind: Kind,
    /// Subjects that it makes sense with, in the order of the first repeat; peers come last.
    pub subjects: &'static [&'static str],
    /// Is in the plan `quick`.
    pub quick: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// The generator works for a while.
    Load(Load),
    /// Connections are held; memory is what counts.
    Idle { connections: u32, tunnels_per_connection: u32 },
    /// Nanoseconds of the XDP program, by `BPF_PROG_TEST_RUN`, for the packet of this name.
    Xdp(&'static str),
    /// A test of the workspace whose success is the figure.
    Test { package: &'static str, target: &'static str },
    /// A `cargo bench` target of the workspace that measures `what`.
    Bench { package: &'static str, target: &'static str, what: &'static str },
}

#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub work: fn(&At) -> Work,
    /// Which of the target's servers it talks to.
    pub service: Service,
    pub connections: u32,
    pub workers: u16,
    /// Share of the subject's own maximum that the work is paced at, for those that need it.
    pub share: Option<f64>,
    pub twist: Twist,
}

/// What happens besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twist {
    None,
    /// SIGHUP several times while it runs.
    Reload,
    /// Loss and delay between client and relay.
    LossAndDelay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// UDP, trains answered by trains.
    Echo,
    /// UDP, every datagram answered by itself.
    EchoSingly,
    /// TCP: the first bytes of a connection say what is wanted.
    Tcp,
}

/// Where the work goes, as the generator sees it.
#[derive(Clone, Copy, Debug)]
pub struct At {
    pub target: SocketAddr,
    /// How many targets there may be at successive ports.
    pub targets_max: u16,
    /// UDP datagrams per second, if the scenario is paced.
    pub per_s: f64,
}

/// Every subject of the bench itself, the relay first.
pub const SUBJECTS: [&str; 9] =
    ["weir", "noxdp", "allxdp", "poll", "uring", "xsk", "direct", "floor", "plain"];
/// `noxdp` and `allxdp` only where the difference is looked at, because a plan has a time budget.
const ALL: &[&str] = &["weir", "poll", "uring", "xsk", "direct", "floor", "plain"];
/// TCP tunnels are on io_uring in the AF_XDP backend too.
const TCP: &[&str] = &["weir", "noxdp", "allxdp", "poll", "uring", "direct", "floor", "plain"];
/// What terminates QUIC.
const RELAYS: &[&str] = &["weir", "poll", "uring", "xsk", "plain"];
const OWN: &[&str] = &["weir", "poll", "uring", "xsk"];
const WEIR: &[&str] = &["weir"];

/// A rate at which nothing waits: the time between two datagrams is many round trips.
const IDLE_PER_S: f64 = 500.0;

const LOAD: Load = Load {
    work: |at| udp(at, 2, Payload::Bytes(1200), Pace::Window(256)),
    service: Service::Echo,
    connections: 2,
    workers: 1,
    share: None,
    twist: Twist::None,
};

/// Paced at a share of the maximum.
const fn paced(share: f64) -> Load {
    Load {
        work: |at| udp(at, 2, Payload::Bytes(1200), Pace::PerSecond(at.per_s)),
        share: Some(share),
        ..LOAD
    }
}

const fn tcp(work: fn(&At) -> Work) -> Load {
    Load { work, service: Service::Tcp, ..LOAD }
}

const fn row(name: &'static str, unit: &'static str, kind: Kind, about: &'static str) -> Scenario {
    Scenario { name, about, unit, kind, subjects: ALL, quick: false }
}

const fn settle(
    name: &'static str,
    unit: &'static str,
    what: &'static str,
    about: &'static str,
) -> Scenario {
    row(name, unit, Kind::Bench { package: "weir-settle", target: "speed", what }, about).with(WEIR)
}

const fn xdp(name: &'static str, packet: &'static str, about: &'static str) -> Scenario {
    row(name, "packet", Kind::Xdp(packet), about).with(WEIR)
}

impl Scenario {
    const fn quick(self) -> Scenario {
        Scenario { quick: true, ..self }
    }

    const fn with(self, subjects: &'static [&'static str]) -> Scenario {
        Scenario { subjects, ..self }
    }

    /// By its name.
    pub fn find(name: &str) -> Option<&'static Scenario> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }

    /// By its name, or all of a family by what their names begin with: `settle`, `rtt`, `xdp`.
    pub fn find_all(name: &str) -> Vec<&'static Scenario> {
        let member = |of: &&Scenario| of.name.strip_prefix(name)?.strip_prefix('-').map(drop);
        match Scenario::find(name) {
            Some(scenario) => vec![scenario],
            None => SCENARIOS.iter().filter(|of| member(of).is_some()).collect(),
        }
    }

    pub fn load(&self) -> Option<&Load> {
        match &self.kind {
            Kind::Load(load) => Some(load),
            _ => None,
        }
    }
}

/// One UDP echo scenario; `tunnels` in all.
fn udp(at: &At, tunnels: u32, payload: Payload, pace: Pace) -> Work {
    Work::Udp(echo(at, tunnels, payload, pace))
}

fn echo(at: &At, tunnels: u32, payload: Payload, pace: Pace) -> Udp {
    Udp { target: at.target, targets: 1, tunnels, payload, pace, batch: true }
}

fn singly(at: &At) -> Work {
    Work::Udp(Udp { batch: false, ..echo(at, 2, Payload::Bytes(1200), Pace::Window(256)) })
}

/// 1,000 tunnels to 1,000 targets. A window of 100 over the 100 tunnels of each connection is one
/// datagram in flight per tunnel.
fn scattered(at: &At) -> Work {
    let targets = at.targets_max.min(1000);
    Work::Udp(Udp { targets, ..echo(at, 1000, Payload::Bytes(1200), Pace::Window(100)) })
}

/// The flood is paced above what the relay can do, as far as the generator can; nine polite
/// tunnels send 100 per second each.
fn fairness(at: &At, one_connection: bool) -> Work {
    Work::Fairness {
        flood: echo(at, 1, Payload::Bytes(1200), Pace::Flood(at.per_s)),
        polite: echo(at, 9, Payload::Bytes(1200), Pace::PerSecond(900.0)),
        one_connection,
    }
}

/// The table.
pub const SCENARIOS: &[Scenario] = &[
    row(
        "udp-1200",
        "datagram",
        Kind::Load(LOAD),
        "UDP echo, 1200 bytes, 2 connections, window 256 each",
    )
    .with(&SUBJECTS)
    .quick(),
    row(
        "udp-1200-singly",
        "datagram",
        Kind::Load(Load { work: singly, service: Service::EchoSingly, ..LOAD }),
        "the same with generator and target sending every datagram by itself",
    ),
    row(
        "udp-64",
        "datagram",
        Kind::Load(Load { work: |at| udp(at, 2, Payload::Bytes(64), Pace::Window(256)), ..LOAD }),
        "UDP echo, 64 bytes, 2 connections, window 256 each",
    )
    .quick(),
    row(
        "udp-mixed",
        "datagram",
        Kind::Load(Load { work: |at| udp(at, 16, Payload::Imix, Pace::Window(256)), ..LOAD }),
        "UDP echo, 7 x 64 + 4 x 576 + 1 x 1200 bytes, 16 tunnels on 2 connections",
    ),
    row(
        "udp-scattered",
        "datagram",
        Kind::Load(Load { work: scattered, connections: 10, ..LOAD }),
        "1,000 tunnels to 1,000 targets, one datagram in flight each: no trains",
    )
    .quick(),
    row(
        "tcp-download",
        "byte",
        Kind::Load(tcp(|at| Work::TcpDownload { target: at.target, streams: 8 })),
        "8 downloads on 2 connections",
    )
    .with(TCP)
    .quick(),
    row(
        "tcp-upload",
        "byte",
        Kind::Load(tcp(|at| Work::TcpUpload { target: at.target, streams: 8 })),
        "8 uploads on 2 connections",
    )
    .with(TCP),
    row(
        "tcp-small",
        "request",
        Kind::Load(tcp(|at| Work::TcpSmall {
            target: at.target,
            concurrency: 32,
            request: 1024,
            response: 1024,
        })),
        "1 KiB request, 1 KiB response, a new tunnel each, 32 at once",
    )
    .with(TCP),
    row(
        "rtt-idle",
        "datagram",
        Kind::Load(Load {
            work: |at| udp(at, 1, Payload::Bytes(1200), Pace::PerSecond(IDLE_PER_S)),
            connections: 1,
            ..LOAD
        }),
        "echo time at 500 datagrams a second",
    ),
    row(
        "rtt-10",
        "datagram",
        Kind::Load(paced(0.1)),
        "echo time at 10 % of the subject's own maximum",
    )
    .quick(),
    row("rtt-50", "datagram", Kind::Load(paced(0.5)), "the same at 50 %"),
    row("rtt-70", "datagram", Kind::Load(paced(0.7)), "the same at 70 %").quick(),
    row("rtt-90", "datagram", Kind::Load(paced(0.9)), "the same at 90 %"),
    row(
        "handshakes-full",
        "handshake",
        Kind::Load(Load { work: |_| Work::Handshakes { resumed: false, concurrency: 16 }, ..LOAD }),
        "QUIC handshakes with the certificate, 16 at once",
    )
    .with(RELAYS)
    .quick(),
    row(
        "handshakes-resumed",
        "handshake",
        Kind::Load(Load { work: |_| Work::Handshakes { resumed: true, concurrency: 16 }, ..LOAD }),
        "QUIC handshakes with a session ticket, 16 at once",
    )
    .with(RELAYS),
    row(
        "opens",
        "tunnel",
        Kind::Load(Load { work: |at| Work::Opens { target: at.target, concurrency: 16 }, ..LOAD }),
        "UDP tunnels opened and closed, 16 at once on 2 connections",
    )
    .with(RELAYS),
    row(
        "idle-connections",
        "connection",
        Kind::Idle { connections: 1000, tunnels_per_connection: 1 },
        "memory with 1,000 connections held, each with one UDP tunnel",
    )
    .with(RELAYS),
    row(
        "idle-tunnels",
        "tunnel",
        Kind::Idle { connections: 1000, tunnels_per_connection: 15 },
        "memory with 15 UDP tunnels on each of 1,000 connections",
    )
    .with(RELAYS),
    row(
        "fairness",
        "datagram",
        Kind::Load(Load {
            work: |at| fairness(at, false),
            share: Some(1.5),
            connections: 10,
            ..LOAD
        }),
        "nine polite tunnels beside one that floods, each on its own connection",
    )
    .with(RELAYS),
    row(
        "fairness-shared",
        "datagram",
        Kind::Load(Load {
            work: |at| fairness(at, true),
            share: Some(1.5),
            connections: 1,
            ..LOAD
        }),
        "the same, all on one connection",
    )
    .with(RELAYS),
    row(
        "loss-delay",
        "byte",
        Kind::Load(Load {
            twist: Twist::LossAndDelay,
            ..tcp(|at| Work::TcpDownload { target: at.target, streams: 8 })
        }),
        "downloads with 1 % loss each way and a round trip of 20 ms to the relay",
    )
    .with(RELAYS),
    row("workers-1", "datagram", Kind::Load(WORKERS), "UDP echo, 8 connections, one worker")
        .with(OWN),
    row(
        "workers-2",
        "datagram",
        Kind::Load(Load { workers: 2, ..WORKERS }),
        "UDP echo, 8 connections, two workers",
    )
    .with(OWN),
    row(
        "reload",
        "datagram",
        Kind::Load(Load { twist: Twist::Reload, ..paced(0.2) }),
        "echo at 20 % of the maximum while the configuration is reloaded 10 times",
    )
    .with(OWN),
    row(
        "allocations",
        "test",
        Kind::Test { package: "weir-io", target: "allocations" },
        "allocations per relayed datagram after warm-up, by a test that counts them",
    )
    .with(WEIR),
    settle("settle-verify", "voucher", "verify", "vouchers verified and taken, one core"),
    settle(
        "settle-journal",
        "record",
        "journal",
        "usage records from the relay's socket to disk, synced, and acked",
    ),
    settle("settle-claim", "voucher", "claim", "300 vouchers claimed and settled on anvil"),
    xdp("xdp-known", "exit flow, in the table", "a packet of a known exit flow").quick(),
    xdp("xdp-access", "client, short header", "a client's packet, short header").quick(),
    xdp("xdp-initial", "client, Initial", "a client's first packet").quick(),
    xdp("xdp-drop", "client, short Initial", "a malformed packet that is dropped").quick(),
    xdp("xdp-foreign", "foreign TCP", "a packet of a connection that is none of the relay's")
        .quick(),
    xdp("xdp-unattributed", "exit flow, unattributed", "a UDP datagram that no exit flow has")
        .quick(),
    xdp("xdp-not-ip", "not IP", "an ARP request"),
    xdp("xdp-fragment", "fragment", "a fragment, which is the kernel's affair"),
    xdp("xdp-leaving", "exit flow, leaving", "an exit flow's packet on its way out (tc)"),
    xdp("xdp-to-xsk", "exit flow, to AF_XDP", "an exit flow's packet that AF_XDP gets"),
    xdp("xdp-access-to-xsk", "client, to AF_XDP", "a client's packet that AF_XDP gets"),
];

const WORKERS: Load =
    Load { work: |at| udp(at, 8, Payload::Bytes(1200), Pace::Window(64)), connections: 8, ..LOAD };

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_subjects_known() {
        let names: BTreeSet<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
        for scenario in SCENARIOS {
            for subject in scenario.subjects {
                assert!(SUBJECTS.contains(subject), "{}: {subject}", scenario.name);
            }
        }
    }

    #[test]
    fn the_quick_plan_has_what_it_promises_with_its_baselines() {
        let quick: Vec<&Scenario> = SCENARIOS.iter().filter(|scenario| scenario.quick).collect();
        for start in
            ["udp-1200", "udp-64", "udp-scattered", "tcp-download", "rtt", "handshakes", "xdp"]
        {
            assert!(quick.iter().any(|scenario| scenario.name.starts_with(start)), "{start}");
        }
        let udp = Scenario::find("udp-1200").unwrap();
        assert_eq!(udp.subjects, SUBJECTS);
    }

    #[test]
    fn a_family_is_found_by_what_its_names_begin_with() {
        let names = |name: &str| -> Vec<&str> {
            Scenario::find_all(name).iter().map(|scenario| scenario.name).collect()
        };
        assert_eq!(names("settle"), ["settle-verify", "settle-journal", "settle-claim"]);
        assert_eq!(names("udp-1200"), ["udp-1200"], "not udp-1200-singly too");
        assert!(names("udp-12").is_empty() && names("").is_empty());
    }

    /// A window may not be smaller than the tunnels that are to have a datagram in flight.
    #[test]
    fn scattered_tunnels_have_one_datagram_in_flight_each() {
        let scenario = Scenario::find("udp-scattered").unwrap();
        let load = scenario.load().unwrap();
        let at = At { target: ([127, 0, 0, 1], 7000).into(), targets_max: 1000, per_s: 0.0 };
        let Work::Udp(udp) = (load.work)(&at) else { panic!("not UDP") };
        let Pace::Window(window) = udp.pace else { panic!("not a closed loop") };
        assert_eq!(window * load.connections, udp.tunnels);
        assert_eq!(udp.targets, 1000);
    }
}
