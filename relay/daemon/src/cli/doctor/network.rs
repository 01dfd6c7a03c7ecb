//! Ports and interfaces.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;

use super::Finding;
use crate::config::{Config, check};

/// Those to look at: asked for, else configured, else all but the loopback.
pub(super) fn interfaces(config: Option<&Config>, asked: &[String]) -> Vec<String> {
    match (asked, config) {
        ([], Some(Config { xdp, .. })) if !xdp.interfaces.is_empty() => {
            [&xdp.interfaces[..], &xdp.tc_interfaces].concat()
        }
        ([], _) => check::present_interfaces().into_iter().filter(|name| name != "lo").collect(),
        (asked, _) => asked.to_vec(),
    }
}

pub(super) fn findings(config: Option<&Config>, interfaces: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(config) = config {
        findings.extend(ports(config));
    }
    findings.extend(interfaces.iter().map(|name| interface(name)));
    findings
}

fn ports(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for address in &config.relay.listen {
        findings.push(match UdpSocket::bind(address) {
            Ok(_) => Finding::ok("port", format!("udp {address} is free")),
            Err(error) => Finding::fail(
                "port",
                format!("udp {address}: {error}"),
                "`ss -ulpn` names who has it; a relay that runs here is one answer",
            ),
        });
    }
    let admin = config.relay.admin;
    findings.push(match TcpListener::bind(admin) {
        Ok(_) => Finding::ok("port", format!("tcp {admin} is free")),
        Err(error) => Finding::fail(
            "port",
            format!("tcp {admin}: {error}"),
            "`ss -tlpn` names who has it; a relay that runs here is one answer",
        ),
    });
    findings
}

/// ARPHRD_ETHER of linux/if_arp.h: what the classifier reads.
const ETHERNET: &str = "1";

fn interface(name: &str) -> Finding {
    if !check::present_interfaces().iter().any(|present| present == name) {
        return Finding::fail("interface", format!("there is no {name}"), "`ip link` lists them");
    }
    let dir = Path::new("/sys/class/net").join(name);
    let read = |file: &str| {
        fs::read_to_string(dir.join(file)).map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    if read("type") != ETHERNET {
        let advice = "leave it out of xdp.interfaces";
        return Finding::warn("interface", format!("{name} is not Ethernet: no XDP"), advice);
    }
    if let Ok(driver) = fs::read_link(dir.join("device/driver")) {
        let driver = driver.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let found = format!("{name}, driver {driver}, mtu {}", read("mtu"));
        return match weir_xdp::gro(name) {
            Ok(false) => Finding::warn(
                "interface",
                format!("{found}, GRO is off"),
                "each datagram climbs the stack alone; with native XDP xdp.gro turns it on",
            ),
            _ => Finding::ok("interface", found),
        };
    }
    // Only paired devices name another interface here.
    if read("iflink") != read("ifindex") {
        return virtual_pair(name);
    }
    Finding::ok("interface", format!("{name}, virtual, mtu {}", read("mtu")))
}

/// On veth, XDP without GRO is the one setting that costs an order of magnitude.
fn virtual_pair(name: &str) -> Finding {
    match weir_xdp::gro(name) {
        Ok(true) => Finding::ok("interface", format!("{name} is a virtual pair, GRO is on")),
        Ok(false) => Finding::warn(
            "interface",
            format!("{name} is a virtual pair, GRO is off"),
            "with XDP each datagram would cost ten times as much: leave xdp.gro on, which turns \
             it on while the relay runs",
        ),
        Err(error) => Finding::warn(
            "interface",
            format!("{name} is a virtual pair; whether GRO is on can't be told: {error}"),
            format!("`ethtool -k {name}` may tell"),
        ),
    }
}
