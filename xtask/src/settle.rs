//! `cargo xtask settle-torture`: builds the torture of the sidecar and becomes it.

use std::os::unix::process::CommandExt;

use anyhow::{Context, Result};

use crate::sh;

pub fn torture(args: &[String]) -> Result<()> {
    let mut build = sh::cargo();
    build.args(["build", "--locked", "-p", "weir-torture"]);
    sh::step("build the torture of the sidecar", &mut build)?;
    let mut torture = sh::cmd(sh::target_dir().join("debug/settle-torture"));
    torture.args(args);
    // Its exit code is the verdict.
    let error = torture.exec();
    Err(error).with_context(|| format!("can't start {}", sh::line(&torture)))
}
