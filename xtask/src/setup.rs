//! What the chores need beyond a Rust toolchain. Everything is looked for first; what is missing
//! is installed where a package registry has it, and named with a remedy where none has.

use anyhow::{Result, bail};

use crate::sh;

/// bpf-linker 0.10.4 is the last version that links with the libLLVM of rustup's own compiler.
const BPF_LINKER_VERSION: &str = "0.10.4";

/// What a chore is about to use.
#[derive(Clone, Copy)]
pub struct Need {
    /// Rebuilding the eBPF object: rust-src and bpf-linker.
    pub ebpf: bool,
    /// anvil, forge and solc.
    pub chain: bool,
    /// Network namespaces: root and iproute2.
    pub lab: bool,
}

impl Need {
    pub fn all() -> Need {
        Need { ebpf: true, chain: true, lab: sh::is_root() }
    }
}

/// Installs what is missing.
pub fn run(need: Need) -> Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("Weir runs on Linux only: the relay is built on io_uring and XDP");
    }
    rust_components(if need.ebpf {
        &["rustfmt", "clippy", "rust-src"]
    } else {
        &["rustfmt", "clippy"]
    })?;
    if need.ebpf {
        bpf_linker()?;
    }
    if need.chain {
        crate::contracts::tools()?;
    }
    if need.lab && !sh::has("ip") {
        bail!(
            "`ip` is missing: the lab is made of network namespaces. Install iproute2 \
             (Debian, Ubuntu: apt-get install iproute2; Fedora: dnf install iproute)"
        );
    }
    Ok(())
}

fn rust_components(wanted: &[&str]) -> Result<()> {
    if !sh::has("rustup") {
        eprintln!("    rustup is not here: trusting that the toolchain has {}", wanted.join(", "));
        return Ok(());
    }
    let installed = sh::read(sh::cmd("rustup").args(["component", "list", "--installed"]))?;
    let missing: Vec<&str> = wanted
        .iter()
        .copied()
        .filter(|name| !installed.lines().any(|line| line.starts_with(name)))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut add = sh::cmd("rustup");
    add.args(["component", "add"]).args(&missing);
    sh::step(&format!("install the Rust components {}", missing.join(", ")), &mut add)
}

fn bpf_linker() -> Result<()> {
    let here = sh::read(sh::cmd("bpf-linker").arg("--version")).unwrap_or_default();
    if here.trim().ends_with(BPF_LINKER_VERSION) {
        return Ok(());
    }
    let mut install = sh::cargo();
    install.args(["install", "bpf-linker", "--version", BPF_LINKER_VERSION, "--locked", "--force"]);
    sh::step(&format!("install bpf-linker {BPF_LINKER_VERSION} (about a minute)"), &mut install)
}
