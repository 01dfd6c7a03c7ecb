//! Ports and interfaces.

use std::net::{TcpListener, UdpSocket};

use super::Finding;
use crate::config::{Config, check};

pub(super) fn findings(config: Option<&Config>, asked: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(config) = config {
        findings.extend(ports(config));
    }
    let names = match (asked, config) {
        ([], Some(config)) if !config.xdp.interfaces.is_empty() => config.xdp.interfaces.clone(),
        ([], _) => check::present_interfaces().into_iter().filter(|name| name != "lo").collect(),
        (asked, _) => asked.to_vec(),
    };
    findings.extend(names.iter().map(|name| interface(name)));
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

fn interface(name: &str) -> Finding {
    if !check::present_interfaces().iter().any(|present| present == name) {
        return Finding::fail("interface", format!("there is no {name}"), "`ip link` lists them");
    }
    Finding::ok("interface", name.to_owned())
}
