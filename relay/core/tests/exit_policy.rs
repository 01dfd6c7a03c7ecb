//! Where tunnels may go, and what clients are told when they may not.

use std::sync::Arc;

use weir_core::{Policy, Refusal, ResolveError};
use weir_sim::scenario::*;
use weir_sim::{ClientOptions, Name, TcpTarget, World, relay_config};

fn check(policy: &Policy, target: &str) -> Result<(), Refusal> {
    policy.check(target.parse().unwrap())
}

#[test]
fn c30_special_addresses_are_prohibited() {
    let policy = Policy::default();
    for target in [
        "0.0.0.0:80",
        "0.1.2.3:80",
        "10.1.2.3:80",
        "100.64.0.1:80",
        "100.127.255.255:80",
        "127.0.0.1:80",
        "127.255.0.1:80",
        "169.254.169.254:80",
        "172.16.0.1:80",
        "172.31.255.255:80",
        "192.0.0.1:80",
        "192.0.2.1:80",
        "192.168.1.1:80",
        "198.18.0.1:80",
        "198.51.100.1:80",
        "203.0.113.1:80",
        "224.0.0.1:80",
        "239.255.255.255:80",
        "240.0.0.1:80",
        "255.255.255.255:80",
        "[::]:80",
        "[::1]:80",
        "[::ffff:127.0.0.1]:80",
        "[::ffff:8.8.8.8]:80",
        "[::ffff:0:10.0.0.1]:80",
        "[::127.0.0.1]:80",
        "[64:ff9b::10.0.0.1]:80",
        "[64:ff9b::8.8.8.8]:80",
        "[64:ff9b:1::10.0.0.1]:80",
        "[100::1]:80",
        "[2001::1]:80",
        "[2001:2::1]:80",
        "[2001:db8::1]:80",
        "[2002:a00:1::1]:80",
        "[2002:808:808::1]:80",
        "[3fff::1]:80",
        "[5f00::1]:80",
        "[fc00::1]:80",
        "[fdff::1]:80",
        "[fe80::1]:80",
        "[fec0::1]:80",
        "[ff02::1]:80",
        "[2600::5efe:10.0.0.1]:80",
        "[2600::200:5efe:10.0.0.1]:80",
    ] {
        assert_eq!(check(&policy, target), Err(Refusal::Address), "{target}");
    }
    for target in [
        "1.1.1.1:80",
        "9.255.255.255:80",
        "11.0.0.0:80",
        "100.63.255.255:80",
        "100.128.0.0:80",
        "172.15.0.1:80",
        "172.32.0.1:80",
        "198.20.0.1:80",
        "223.255.255.255:80",
        "[2600::1]:80",
        "[2606:4700::1111]:443",
        "[2a00:1450::5efd:1:1]:80",
    ] {
        assert_eq!(check(&policy, target), Ok(()), "{target}");
    }
}

#[test]
fn c30_allow_opens_what_it_says_and_nothing_behind_it() {
    let policy = Policy {
        allow: ["10.1.0.0/16", "64:ff9b::/96", "fd00:1::/32"].map(|c| c.parse().unwrap()).to_vec(),
        deny: vec!["8.8.4.0/24".parse().unwrap(), "10.1.9.0/24".parse().unwrap()],
        own: vec!["10.1.0.1".parse().unwrap()],
        ..Policy::default()
    };
    assert_eq!(check(&policy, "10.1.2.3:80"), Ok(()));
    assert_eq!(check(&policy, "10.2.0.1:80"), Err(Refusal::Address));
    assert_eq!(check(&policy, "10.1.9.1:80"), Err(Refusal::Address));
    assert_eq!(check(&policy, "8.8.4.4:53"), Err(Refusal::Address));
    assert_eq!(check(&policy, "[fd00:1::1]:80"), Ok(()));
    assert_eq!(check(&policy, "[fd00:2::1]:80"), Err(Refusal::Address));
    // Translation to what is allowed itself, and not to what isn't.
    assert_eq!(check(&policy, "[64:ff9b::1.1.1.1]:80"), Ok(()));
    assert_eq!(check(&policy, "[64:ff9b::127.0.0.1]:80"), Err(Refusal::Address));
    assert_eq!(check(&policy, "[64:ff9b::10.1.9.1]:80"), Err(Refusal::Address));
    // The relay itself, in every disguise.
    assert_eq!(check(&policy, "10.1.0.1:80"), Err(Refusal::Own));
    assert_eq!(check(&policy, "[64:ff9b::10.1.0.1]:80"), Err(Refusal::Own));
    assert_eq!(check(&policy, "[::ffff:10.1.0.1]:80"), Err(Refusal::Own));
    assert_eq!(check(&policy, "1.1.1.1:25"), Err(Refusal::Port));
    let without_v6 = Policy { ipv6: false, ..Policy::default() };
    assert_eq!(check(&without_v6, "[2600::1]:80"), Err(Refusal::Unroutable));
}

#[test]
fn cidr_texts() {
    use weir_core::Cidr;
    for good in ["0.0.0.0/0", "10.0.0.0/8", "1.2.3.4/32", "::/0", "2001:db8::/32"] {
        assert_eq!(good.parse::<Cidr>().unwrap().to_string(), good);
    }
    assert_eq!("1.2.3.4".parse::<Cidr>().unwrap().to_string(), "1.2.3.4/32");
    for bad in ["", "10.0.0.0/33", "10.0.0.1/8", "::1/127", "x/8", "10.0.0.0/", "::/129"] {
        assert!(bad.parse::<Cidr>().is_err(), "{bad}");
    }
    let all: Cidr = "0.0.0.0/0".parse().unwrap();
    assert!(all.contains("255.1.2.3".parse().unwrap()));
    assert!(!all.contains("::1".parse().unwrap()));
}

#[test]
fn c30_c32_what_clients_are_told() {
    let (mut world, client) = world(1, TcpTarget::Echo);
    for (target, status, error) in [
        ("127.0.0.1:80", 403, "destination_ip_prohibited"),
        ("[::ffff:10.0.0.1]:80", 403, "destination_ip_prohibited"),
        ("9.9.9.9:80", 502, "proxy_loop_detected"),
        ("1.2.3.4:25", 403, "http_request_denied"),
    ] {
        let tcp = world.client(client).open_tcp(target);
        expect_status(&mut world, client, tcp, status);
        assert!(world.client(client).proxy_status(tcp).contains(error), "{target}");
        let udp = world.client(client).open_udp(target);
        expect_status(&mut world, client, udp, status);
        assert!(world.client(client).proxy_status(udp).contains(error), "{target}");
    }
    assert!(world.io.dialled.is_empty());
    assert_eq!(world.engine.stats().requests_prohibited, 8);
}

#[test]
fn c31_names_are_judged_by_every_address() {
    let (mut world, client) = world(2, TcpTarget::Echo);
    let ip = |text: &str| text.parse().unwrap();
    world.names.insert("inside.test".into(), Name::Addresses(vec![ip("10.0.0.1"), ip("::1")]));
    let mixed = vec![ip("127.0.0.1"), ip("fd00::1"), ip("1.2.3.4")];
    world.names.insert("mixed.test".into(), Name::Addresses(mixed));
    let inside = world.client(client).open_tcp("inside.test:80");
    expect_status(&mut world, client, inside, 403);
    assert!(world.io.dialled.is_empty());
    // Of several only those that are allowed are tried.
    let mixed = world.client(client).open_tcp("mixed.test:80");
    expect_status(&mut world, client, mixed, 200);
    let tried: Vec<_> = world.io.dialled.iter().map(|(_, to)| *to).collect();
    assert_eq!(tried, [address(TCP)]);
}

#[test]
fn c29_names_without_addresses() {
    let (mut world, client) = world(3, TcpTarget::Echo);
    for (name, what, status, error) in [
        ("gone.test", None, 502, "error=dns_error;rcode=\"NXDOMAIN\""),
        ("empty.test", Some(Name::Addresses(Vec::new())), 502, "error=dns_error"),
        ("broken.test", Some(Name::Fails(ResolveError::ServerFailure)), 502, "rcode=\"SERVFAIL\""),
        ("late.test", Some(Name::Fails(ResolveError::Timeout)), 504, "error=dns_timeout"),
        ("silent.test", Some(Name::Silent), 504, "error=dns_timeout"),
    ] {
        if let Some(what) = what {
            world.names.insert(name.into(), what);
        }
        for udp in [false, true] {
            let target = format!("{name}:80");
            let tunnel = match udp {
                true => world.client(client).open_udp(&target),
                false => world.client(client).open_tcp(&target),
            };
            expect_status(&mut world, client, tunnel, status);
            let told = world.client(client).proxy_status(tunnel);
            assert!(told.contains(error), "{name}: {told}");
        }
    }
    assert_eq!(world.engine.stats().resolves, 10);
    assert_eq!(world.engine.stats().resolves_failed, 10);
    expect_all_settled(&mut world);
}

#[test]
fn queries_are_bounded() {
    let mut config = relay_config();
    config.limits.resolves = 3;
    let mut world = World::new(4, config);
    world.names.insert("silent.test".into(), Name::Silent);
    let client = world.connect(ClientOptions::default());
    let tunnels: Vec<_> = (0..5).map(|_| world.client(client).open_udp("silent.test:53")).collect();
    world.run_for(std::time::Duration::from_millis(100));
    let answered: Vec<u16> = tunnels.iter().map(|id| world.client(client).status(*id)).collect();
    assert_eq!(answered, [0, 0, 0, 503, 503]);
    // A request that is given up makes room at once.
    world.client(client).reset(tunnels[0], 0x10c);
    world.run_for(std::time::Duration::from_millis(100));
    let next = world.client(client).open_udp("silent.test:53");
    world.run_for(std::time::Duration::from_millis(100));
    assert_eq!(world.client(client).status(next), 0);
}

#[test]
fn resources_that_wait_do_not_keep_names_from_being_resolved() {
    let mut config = relay_config();
    config.limits.resolves = 3;
    let mut world = World::new(4, config);
    add_targets(&mut world, TcpTarget::Echo);
    world.names.insert("echo.test".into(), Name::Addresses(vec![address(UDP).ip()]));
    world.resources = |_| None;
    let client = world.connect(ClientOptions::default());
    for _ in 0..3 {
        world.client(client).resource("GET", "/.well-known/weir/usage", b"");
    }
    world.run_for(std::time::Duration::from_millis(100));
    let tunnel = world.client(client).open_udp("echo.test:53");
    expect_status(&mut world, client, tunnel, 200);
}

#[test]
fn a_new_policy_is_for_new_tunnels() {
    let (mut world, client) = world(5, TcpTarget::Echo);
    let old = open_udp(&mut world, client);
    let policy = Policy { deny: vec!["1.2.3.0/24".parse().unwrap()], ..Policy::default() };
    world.command(weir_core::Command::Policy(Arc::new(policy)));
    let new = world.client(client).open_udp(UDP);
    expect_status(&mut world, client, new, 403);
    world.client(client).send_udp(old, b"still");
    world.run_until("the echo", |w| w.client(client).stream(old).datagrams.len() == 1);
}
