//! What it takes to compile for the kernel: the pinned compiler, its library sources, bpf-linker.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// The last version that links with the compiler's own LLVM.
const LINKER_VERSION: &str = "0.10.4";

pub(super) struct Toolchain {
    sysroot: PathBuf,
}

impl Toolchain {
    pub(super) fn find_or_install() -> Result<Self> {
        let output = Command::new("rustc").args(["--print", "sysroot"]).output();
        let output = output.context("can't start rustc")?;
        let sysroot = PathBuf::from(String::from_utf8(output.stdout)?.trim());
        let toolchain = Self { sysroot };
        toolchain.need_library_sources()?;
        toolchain.need_linker()?;
        Ok(toolchain)
    }

    /// cargo for the kernel target, with the flags that make the object the same wherever it is
    /// built from `root`.
    pub(super) fn cargo(&self, root: &Path) -> Command {
        let home = env::var_os("CARGO_HOME").map_or_else(
            || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cargo"),
            PathBuf::from,
        );
        let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
        let flags = [
            "-Cdebuginfo=2".to_owned(),
            "-Clink-arg=--btf".to_owned(),
            // Addresses lie at odd offsets behind a 14-byte Ethernet header. x86-64 and arm64 read
            // them in one go; without this every byte is loaded and shifted by itself.
            "-Clink-arg=--cpu-features=+allows-misaligned-mem-access".to_owned(),
            // Tells aya-ebpf whose registers a probe would see; it would take the host's.
            "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
            remap(&home, "/cargo"),
            remap(&self.sysroot, "/rust"),
            remap(root, "/weir"),
        ];
        let mut cargo = Command::new("cargo");
        cargo
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .env("LD_LIBRARY_PATH", self.sysroot.join("lib"))
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTFLAGS");
        cargo
    }

    fn need_library_sources(&self) -> Result<()> {
        if self.sysroot.join("lib/rustlib/src/rust/library/core").is_dir() {
            return Ok(());
        }
        println!("rust-src is missing: rustup component add rust-src");
        let status = Command::new("rustup").args(["component", "add", "rust-src"]).status();
        let status = status.context("can't start rustup; install the rust-src component")?;
        ensure!(status.success(), "rustup could not add rust-src");
        Ok(())
    }

    fn need_linker(&self) -> Result<()> {
        if self.linker_version().is_some_and(|version| version == LINKER_VERSION) {
            return Ok(());
        }
        println!("bpf-linker {LINKER_VERSION} is missing: cargo install (about a minute)");
        let status = Command::new("cargo")
            .args(["install", "bpf-linker", "--locked", "--version", LINKER_VERSION])
            .status()
            .context("can't start cargo")?;
        ensure!(status.success(), "bpf-linker could not be installed");
        let found = self.linker_version();
        ensure!(
            found.as_deref() == Some(LINKER_VERSION),
            "bpf-linker says it is {found:?}, not {LINKER_VERSION}: is ~/.cargo/bin in PATH?"
        );
        Ok(())
    }

    fn linker_version(&self) -> Option<String> {
        let output = Command::new("bpf-linker")
            .arg("--version")
            .env("LD_LIBRARY_PATH", self.sysroot.join("lib"))
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        text.split_whitespace().nth(1).map(str::to_owned)
    }
}
