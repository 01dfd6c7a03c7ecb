//! `cargo xtask bench`: builds what is measured and what measures, and becomes the bench.

use std::os::unix::process::CommandExt;

use anyhow::{Context, Result};

use crate::{peers, setup, sh};

/// All of it in one build, so that everybody has the same profile.
const PACKAGES: [&str; 4] = ["weir", "weir-load", "weir-plain", "weir-bench"];

/// Options that measure nothing.
const WITHOUT_PROGRAMS: [&str; 4] = ["--list", "--from", "--help", "-h"];

pub fn run(args: &[String]) -> Result<()> {
    setup::run(setup::Need { ebpf: false, chain: false, lab: sh::is_root() })?;
    let measures = !args.iter().any(|arg| WITHOUT_PROGRAMS.contains(&arg.as_str()));
    let mut build = sh::cargo();
    build.args(["build", "--release", "--locked"]);
    let packages: &[&str] = if measures { &PACKAGES } else { &["weir-bench"] };
    packages.iter().for_each(|package| {
        build.args(["-p", package]);
    });
    sh::step("build the relay and its bench (minutes the first time)", &mut build)?;
    let mut bench = sh::cmd(sh::target_dir().join("release/weir-bench"));
    bench.args(args);
    // Files are named as seen from where the user is.
    bench.current_dir(std::env::current_dir().context("the current folder")?);
    if args.iter().any(|arg| arg == "--with-peers") {
        bench.arg("--peers-dir").arg(peers::install()?);
    }
    // Its exit code is the verdict, and Ctrl-C is its own affair.
    let error = bench.exec();
    Err(error).with_context(|| format!("can't start {}", sh::line(&bench)))
}
