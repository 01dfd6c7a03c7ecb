//! A figure that a `cargo bench` target of another crate takes: the bench runs it and reads its
//! line of JSON, so that what that crate depends on stays out of this one.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::repeat::Sample;

/// What such a target may say besides.
const FIGURES: [&str; 4] = ["acks", "bytes_per_record", "gas_per_voucher", "transactions"];

/// What the target prints as its last line.
#[derive(Debug, Deserialize)]
struct Measured {
    units: u64,
    seconds: f64,
    /// None where CPU time isn't what it is about.
    cpu_ns: Option<u64>,
    figures: BTreeMap<String, f64>,
}

/// Runs `cargo bench -p package --bench target -- what`.
pub(super) fn run(package: &str, target: &str, what: &str) -> Result<Sample> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let output = Command::new(cargo)
        .args(["bench", "--locked", "--manifest-path", workspace, "-p", package])
        .args(["--bench", target, "--", what])
        .output()
        .context("can't start cargo: run this by `cargo xtask bench`")?;
    let command = format!("cargo bench -p {package} --bench {target} -- {what}");
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let reason = said.lines().rfind(|line| !line.starts_with("note: ")).unwrap_or_default();
        bail!("{command}: {reason}");
    }
    let sample = read(&String::from_utf8_lossy(&output.stdout)).context(command.clone())?;
    Ok(Sample { notes: vec![command], ..sample })
}

fn read(stdout: &str) -> Result<Sample> {
    let line = stdout.lines().rfind(|line| line.starts_with('{')).context("it printed no JSON")?;
    let measured: Measured = serde_json::from_str(line).context("another form of JSON")?;
    if measured.units == 0 {
        bail!("nothing was done");
    }
    let per_unit = |ns: u64| ns as f64 / measured.units as f64;
    Ok(Sample {
        units: measured.units,
        seconds: measured.seconds,
        cpu_ns_per_unit: measured.cpu_ns.map(per_unit),
        figures: FIGURES
            .into_iter()
            .filter_map(|name| Some((name, *measured.figures.get(name)?)))
            .collect(),
        ..Sample::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_json_counts() {
        let line = r#"{"units":4,"seconds":2.0,"cpu_ns":400,"figures":{"acks":7}}"#;
        let sample = read(&format!("{{}}\nmore\n{line}\n\n")).unwrap();
        assert_eq!((sample.units, sample.cpu_ns_per_unit), (4, Some(100.0)));
        assert_eq!(sample.figures["acks"], 7.0);
        let without = read(&line.replace("400", "null")).unwrap();
        assert_eq!(without.cpu_ns_per_unit, None);
    }

    #[test]
    fn what_is_no_measurement_is_refused() {
        assert!(read("nothing here").unwrap_err().to_string().contains("no JSON"));
        assert!(read("{}").is_err());
        assert!(read(r#"{"units":0,"seconds":1,"cpu_ns":1,"figures":{}}"#).is_err());
    }
}
