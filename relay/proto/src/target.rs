//! Where a tunnel goes: host and port, in the forms that CONNECT (RFC 9110 §9.3.6) and CONNECT-UDP
//! (RFC 9298 §3) give them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Error, ProxyError};

/// The longest name that fits a DNS message, without its last dot (RFC 1035 §2.3.4).
pub const MAX_NAME_BYTES: usize = 253;

/// The longest label of a name (RFC 1035 §2.3.4).
const MAX_LABEL_BYTES: usize = 63;

/// Host of a target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// An IP literal in its one canonical form. Whether it is allowed is for the exit policy.
    Ip(IpAddr),
    /// A name to be resolved: lower case, no dot at the end, labels of letters, digits, hyphens
    /// and underscores, and never one that some resolver would take for an address.
    Name(String),
}

/// Host and port of a target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The host.
    pub host: Host,
    /// Never 0.
    pub port: u16,
}

impl Host {
    /// Reads a host whose percent-encoding is already decoded: an IPv4 or IPv6 literal without
    /// brackets, or a name.
    ///
    /// # Errors
    /// [`Error::Refused`]: 400 for what is no host, and 403 `destination_ip_prohibited` for the
    /// other notations of IPv4 addresses (`2130706433`, `0x7f.1`, `0177.0.0.1`, `1.2.3`,
    /// `127.0.0.1.`), which can only be meant to get past an address filter.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::bad_request("the target host is empty"));
        }
        if text.contains(':') {
            return parse_ipv6(text).map(|ip| Self::Ip(ip.into()));
        }
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(ip.into()));
        }
        parse_name(text).map(Self::Name)
    }
}

impl Target {
    /// Reads `host:port` with IPv6 addresses in brackets, the form of a CONNECT request.
    ///
    /// # Errors
    /// As [`Host::parse`] and [`parse_port`]; 400 without a port, with user information, or for an
    /// IPv6 address without brackets.
    pub fn from_authority(authority: &str) -> Result<Self, Error> {
        if authority.contains('@') {
            return Err(Error::bad_request("the target has user information"));
        }
        let (host, port) = authority
            .rsplit_once(':')
            .filter(|(_, port)| !port.ends_with(']'))
            .ok_or(Error::bad_request("the target has no port"))?;
        let port = parse_port(port)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let ip = rest
                    .strip_suffix(']')
                    .ok_or(Error::bad_request("a bracket of the target host is not closed"))?;
                Host::Ip(parse_ipv6(ip)?.into())
            }
            None if host.contains(':') => {
                return Err(Error::bad_request("an IPv6 target host needs brackets"));
            }
            None => Host::parse(host)?,
        };
        Ok(Self { host, port })
    }
}

/// Reads a port: decimal digits, 1 to 65535.
///
/// # Errors
/// 400 for everything else.
pub fn parse_port(text: &str) -> Result<u16, Error> {
    let is_decimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port @ 1..=u16::MAX) if is_decimal => Ok(port),
        _ => Err(Error::bad_request("the target port is not a number from 1 to 65535")),
    }
}

/// `host`, or `[host]` for an IPv6 address.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// The form of a CONNECT request; [`Target::from_authority`] reads it back.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

fn parse_ipv6(text: &str) -> Result<Ipv6Addr, Error> {
    if text.contains('%') {
        return Err(Error::bad_request("an IPv6 target host can't have a zone"));
    }
    text.parse().map_err(|_| Error::bad_request("the target host is no IPv6 address"))
}

fn parse_name(text: &str) -> Result<String, Error> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() > MAX_NAME_BYTES {
        return Err(Error::bad_request("the target host is longer than 253 characters"));
    }
    for label in name.split('.') {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if label.is_empty() || label.len() > MAX_LABEL_BYTES {
            return Err(Error::bad_request("a label of the target host is empty or too long"));
        }
        if !label.bytes().all(allowed) || label.starts_with('-') || label.ends_with('-') {
            return Err(Error::bad_request("the target host has a character that is not allowed"));
        }
    }
    if ends_in_number(name) {
        return Err(Error::refused(
            403,
            ProxyError::DestinationIpProhibited,
            "write an IPv4 target host as four decimal numbers",
        ));
    }
    Ok(name.to_ascii_lowercase())
}

/// Whether some resolver takes the name for an IPv4 address: inet_aton and browsers decide by the
/// last label being decimal, octal or hexadecimal (WHATWG URL §3.5, "ends in a number"). No
/// top-level domain is numeric (RFC 3696 §2).
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_decimal = last.bytes().all(|byte| byte.is_ascii_digit());
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    is_decimal || hex.is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
