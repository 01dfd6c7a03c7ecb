//! A promise that a test holds: the bench runs it, so that the table of promises is whole.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result};

use super::repeat::Sample;

/// `failures` is 0 if the test passed, 1 if not.
pub(super) fn run(package: &str, target: &str) -> Result<Sample> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let output = Command::new(cargo)
        .args(["test", "--release", "--locked", "--manifest-path", workspace, "-p", package])
        .args(["--test", target])
        .output()
        .context("can't start cargo: run this by `cargo xtask bench`")?;
    let failed = !output.status.success();
    let mut notes = vec![format!("cargo test -p {package} --test {target}")];
    if failed {
        let said = String::from_utf8_lossy(&output.stderr);
        notes.extend(said.lines().last().map(str::to_owned));
    }
    let figures = BTreeMap::from([("failures", f64::from(u8::from(failed)))]);
    Ok(Sample { units: 1, figures, notes, ..Sample::default() })
}
