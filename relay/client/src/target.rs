//! The far end of a tunnel, as the application named it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Host and port. Names are kept as names: only the exit resolves them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) host: Host,
    pub(crate) port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    Name(String),
    Ip(IpAddr),
}

/// DNS allows 253 characters in text form.
const NAME_BYTES_MAX: usize = 253;

impl Host {
    /// A name or the text of an IP address. `None` for what can be neither, so that nothing an
    /// application sends can bend the `:authority` or the path of a request.
    pub(crate) fn parse(text: &str) -> Option<Host> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Some(Host::Ip(ip));
        }
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
        let fits = !text.is_empty() && text.len() <= NAME_BYTES_MAX;
        (fits && text.bytes().all(legal)).then(|| Host::Name(text.to_ascii_lowercase()))
    }
}

impl Target {
    /// The target of `host:port` or `[v6]:port`; port 0 is nobody's.
    pub(crate) fn parse_authority(text: &str) -> Option<Target> {
        let (host, port) = text.rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(inner) => Host::Ip(IpAddr::V6(inner.strip_suffix(']')?.parse().ok()?)),
            None if host.contains(':') => return None,
            None => Host::parse(host)?,
        };
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = digits.then(|| port.parse().ok()).flatten().filter(|&port| port != 0)?;
        Some(Target { host, port })
    }

    /// The path of the default URI template (RFC 9298 section 2), where a colon is escaped.
    pub(crate) fn masque_path(&self) -> String {
        let host = match &self.host {
            Host::Name(name) => name.clone(),
            Host::Ip(ip) => ip.to_string().replace(':', "%3A"),
        };
        format!("/.well-known/masque/udp/{host}/{}/", self.port)
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Target {
        Target { host: Host::Ip(address.ip()), port: address.port() }
    }
}

/// `host:port`, an IPv6 literal in brackets: the authority form of RFC 9110 section 9.3.6.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(ip) => write!(f, "{ip}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn authority_forms() {
        for (text, path) in [
            ("web.lab.test:80", "/.well-known/masque/udp/web.lab.test/80/"),
            ("192.0.2.1:443", "/.well-known/masque/udp/192.0.2.1/443/"),
            ("[2001:db8::42]:53", "/.well-known/masque/udp/2001%3Adb8%3A%3A42/53/"),
        ] {
            let target = Target::parse_authority(text).unwrap();
            assert_eq!(target.to_string(), text);
            assert_eq!(target.masque_path(), path);
        }
        for bad in [
            "",
            ":",
            "host",
            "host:",
            "host:0",
            "host:65536",
            "host:+80",
            "host: 80",
            ":80",
            "2001:db8::1:80",
            "[host]:80",
            "[::1]80",
            "[::1%eth0]:80",
            "a/b:80",
            "a b:80",
            "user@host:80",
            "a%2fb:80",
            "ho\u{308}st:80",
        ] {
            assert_eq!(Target::parse_authority(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_and_round_trips(text in ".{0,300}") {
            if let Some(target) = Target::parse_authority(&text) {
                prop_assert_eq!(Target::parse_authority(&target.to_string()), Some(target));
            }
        }
    }
}
