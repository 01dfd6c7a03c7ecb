//! Where the peers' programs are, once `cargo xtask bench --with-peers` has installed them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::Kind;

/// The folder of installed peers.
#[derive(Clone, Debug)]
pub struct Programs {
    bin: PathBuf,
}

/// The two programs of a peer.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) server: PathBuf,
    pub(super) client: PathBuf,
}

impl Programs {
    /// The programs in `<dir>/bin`.
    ///
    /// # Errors
    /// When none of them is there.
    pub fn find(dir: &Path) -> Result<Programs> {
        let programs = Programs { bin: std::path::absolute(dir)?.join("bin") };
        ensure!(
            !programs.installed().is_empty(),
            "no peer is installed in {}: run `cargo xtask bench --with-peers`",
            programs.bin.display()
        );
        Ok(programs)
    }

    /// The peers that can be started.
    pub fn installed(&self) -> Vec<Kind> {
        Kind::ALL.into_iter().filter(|&kind| self.of(kind).is_ok()).collect()
    }

    pub(super) fn of(&self, kind: Kind) -> Result<Pair> {
        let (server, client) = match kind {
            Kind::Hysteria2 | Kind::Tuic => ("sing-box", "sing-box"),
            Kind::Shadowsocks => ("ssserver", "sslocal"),
        };
        let program = |name: &str| {
            let path = self.bin.join(name);
            if !path.is_file() {
                bail!(
                    "{} is not installed: {} is missing. `cargo xtask bench --with-peers` \
                     installs it, or says why it can't",
                    kind.name(),
                    path.display()
                );
            }
            Ok(path)
        };
        Ok(Pair { server: program(server)?, client: program(client)? })
    }
}

/// The first line of what a program says to being asked for its version.
pub(super) fn version(program: &Path) -> Result<String> {
    let word = match program.ends_with("sing-box") {
        true => "version",
        false => "--version",
    };
    let output = Command::new(program)
        .arg(word)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("can't start {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().unwrap_or_default().trim();
    ensure!(!line.is_empty(), "{} does not know its version", program.display());
    Ok(line.to_owned())
}
