//! The exit policy of the configuration, completed with what this host is.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use weir_core::Policy;

use crate::config::{ExitConfig, RelayConfig};

/// The policy for the engines.
pub(crate) fn from_config(exit: &ExitConfig, relay: &RelayConfig) -> Policy {
    let allowed = |ip: &IpAddr| exit.allow.iter().any(|block| block.contains(*ip));
    let listening = relay.listen.iter().map(|address| address.ip());
    // Services of this host may trust their own address. An operator who allows one by name means
    // it; the addresses that clients are served on would be a loop.
    let own = local_addresses()
        .into_iter()
        .filter(|ip| !allowed(ip))
        .chain(listening)
        .filter(|ip| !ip.is_unspecified() && !ip.is_loopback())
        .collect();
    let lab_v6 = exit.allow.iter().any(|block| block.to_string().contains(':'));
    Policy {
        allow: exit.allow.clone(),
        deny: exit.deny.clone(),
        own,
        denied_ports: exit.denied_ports.clone(),
        source_v4: exit.ipv4,
        source_v6: exit.ipv6,
        ipv6: lab_v6 || has_ipv6_route(),
    }
}

/// Connecting a UDP socket asks the routing table and sends nothing.
fn has_ipv6_route() -> bool {
    let anywhere = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1);
    UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.connect((anywhere, 9)))
        .is_ok()
}

/// The addresses of all interfaces.
fn local_addresses() -> Vec<IpAddr> {
    // Not /proc/net, which a sandbox that hides all but processes (ProcSubset=pid) takes away.
    let (v4, v6) = (table("/proc/self/net/fib_trie"), table("/proc/self/net/if_inet6"));
    parse_fib_trie(&v4)
        .into_iter()
        .map(IpAddr::V4)
        .chain(parse_if_inet6(&v6).into_iter().map(IpAddr::V6))
        .collect()
}

fn table(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| {
        // A kernel without IPv6 has no table of it.
        if error.kind() != std::io::ErrorKind::NotFound || !path.ends_with("6") {
            tracing::error!(
                "{path}: {error}: tunnels to this host's own addresses are not refused; list them \
                 in exit.deny"
            );
        }
        String::new()
    })
}

/// An address line (`|-- 192.0.2.1`) followed by `/32 host LOCAL`.
fn parse_fib_trie(text: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut last: Option<Ipv4Addr> = None;
    for line in text.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(last);
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// 32 hex digits and, behind them, what doesn't matter here.
fn parse_if_inet6(text: &str) -> Vec<Ipv6Addr> {
    let first = text.lines().filter_map(|line| line.split_whitespace().next());
    first.filter_map(|hex| u128::from_str_radix(hex, 16).ok()).map(Ipv6Addr::from_bits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_a_loopback_address() {
        assert!(local_addresses().contains(&Ipv4Addr::LOCALHOST.into()));
    }

    #[test]
    fn the_kernels_tables_are_understood() {
        let trie = "Local:\n  +-- 0.0.0.0/0 2 0 2\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
                    \x20    |-- 192.0.2.7\n        /32 host LOCAL\n     |-- 192.0.2.255\n\
                    \x20       /32 link BROADCAST\n";
        assert_eq!(parse_fib_trie(trie), [Ipv4Addr::new(192, 0, 2, 7)]);
        let inet6 = "20010db8000000000000000000000001 02 40 00 80 eth0\n";
        assert_eq!(parse_if_inet6(inet6), ["2001:db8::1".parse::<Ipv6Addr>().unwrap()]);
    }
}
