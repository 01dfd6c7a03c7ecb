//! What each section holds, its defaults and its limits.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use weir_abi::{FLOWS_MAX, FLOWS_MAX_MAX};

use super::reader::Section;
use super::value::{ByteSize, Hex32, NameServer, PortRange};
use super::*;

/// The connection-ID layout has room for so many workers.
const WORKERS_MAX: u64 = 64;

/// The least credit window: what a payer uses between two of its signatures at a modest rate.
pub(crate) const WINDOW_MIN: u64 = 64 << 10;

/// More than any link carries between two signatures.
const WINDOW_MAX: u64 = 1 << 40;

/// 1 Tbit/s.
const KBPS_MAX: u64 = 1_000_000_000;

/// What the SHA-256 of an empty token looks like; it comes from `echo -n "$UNSET" | sha256sum`.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

pub(super) fn read(root: Section<'_>) -> Config {
    let config = Config {
        relay: relay(root.section("relay")),
        log: log(root.section("log")),
        tls: tls(root.section("tls")),
        io: io(root.section("io")),
        quic: quic(root.section("quic")),
        xdp: xdp(root.section("xdp")),
        exit: exit(root.section("exit")),
        dns: dns(root.section("dns")),
        limits: limits(root.section("limits")),
        settle: settle(root.section("settle")),
        grants: grants(root.sections("grant")),
        tokens: tokens::read(root.section("access")),
        file: PathBuf::new(),
        places: BTreeMap::new(),
    };
    if config.grants.is_empty() && !root.has("grant") && config.tokens.is_none() {
        let hint = "add a [[grant]] with name and token_sha256; `printf %s TOKEN | sha256sum`";
        root.reject("grant", "nobody may use this relay".to_owned(), Some(hint.to_owned()));
    }
    if config.io.backend == BackendChoice::Xsk {
        let hint = "[xdp] mode = \"native\" and interfaces = [...]: AF_XDP gets its frames there";
        if config.xdp.mode == XdpMode::Off {
            let message = "io.backend is xsk and xdp.mode is off".to_owned();
            root.reject("io", message, Some(hint.to_owned()));
        }
        if let Some(name) = config.xdp.tc_interfaces.first() {
            let message = format!("io.backend is xsk, and xdp.tc_interfaces has `{name}`");
            root.reject("io", message, Some(hint.to_owned()));
        }
        let known = &config.xdp.interfaces;
        if let Some(name) = config.io.xsk.interfaces.iter().find(|name| !known.contains(name)) {
            let message = format!("io.xsk.interfaces names `{name}`, which is not in [xdp]");
            root.reject("io", message, Some(hint.to_owned()));
        }
    }
    if let (None, Some(index)) =
        (&config.settle, config.grants.iter().position(|grant| grant.channel.is_some()))
    {
        let message = format!("grant.{index} has a channel, but there is no [settle] to bill it");
        let hint = "add [settle] with its socket, or remove `channel`";
        root.reject("grant", message, Some(hint.to_owned()));
    }
    if let (None, Some(_)) = (&config.settle, &config.tokens) {
        let hint = "add [settle]: spent tokens are billed to their issuer, and bound to exit_id";
        let message = "access.tokens is there, but no [settle]".to_owned();
        root.reject("access", message, Some(hint.to_owned()));
    }
    root.finish();
    config
}

fn relay(section: Section<'_>) -> RelayConfig {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let listen: Vec<SocketAddr> = section.list("listen");
    if !section.has("listen") {
        section.reject(
            "listen",
            "is missing".to_owned(),
            Some("write `listen = [\"0.0.0.0:4433\", \"[::]:4433\"]`".to_owned()),
        );
    }
    for v4 in [true, false] {
        let family = if v4 { "IPv4" } else { "IPv6" };
        if listen.iter().filter(|addr| addr.is_ipv4() == v4).count() > 1 {
            let reason = format!("more than one {family} address");
            let hint = "0.0.0.0 and [::] listen on all addresses of a family";
            section.reject("listen", reason, Some(hint.to_owned()));
        }
    }
    if section.has("listen") && listen.is_empty() {
        section.reject("listen", "holds no usable address".to_owned(), None);
    }
    let admin = section.or("admin", SocketAddr::from((Ipv4Addr::LOCALHOST, 9600)));
    if !admin.ip().is_loopback() {
        let reason = format!("{admin} is not a loopback address");
        let hint = "the admin endpoint has no login; scrape it through a local agent or a tunnel";
        section.reject("admin", reason, Some(hint.to_owned()));
    }
    let relay = RelayConfig {
        name: section.or("name", "weir".to_owned()),
        workers: section.ranged("workers", cpus.min(WORKERS_MAX), 1..WORKERS_MAX + 1) as u16,
        pin: section.or("pin", true),
        listen,
        admin,
        run_dir: section.or("run_dir", PathBuf::from("/run/weir")),
        drain: section.or("drain_s", Duration::from_secs(30)),
    };
    let good = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if relay.name.is_empty() || relay.name.len() > 63 || !relay.name.chars().all(good) {
        let hint = "1 to 63 letters, digits, `-`, `.` or `_`: it stands in the Proxy-Status header";
        section.reject("name", "is not a name".to_owned(), Some(hint.to_owned()));
    }
    section.finish();
    relay
}

fn log(section: Section<'_>) -> LogConfig {
    let log = LogConfig {
        format: section.or("format", LogFormat::Text),
        level: section.or("level", "info".to_owned()),
    };
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&log.level) {
        let hint = "error, warn, info, debug, or a filter like `weir=debug,info`";
        section.reject("level", error.to_string(), Some(hint.to_owned()));
    }
    section.finish();
    log
}

fn tls(section: Section<'_>) -> TlsConfig {
    let self_signed = section.or("self_signed", false);
    let names: Vec<String> = section.list("names");
    let cert: Option<PathBuf> = section.optional("cert");
    let key: Option<PathBuf> = section.optional("key");
    let tls = match (self_signed, cert, key) {
        (true, None, None) => {
            let names = if names.is_empty() { vec!["localhost".to_owned()] } else { names };
            TlsConfig::SelfSigned { names }
        }
        (true, _, _) => {
            let reason = "self_signed and cert/key exclude each other".to_owned();
            section.reject("self_signed", reason, Some("remove one of them".to_owned()));
            TlsConfig::SelfSigned { names }
        }
        (false, cert, key) => {
            if !names.is_empty() {
                let reason = "only a self-signed certificate takes names from here".to_owned();
                section.reject("names", reason, None);
            }
            let hint = "give `cert` and `key` (PEM files), or `self_signed = true` in a lab";
            if cert.is_none() && !section.has("cert") {
                section.reject("cert", "is missing".to_owned(), Some(hint.to_owned()));
            }
            if key.is_none() && !section.has("key") {
                section.reject("key", "is missing".to_owned(), Some(hint.to_owned()));
            }
            TlsConfig::Files { cert: cert.unwrap_or_default(), key: key.unwrap_or_default() }
        }
    };
    section.finish();
    tls
}

fn io(section: Section<'_>) -> IoConfig {
    let io = IoConfig {
        backend: section.or("backend", BackendChoice::Auto),
        socket_buffer_bytes: section.or("socket_buffer", ByteSize(8 << 20)).0,
        steering: section.or("steering", Steering::Auto),
        spin: Duration::from_micros(section.ranged("spin_us", 0, 0..1_001)),
        xsk: xsk(section.section("xsk")),
    };
    if !(64 << 10..=1 << 30).contains(&io.socket_buffer_bytes) {
        let hint = "between 64 KiB and 1 GiB; 8 MiB suits 10 Gbit/s";
        section.reject("socket_buffer", "is out of range".to_owned(), Some(hint.to_owned()));
    }
    section.finish();
    io
}

fn quic(section: Section<'_>) -> QuicConfig {
    // 1200 bytes fit every path that carries QUIC (RFC 9000 section 14); 9000 is a jumbo frame.
    let mtu_max = section.ranged::<u16>("mtu_max", 1_452, 1_200..9_001);
    let quic = QuicConfig {
        congestion: section.or("congestion", Congestion::Cubic),
        mtu_discovery: section.or("mtu_discovery", true),
        mtu_max,
        ack_every: match section.ranged::<u32>("ack_every", 10, 0..1_001) {
            0 => None,
            packets => Some(packets),
        },
    };
    section.finish();
    quic
}

fn xsk(section: Section<'_>) -> XskConfig {
    let xsk = XskConfig {
        interfaces: section.list("interfaces"),
        // Just above what the kernel gives to sockets by itself.
        exit_ports: section.or("exit_ports", PortRange(61_000..=65_535)).0,
        zero_copy: section.or("zero_copy", ZeroCopy::Auto),
        busy_poll: Duration::from_micros(section.ranged("busy_poll_us", 0, 0..1_001)),
    };
    section.finish();
    xsk
}

fn xdp(section: Section<'_>) -> XdpConfig {
    let xdp = XdpConfig {
        mode: section.or("mode", XdpMode::Off),
        interfaces: section.list("interfaces"),
        tc_interfaces: section.list("tc_interfaces"),
        instance: section.or("instance", "default".to_owned()),
        gro: section.or("gro", true),
        strict: section.or("strict", false),
        flows: section.ranged("flows", FLOWS_MAX.into(), 1..u64::from(FLOWS_MAX_MAX) + 1) as u32,
    };
    let none = xdp.interfaces.is_empty() && xdp.tc_interfaces.is_empty();
    if xdp.mode != XdpMode::Off && none && !section.has("interfaces") {
        let reason = "no interface to attach to".to_owned();
        let hint = "write `interfaces = [\"eth0\"]`, or `mode = \"off\"`";
        section.reject("interfaces", reason, Some(hint.to_owned()));
    }
    if let Some(name) = xdp.tc_interfaces.iter().find(|name| xdp.interfaces.contains(name)) {
        let reason = format!("`{name}` is in `interfaces` too");
        let hint = "take it out of one: its packets would be counted twice";
        section.reject("tc_interfaces", reason, Some(hint.to_owned()));
    }
    if xdp.strict && matches!(xdp.mode, XdpMode::Off | XdpMode::Auto) {
        let reason = "the kernel has to count, and `mode` doesn't demand it".to_owned();
        let hint = "write `mode = \"native\"` or `mode = \"generic\"`";
        section.reject("strict", reason, Some(hint.to_owned()));
    }
    let good = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if xdp.instance.is_empty() || xdp.instance.len() > 32 || !xdp.instance.chars().all(good) {
        let hint = "1 to 32 letters, digits, `-` or `_`: it names a directory in bpffs";
        section.reject("instance", "is not a name".to_owned(), Some(hint.to_owned()));
    }
    section.finish();
    xdp
}

fn exit(section: Section<'_>) -> ExitConfig {
    let exit = ExitConfig {
        ipv4: section.optional("ipv4"),
        ipv6: section.optional("ipv6"),
        allow: section.list("allow"),
        deny: section.list("deny"),
        denied_ports: if section.has("denied_ports") {
            section.list("denied_ports")
        } else {
            // Mail submission from exits is how their addresses get listed.
            vec![25]
        },
    };
    section.finish();
    exit
}

fn dns(section: Section<'_>) -> DnsConfig {
    let servers: Vec<NameServer> = section.list("servers");
    let dns = DnsConfig {
        servers: servers.into_iter().map(|server| server.0).collect(),
        timeout: Duration::from_secs(section.ranged("timeout_s", 5, 1..61)),
        cache_entries: section.ranged("cache_entries", 16_384, 16..1_000_001),
    };
    section.finish();
    dns
}

fn limits(section: Section<'_>) -> LimitsConfig {
    let seconds = |key, default, range| Duration::from_secs(section.ranged(key, default, range));
    let limits = LimitsConfig {
        connections: section.ranged("connections", 8_192, 1..1_000_001),
        connections_per_source: section.ranged("connections_per_source", 256, 1..1_000_001),
        sockets: section.ranged("sockets", 32_768, 8..1_000_001),
        tunnels_per_connection: section.ranged("tunnels_per_connection", 256, 1..65_536),
        idle_timeout: seconds("idle_timeout_s", 150, 1..601),
        // RFC 9298 section 6 asks for at least two minutes.
        udp_idle_timeout: seconds("udp_idle_timeout_s", 120, 120..3_601),
        connect_timeout: seconds("connect_timeout_s", 10, 1..301),
        auth_failures_per_minute: section.ranged("auth_failures_per_minute", 60, 1..1_000_001),
    };
    section.finish();
    limits
}

fn settle(section: Section<'_>) -> Option<SettleConfig> {
    let present = section.is_present();
    let exit_id = match present {
        true => section.required("exit_id", Hex32([0; 32])),
        false => section.or("exit_id", Hex32([0; 32])),
    };
    let settle = SettleConfig {
        exit_id: exit_id.0,
        socket: section.or("socket", PathBuf::from("/run/weir/settle.sock")),
        credit: credit(&section),
        grace: section.or("grace_s", Duration::from_secs(60)),
    };
    section.finish();
    present.then_some(settle)
}

fn credit(section: &Section<'_>) -> CreditConfig {
    let credit = CreditConfig {
        window_bytes: section.or("window", ByteSize(64 << 20)).0,
        window_time: Duration::from_secs(section.ranged("window_s", 2, 1..61)),
        overdraft_percent: section.ranged("overdraft_percent", 25, 0..101),
        throttle_kbps: section.ranged("throttle_kbps", 8_000, 1..KBPS_MAX + 1),
    };
    if credit.window_bytes < WINDOW_MIN {
        let reason = "is less than 64 KiB".to_owned();
        let hint = "payers sign a few times per second; less would stop those that do, too";
        section.reject("window", reason, Some(hint.to_owned()));
    }
    if credit.window_bytes > WINDOW_MAX {
        let reason = "is more than 1 TiB".to_owned();
        let hint = "all of it is lost when a payer goes without signing";
        section.reject("window", reason, Some(hint.to_owned()));
    }
    credit
}

fn grants(sections: Vec<Section<'_>>) -> Vec<GrantConfig> {
    let mut grants: Vec<GrantConfig> = Vec::new();
    for section in sections {
        let grant = GrantConfig {
            name: section.required("name", String::new()),
            token_sha256: section.required("token_sha256", Hex32([0; 32])).0,
            channel: section.optional::<Hex32>("channel").map(|channel| channel.0),
            lane: section.or("lane", 0),
            committed_kbps: section
                .has("committed_kbps")
                .then(|| section.ranged("committed_kbps", 1, 1..KBPS_MAX + 1)),
            tunnels: section.optional("tunnels"),
        };
        if grant.channel.is_none() && grant.committed_kbps.is_some() {
            let reason = "there is no `channel`, and no credit window without one".to_owned();
            section.reject("committed_kbps", reason, Some("remove it".to_owned()));
        }
        let hash: String = grant.token_sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        if hash == EMPTY_SHA256 {
            let hint = "the variable that was hashed was not set";
            let reason = "is the hash of an empty token".to_owned();
            section.reject("token_sha256", reason, Some(hint.to_owned()));
        }
        if grants.iter().any(|other| other.name == grant.name) && !grant.name.is_empty() {
            section.reject("name", format!("`{}` is taken", grant.name), None);
        }
        let read = section.has("token_sha256") && grant.token_sha256 != [0; 32];
        if read && grants.iter().any(|other| other.token_sha256 == grant.token_sha256) {
            section.reject("token_sha256", "another grant has the same token".to_owned(), None);
        }
        section.finish();
        grants.push(grant);
    }
    grants
}
