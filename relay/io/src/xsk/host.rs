//! What the host has that AF_XDP needs: interfaces with queues, ports that the kernel leaves alone.

use std::ffi::CString;
use std::fs;
use std::ops::RangeInclusive;

use xdp::nic::NicIndex;

use super::config::XskInterface;
use crate::error::Error;

/// Finds an interface and counts its receive queues.
pub fn interface(name: &str) -> Result<XskInterface, Error> {
    let unknown = || Error::XskInterface {
        interface: name.to_owned(),
        problem: "there is none of this name in this network namespace; see `ip link`".to_owned(),
    };
    let c_name = CString::new(name).map_err(|_| unknown())?;
    let nic = NicIndex::lookup_by_name(&c_name).ok().flatten().ok_or_else(unknown)?;
    let uncounted = |source| Error::XskInterface {
        interface: name.to_owned(),
        problem: format!("its queues can't be counted: {source}"),
    };
    let counts = nic.queue_counts().map_err(uncounted)?;
    // The crate doesn't tell how many combined queues are in use, only how many there may be.
    let counts = if counts.combined() { nic.queues_from_fs().map_err(uncounted)? } else { counts };
    Ok(XskInterface { index: nic.0, name: name.to_owned(), queues: counts.rx_count().max(1) })
}

/// What a driver says of itself, by the kernel's netdev family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// It runs XDP programs itself and takes part in redirecting.
    pub redirect: bool,
    /// AF_XDP sockets may use its own memory.
    pub zero_copy: bool,
    /// It fills in checksums of frames that AF_XDP sockets send.
    pub checksum: bool,
}

/// Asks for them. Kernels before 6.3 can't tell.
pub fn features(interface: &XskInterface) -> std::io::Result<Features> {
    let told = NicIndex::new(interface.index).query_capabilities()?;
    Ok(Features {
        redirect: told.xdp_features.redirect(),
        zero_copy: told.xdp_features.zero_copy(),
        checksum: told.tx_metadata.checksum(),
    })
}

/// Longest IP packet of an interface whose frames fit the memory shared with AF_XDP sockets.
pub const MTU_MAX: u32 = 4_096 - 256 - 18;

/// Says why a range of ports can't serve exit flows: the kernel would give the same ports to
/// sockets of other programs, whose packets would then be taken from them. `None` if it can.
pub fn unreserved_ports(ports: &RangeInclusive<u16>) -> Option<String> {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
    let (Ok(local), Ok(reserved)) = (read("ip_local_port_range"), read("ip_local_reserved_ports"))
    else {
        return Some("net.ipv4.ip_local_reserved_ports can't be read".to_owned());
    };
    let port = first_unreserved(ports, &local, &reserved)?;
    let (first, last) = (ports.start(), ports.end());
    Some(format!(
        "the kernel may give port {port} to any socket; run `sysctl -w \
         net.ipv4.ip_local_reserved_ports={first}-{last}` (with what it holds already: {:?}), or \
         choose ports outside of net.ipv4.ip_local_port_range",
        reserved.trim()
    ))
}

/// The first port that the kernel may choose by itself.
fn first_unreserved(ports: &RangeInclusive<u16>, local: &str, reserved: &str) -> Option<u16> {
    let number = |text: &str| text.trim().parse::<u16>().ok();
    let mut bounds = local.split_whitespace().filter_map(number);
    let local = bounds.next().unwrap_or(0)..=bounds.next().unwrap_or(u16::MAX);
    let reserved: Vec<RangeInclusive<u16>> = reserved
        .trim()
        .split(',')
        .filter_map(|part| match part.split_once('-') {
            Some((first, last)) => Some(number(first)?..=number(last)?),
            None => number(part).map(|port| port..=port),
        })
        .collect();
    let mut ports = ports.clone();
    ports.find(|port| local.contains(port) && !reserved.iter().any(|range| range.contains(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_are_found() {
        let check = |ports, reserved| first_unreserved(&ports, "32768\t60999\n", reserved);
        assert_eq!(check(61_000..=65_535, "\n"), None, "outside of the kernel's own range");
        assert_eq!(check(60_000..=60_999, "\n"), Some(60_000));
        assert_eq!(check(60_000..=60_999, "8080,60000-60999\n"), None);
        assert_eq!(check(60_000..=60_999, "60000-60499,60501-60999\n"), Some(60_500));
        assert_eq!(check(60_990..=61_010, "60990-60998\n"), Some(60_999));
    }

    #[test]
    fn an_unknown_interface_is_named() {
        let error = interface("wxsnone0").unwrap_err().to_string();
        assert!(error.contains("wxsnone0") && error.contains("ip link"), "{error}");
        assert_eq!(interface("lo").unwrap().index, 1);
    }
}
