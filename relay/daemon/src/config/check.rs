//! What only this machine can say about a configuration: do the files, keys and interfaces exist?

use std::path::Path;

use super::{Config, Report, TlsConfig, XdpMode};
use crate::tls::{self, TlsError};

/// Looks at everything that the configuration refers to.
///
/// # Errors
/// Everything that is wrong, at the line that refers to it.
pub fn environment(config: &Config) -> Result<(), Report> {
    let mut report = Report::new(&config.file);
    certificate(config, &mut report);
    interfaces(config, &mut report);
    sources(config, &mut report);
    run_dir(config, &mut report);
    report.into_result()
}

fn certificate(config: &Config, report: &mut Report) {
    // A self-signed certificate is made when the relay starts.
    if let TlsConfig::SelfSigned { .. } = config.tls {
        return;
    }
    let Err(error) = tls::load(&config.tls, &config.relay.run_dir) else { return };
    let (key, hint) = match &error {
        TlsError::Cert { .. } => ("tls.cert", "a PEM file, the relay's own certificate first"),
        TlsError::Key { .. } => ("tls.key", "a PEM file that this user may read"),
        TlsError::Mismatch { .. } => ("tls.key", "give the key that the certificate was made for"),
        TlsError::SelfSigned { .. } | TlsError::Setup(_) => ("tls", ""),
    };
    let hint = (!hint.is_empty()).then(|| hint.to_owned());
    report.push(config.place(key), error.to_string(), hint);
}

fn interfaces(config: &Config, report: &mut Report) {
    if config.xdp.mode == XdpMode::Off {
        return;
    }
    let present = present_interfaces();
    let lists =
        [("interfaces", &config.xdp.interfaces), ("tc_interfaces", &config.xdp.tc_interfaces)];
    for (key, names) in lists {
        let missing = names.iter().enumerate().filter(|(_, name)| !present.contains(name));
        for (index, name) in missing {
            let message = format!("xdp.{key}: there is no interface `{name}`");
            let hint = format!("this host has: {}", present.join(", "));
            report.push(config.place(&format!("xdp.{key}.{index}")), message, Some(hint));
        }
    }
}

/// The names of this network namespace's interfaces. Unlike sysfs, procfs always shows those of
/// the process' own namespace.
pub(crate) fn present_interfaces() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let rows = table.lines().filter_map(|line| line.split_once(':'));
    let mut names: Vec<String> = rows.map(|(name, _)| name.trim().to_owned()).collect();
    names.sort();
    names
}

fn sources(config: &Config, report: &mut Report) {
    let v4 = config.exit.ipv4.map(std::net::IpAddr::V4);
    let v6 = config.exit.ipv6.map(std::net::IpAddr::V6);
    for (key, source) in [("exit.ipv4", v4), ("exit.ipv6", v6)] {
        let Some(source) = source else { continue };
        // Only binding says whether an address is ours; it takes no privilege and sends nothing.
        if let Err(error) = std::net::UdpSocket::bind((source, 0)) {
            let message = format!("{key}: {source} can't be used as a source address: {error}");
            let hint = "`ip address` lists what this host has".to_owned();
            report.push(config.place(key), message, Some(hint));
        }
    }
}

fn run_dir(config: &Config, report: &mut Report) {
    let dir: &Path = &config.relay.run_dir;
    if dir.exists() && !dir.is_dir() {
        let message = format!("relay.run_dir: {} is not a directory", dir.display());
        report.push(config.place("relay.run_dir"), message, None);
    }
}
