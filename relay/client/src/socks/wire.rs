//! The bytes of SOCKS5 (RFC 1928). Parsers take what has arrived so far and give `None` until a
//! message is whole.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::target::{Host, Target};

pub(crate) const VERSION: u8 = 5;
pub(crate) const NO_AUTHENTICATION: u8 = 0x00;
pub(crate) const NO_ACCEPTABLE_METHOD: u8 = 0xff;

/// Version, command, reserved, and the longest address: a name of 255 bytes with length and port.
pub(crate) const REQUEST_BYTES_MAX: usize = 3 + 1 + 1 + 255 + 2;

const ADDRESS_IPV4: u8 = 1;
const ADDRESS_NAME: u8 = 3;
const ADDRESS_IPV6: u8 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Connect,
    UdpAssociate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) command: Command,
    pub(crate) target: Target,
}

/// A message and its length, or `None` while it is not whole.
pub(crate) type Parsed<T> = Result<Option<(T, usize)>, WireError>;

/// The application does not speak SOCKS5, or wants what is not offered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("version byte is {0}, not 5; is this program configured for SOCKS5?")]
    Version(u8),
    #[error("command {0} is not offered, only CONNECT and UDP ASSOCIATE are")]
    Command(u8),
    #[error("address type {0} is not known")]
    AddressType(u8),
    #[error("the target is neither a host name nor an IP address")]
    Host,
}

impl WireError {
    /// The reply code that tells the application (RFC 1928 section 6).
    pub(crate) fn reply(&self) -> u8 {
        match self {
            WireError::Command(_) => 0x07,
            WireError::AddressType(_) => 0x08,
            WireError::Version(_) | WireError::Host => 0x01,
        }
    }
}

/// Whether the application can do without authentication (section 3).
pub(crate) fn parse_greeting(bytes: &[u8]) -> Parsed<bool> {
    check_version(bytes)?;
    let Some(&count) = bytes.get(1) else { return Ok(None) };
    let length = 2 + usize::from(count);
    let methods = bytes.get(2..length);
    Ok(methods.map(|methods| (methods.contains(&NO_AUTHENTICATION), length)))
}

/// Section 4.
pub(crate) fn parse_request(bytes: &[u8]) -> Parsed<Request> {
    check_version(bytes)?;
    let command = match bytes.get(1) {
        None => return Ok(None),
        Some(1) => Command::Connect,
        Some(3) => Command::UdpAssociate,
        Some(&other) => return Err(WireError::Command(other)),
    };
    let Some(address) = bytes.get(3..) else { return Ok(None) };
    let target = parse_address(address)?;
    Ok(target.map(|(target, length)| (Request { command, target }, 3 + length)))
}

/// A datagram of the application: its target and where the payload starts (section 7). `None` for
/// what must be dropped: fragments, and anything malformed.
pub(crate) fn parse_datagram(bytes: &[u8]) -> Option<(Target, usize)> {
    let [0, 0, 0, address @ ..] = bytes else { return None };
    let (target, length) = parse_address(address).ok().flatten()?;
    (target.port != 0).then_some((target, 3 + length))
}

/// The header of a datagram for the application; its address is the target's as the application
/// gave it.
pub(crate) fn datagram_header(target: &Target) -> Vec<u8> {
    let mut header = vec![0, 0, 0];
    push_host(&mut header, &target.host);
    header.extend_from_slice(&target.port.to_be_bytes());
    header
}

/// Section 6.
pub(crate) fn reply(code: u8, bound: SocketAddr) -> Vec<u8> {
    let mut reply = vec![VERSION, code, 0];
    push_host(&mut reply, &Host::Ip(bound.ip()));
    reply.extend_from_slice(&bound.port().to_be_bytes());
    reply
}

fn check_version(bytes: &[u8]) -> Result<(), WireError> {
    match bytes.first() {
        Some(&version) if version != VERSION => Err(WireError::Version(version)),
        _ => Ok(()),
    }
}

/// ATYP, address and port (section 5), and how long they are together.
fn parse_address(bytes: &[u8]) -> Parsed<Target> {
    let Some((&kind, rest)) = bytes.split_first() else { return Ok(None) };
    let (host, length) = match kind {
        ADDRESS_IPV4 => match rest.first_chunk::<4>() {
            Some(&octets) => (Host::Ip(IpAddr::V4(Ipv4Addr::from(octets))), 4),
            None => return Ok(None),
        },
        ADDRESS_IPV6 => match rest.first_chunk::<16>() {
            Some(&octets) => (Host::Ip(IpAddr::V6(Ipv6Addr::from(octets))), 16),
            None => return Ok(None),
        },
        ADDRESS_NAME => {
            let Some(&count) = rest.first() else { return Ok(None) };
            let length = 1 + usize::from(count);
            let Some(name) = rest.get(1..length) else { return Ok(None) };
            let name = std::str::from_utf8(name).map_err(|_| WireError::Host)?;
            (Host::parse(name).ok_or(WireError::Host)?, length)
        }
        other => return Err(WireError::AddressType(other)),
    };
    let Some(&[high, low]) = rest[length..].first_chunk::<2>() else { return Ok(None) };
    let port = u16::from_be_bytes([high, low]);
    Ok(Some((Target { host, port }, 1 + length + 2)))
}

fn push_host(out: &mut Vec<u8>, host: &Host) {
    match host {
        Host::Ip(IpAddr::V4(ip)) => {
            out.push(ADDRESS_IPV4);
            out.extend_from_slice(&ip.octets());
        }
        Host::Ip(IpAddr::V6(ip)) => {
            out.push(ADDRESS_IPV6);
            out.extend_from_slice(&ip.octets());
        }
        Host::Name(name) => {
            out.push(ADDRESS_NAME);
            // Host::parse allows at most 253 bytes.
            out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(name.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
