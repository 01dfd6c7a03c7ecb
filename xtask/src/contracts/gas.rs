//! The gas table of the README is what the tests measured.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Fails if a row of `snapshots/Gas.json` isn't in `README.md` with the same figure.
pub(crate) fn check(dir: &Path) -> Result<()> {
    let read = |name: &str| {
        let path = dir.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))
    };
    let figures: BTreeMap<String, String> =
        serde_json::from_str(&read("snapshots/Gas.json")?).context("snapshots/Gas.json")?;
    let missing = missing(&figures, &read("README.md")?);
    if !missing.is_empty() {
        bail!("deploy/contracts/README.md lacks these rows of gas:\n{}", missing.join("\n"));
    }
    Ok(())
}

fn missing(figures: &BTreeMap<String, String>, readme: &str) -> Vec<String> {
    figures
        .iter()
        .map(|(name, gas)| format!("| {name} | {} |", thousands(gas)))
        .filter(|row| !readme.lines().any(|line| line.starts_with(row)))
        .collect()
}

/// 1234567 as 1,234,567.
fn thousands(digits: &str) -> String {
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_row_is_named_as_it_should_be() {
        let figures = BTreeMap::from([("claim".to_owned(), "1234567".to_owned())]);
        assert_eq!(missing(&figures, "x\n| claim | 1,234,567 | 12 |\n"), [""; 0]);
        assert_eq!(missing(&figures, "| claim | 1,234,568 |"), ["| claim | 1,234,567 |"]);
        assert_eq!(["1", "12", "123", "1234"].map(thousands), ["1", "12", "123", "1,234"]);
    }
}
