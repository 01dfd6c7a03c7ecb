use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::error::Error;

/// A block of addresses, such as `10.0.0.0/8`. Host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix_len: u8,
}

impl Cidr {
    /// Fails if `prefix_len` is too long for the family or host bits are set.
    pub fn new(address: IpAddr, prefix_len: u8) -> Result<Self, Error> {
        let bad = || Error::BadCidr(format!("{address}/{prefix_len}"));
        let width = if address.is_ipv4() { 32 } else { 128 };
        if prefix_len > width || mask(address, prefix_len) != address {
            return Err(bad());
        }
        Ok(Cidr { address, prefix_len })
    }

    pub(crate) const fn v4(a: u8, b: u8, c: u8, d: u8, prefix_len: u8) -> Self {
        Cidr { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix_len }
    }

    pub(crate) const fn v6(head: [u16; 4], prefix_len: u8) -> Self {
        let [a, b, c, d] = head;
        Cidr { address: IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)), prefix_len }
    }

    /// Families never match each other: an IPv4-mapped address is in no IPv4 block.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.address.is_ipv4() == ip.is_ipv4() && mask(ip, self.prefix_len) == self.address
    }
}

impl FromStr for Cidr {
    type Err = Error;

    /// Also takes a lone address.
    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::BadCidr(text.to_owned());
        let (address, prefix_len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len.parse().map_err(|_| bad())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        Cidr::new(address, prefix_len.unwrap_or(width)).map_err(|_| bad())
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

fn mask(ip: IpAddr, prefix_len: u8) -> IpAddr {
    let len = u32::from(prefix_len);
    match ip {
        IpAddr::V4(v4) => {
            let keep = u32::MAX.checked_shl(32 - len.min(32)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & keep))
        }
        IpAddr::V6(v6) => {
            let keep = u128::MAX.checked_shl(128 - len.min(128)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & keep))
        }
    }
}
