//! Whatever happens on the way: what came in went out or was dropped for a reason (checklist 63).
//! The ledger of the sim checks the equation at every write; here is what makes it hard.

use std::time::Duration;

use quinn_proto::StreamId;
use weir_core::{Command, EngineStats, Limits};
use weir_sim::network::Link;
use weir_sim::rng::Rng;
use weir_sim::scenario::*;
use weir_sim::tcp::pattern;
use weir_sim::{ClientId, ClientOptions, Name, TcpTarget, UdpTarget, World, relay_config};

const SEEDS: u64 = 120;

#[test]
fn c63_random_traffic_and_faults_conserve_bytes() {
    let mut all = EngineStats::default();
    for seed in 0..SEEDS {
        all.merge(&Storm::new(seed).run());
    }
    // The storms were worth the name.
    assert!(all.up_bytes > 10_000_000 && all.down_bytes > 10_000_000, "{all:#?}");
    for (name, count) in [
        ("queue full", all.dropped_queue_full),
        ("too big", all.dropped_too_big),
        ("closed", all.dropped_closed),
        ("early", all.dropped_early),
        ("failed", all.tunnels_failed),
        ("reset", all.tunnels_reset_by_target),
    ] {
        assert!(count > 10, "{name}: {all:#?}");
    }
}

/// A few clients that do random things over a bad network to odd targets.
struct Storm {
    world: World,
    rng: Rng,
    tunnels: Vec<(ClientId, StreamId, bool)>,
}

const UDP_TARGETS: [&str; 4] = ["1.2.3.4:53", "1.2.3.5:53", "1.2.3.6:53", "name.test:53"];
const TCP_TARGETS: [&str; 6] =
    ["1.2.3.4:80", "1.2.3.5:80", "1.2.3.6:80", "1.2.3.7:80", "1.2.3.8:80", "name.test:80"];

impl Storm {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0xabcd);
        let mut config = relay_config();
        config.limits = Limits {
            udp_queue_bytes: 20_000,
            early_bytes: 5_000,
            tcp_window: 30_000,
            ..Limits::default()
        };
        let mut world = World::new(seed, config);
        world.io.link = Link {
            delay: Duration::from_millis(1 + rng.below(40)),
            jitter: Duration::from_millis(rng.below(10)),
            loss_percent: rng.below(8),
            mtu: [1472, 1400][rng.below(2) as usize],
            bottleneck: None,
        };
        world.io.buffers = [1, 4, 64][rng.below(3) as usize];
        let delay = Duration::from_millis(rng.below(20));
        for (target, kind) in UDP_TARGETS.iter().zip([
            UdpTarget::Echo { delay },
            UdpTarget::Mtu(900),
            UdpTarget::Closed,
        ]) {
            world.io.udp_targets.insert(address(target), kind);
        }
        for (target, kind) in TCP_TARGETS.iter().zip([
            TcpTarget::Echo,
            TcpTarget::Source { bytes: 200_000 },
            TcpTarget::Stuck { takes: 5000 },
            TcpTarget::Resets { after: 20_000 },
            TcpTarget::Refuses,
        ]) {
            world.io.tcp_targets.insert(address(target), kind);
        }
        let ips = ["1.2.3.8", "1.2.3.4"].map(|ip| ip.parse().unwrap());
        world.names.insert("name.test".into(), Name::Addresses(ips.to_vec()));
        Storm { world, rng, tunnels: Vec::new() }
    }

    fn run(mut self) -> EngineStats {
        let clients: Vec<_> = (0..3)
            .map(|_| {
                let options = ClientOptions {
                    h3_datagram: self.rng.chance(70),
                    stream_window: 20_000 + self.rng.below(100_000) as u32,
                    ..ClientOptions::default()
                };
                self.world.connect(options)
            })
            .collect();
        for _ in 0..60 {
            let client = clients[self.rng.below(3) as usize];
            self.act(client);
            let pause = self.rng.below(15);
            self.world.run_for(Duration::from_millis(pause));
        }
        match self.rng.below(3) {
            0 => self.world.run_for(Duration::from_secs(5)),
            1 => {
                let deadline = self.world.now + Duration::from_millis(300);
                self.world.command(Command::Drain { deadline });
                self.world.run_for(Duration::from_secs(5));
            }
            _ => {}
        }
        for (client, id, _) in std::mem::take(&mut self.tunnels) {
            if !self.world.client(client).is_over(id) {
                self.world.client(client).reset(id, 0x10c);
            }
        }
        // Connections to clients that were lost on the way time out.
        self.world.run_for(Duration::from_secs(400));
        expect_all_settled(&mut self.world);
        let stats = self.world.engine.stats();
        let total = |of: fn(&weir_core::ledger::TunnelCounters) -> u64| -> u64 {
            self.world.ledger.rows.iter().map(|row| of(&row.counters)).sum()
        };
        assert_eq!(stats.up_bytes, total(|counters| counters.up.forwarded.bytes));
        assert_eq!(stats.down_bytes, total(|counters| counters.down.forwarded.bytes));
        let at_targets: usize = self.world.io.udp_received.values().flatten().map(Vec::len).sum();
        let at_targets =
            at_targets + self.world.io.tcp_received.values().map(Vec::len).sum::<usize>();
        // A target that is gone took what was sent to it and forgot it.
        assert!(stats.up_bytes >= at_targets as u64);
        *stats
    }

    fn act(&mut self, client: ClientId) {
        if self.world.client(client).closed.is_some() {
            return;
        }
        let own: Vec<_> =
            self.tunnels.iter().filter(|(owner, ..)| *owner == client).copied().collect();
        if own.is_empty() || self.rng.chance(20) {
            let udp = self.rng.chance(60);
            let targets = if udp { &UDP_TARGETS[..] } else { &TCP_TARGETS[..] };
            let target = targets[self.rng.below(targets.len() as u64) as usize];
            let id = match udp {
                true => self.world.client(client).open_udp(target),
                false => self.world.client(client).open_tcp(target),
            };
            self.tunnels.push((client, id, udp));
            return;
        }
        let (_, id, udp) = own[self.rng.below(own.len() as u64) as usize];
        if self.world.client(client).is_over(id) {
            return;
        }
        match (self.rng.below(10), udp) {
            (0, _) => self.world.client(client).reset(id, 0x10c),
            (1, _) => self.world.client(client).finish(id),
            (2, _) => {
                let paused = self.rng.chance(50);
                self.world.client(client).stream(id).paused = paused;
            }
            (3, true) => {
                for _ in 0..1 + self.rng.below(100) {
                    let len = self.rng.below(1500) as usize;
                    self.world.io.target_sends(address(UDP_TARGETS[0]), &vec![9; len]);
                }
            }
            (_, true) => {
                for _ in 0..1 + self.rng.below(30) {
                    let len = self.rng.below(1200) as usize;
                    let payload = vec![len as u8; len];
                    let capsule = self.rng.chance(20);
                    let client = self.world.client(client);
                    match capsule {
                        true => client.send_udp_capsule(id, &payload),
                        false => drop(client.send_udp(id, &payload)),
                    }
                }
            }
            (_, false) => {
                let len = self.rng.below(30_000) as usize;
                let content: Vec<u8> = (0..len).map(pattern).collect();
                self.world.client(client).send(id, &content);
            }
        }
    }
}

#[test]
fn c63_without_loss_clients_get_what_was_forwarded() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let (mut world, client) = world(seed, TcpTarget::Echo);
        let (udp, tcp) = (open_udp(&mut world, client), open_tcp(&mut world, client));
        for _ in 0..30 {
            let len = rng.below(1150) as usize;
            world.client(client).send_udp(udp, &vec![1; len]);
            let len = rng.below(20_000) as usize;
            world.client(client).send(tcp, &vec![2; len]);
            world.run_for(Duration::from_millis(rng.below(5)));
        }
        world.run_for(Duration::from_secs(2));
        let stream = world.client(client).stream(udp);
        let got = (
            stream.datagrams.len() as u64,
            stream.datagrams.iter().map(Vec::len).sum::<usize>() as u64,
        );
        let row = |transport| {
            let row = world.ledger.rows.iter().find(|row| row.entry.flow.transport == transport);
            row.unwrap().counters
        };
        let down = row(weir_core::port::Transport::Udp).down.forwarded;
        assert_eq!(got, (down.datagrams, down.bytes), "seed {seed}");
        let down = row(weir_core::port::Transport::Tcp).down.forwarded.bytes;
        assert_eq!(world.client(client).stream(tcp).data.len() as u64, down, "seed {seed}");
    }
}

#[test]
fn c63_counters_survive_reload_and_migration() {
    let (mut world, client) = world(7, TcpTarget::Echo);
    let tunnel = open_udp(&mut world, client);
    for n in 0..10 {
        world.client(client).send_udp(tunnel, &[n; 100]);
        world.run_for(Duration::from_millis(30));
        match n {
            3 => world.client(client).address = address("8.8.9.9:9999"),
            5 => world.command(Command::Tls(weir_sim::tls::server())),
            7 => world.command(Command::Policy(Default::default())),
            _ => {}
        }
    }
    world.run_until("all echoes", |w| w.client(client).stream(tunnel).datagrams.len() == 10);
    assert_eq!(world.ledger.rows.len(), 1);
    assert_eq!(counters(&world).up.forwarded.bytes, 1000);
    assert_eq!(counters(&world).down.forwarded.bytes, 1000);
}
