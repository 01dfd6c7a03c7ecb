//! The facts about this machine that the figures depend on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use super::lab::Lab;
use crate::report::Host;

/// Everything that is known before the run; what can't be read is left empty.
pub fn facts(lab: &Lab, plan: &str) -> Host {
    let cpuinfo = read("/proc/cpuinfo");
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let flags = field("flags").unwrap_or_default();
    let cpus = &lab.cpus;
    Host {
        cpu: field("model name").unwrap_or_default(),
        cpus: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
        pinning: format!(
            "relay on CPU {}, generator on {}, targets on {}",
            cpus.relay[0], cpus.generator, cpus.target
        ),
        memory_bytes: memory_bytes(),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        hypervisor: flags.split_whitespace().any(|flag| flag == "hypervisor"),
        mitigations: mitigations(),
        lab: lab.label().to_owned(),
        links: lab.links.clone(),
        load_average_before: read("/proc/loadavg")
            .split_whitespace()
            .next()
            .and_then(|word| word.parse().ok())
            .unwrap_or_default(),
        started_unix_s: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        commit: commit().unwrap_or_default(),
        plan: plan.to_owned(),
        ..Host::default()
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn memory_bytes() -> u64 {
    let text = read("/proc/meminfo");
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    kib.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Those that this CPU is affected by, and what the kernel does about them.
fn mitigations() -> BTreeMap<String, String> {
    let Ok(entries) = fs::read_dir("/sys/devices/system/cpu/vulnerabilities") else {
        return BTreeMap::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let text = fs::read_to_string(entry.path()).ok()?.trim().to_owned();
            (text != "Not affected").then_some((name, text))
        })
        .collect()
}

/// What is checked out, where there is a checkout.
fn commit() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let git = |args: &[&str]| {
        let output = Command::new("git").arg("-C").arg(root).args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { commit } else { format!("{commit}-dirty") })
}
