//! GAS.md is what the tests measured, and what they measured is within the goals.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// What a transaction may cost at most, per voucher where it has many.
const GOALS: [Goal; 3] = [
    Goal { row: "claim, 100 lanes of one channel, later", gas_max: 18_000 },
    Goal { row: "settle, later", gas_max: 53_000 },
    Goal { row: "anchor", gas_max: 50_000 },
];

struct Goal {
    /// A row of the snapshot.
    row: &'static str,
    /// Of a voucher for rows of many, else of the transaction.
    gas_max: u64,
}

type Figures = BTreeMap<String, u64>;

/// Writes `GAS.md` from `snapshots/Gas.json`.
pub(crate) fn write(dir: &Path) -> Result<()> {
    let path = dir.join("GAS.md");
    std::fs::write(&path, page(&read(dir)?))
        .with_context(|| format!("can't write {}", path.display()))
}

/// Fails if `GAS.md` isn't what `snapshots/Gas.json` makes it, or a goal is missed.
pub(crate) fn check(dir: &Path) -> Result<()> {
    let figures = read(dir)?;
    let missed = missed(&figures);
    if !missed.is_empty() {
        bail!(
            "more gas than the goals of xtask/src/contracts/gas.rs allow:\n{}",
            missed.join("\n")
        );
    }
    let path = dir.join("GAS.md");
    let committed =
        std::fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
    if committed != page(&figures) {
        bail!(
            "{} isn't what snapshots/Gas.json makes it. Run `cargo xtask contracts gas` and commit \
             what it writes",
            path.display()
        );
    }
    Ok(())
}

fn read(dir: &Path) -> Result<Figures> {
    let path = dir.join("snapshots/Gas.json");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
    let rows: BTreeMap<String, String> =
        serde_json::from_str(&text).with_context(|| format!("{}", path.display()))?;
    rows.into_iter()
        .map(|(row, gas)| {
            let gas = gas.parse().with_context(|| format!("{}: {row}: {gas}", path.display()))?;
            Ok((row, gas))
        })
        .collect()
}

/// What misses its goal, or isn't measured any more.
fn missed(figures: &Figures) -> Vec<String> {
    let miss = |goal: &Goal| match figures.get(goal.row) {
        None => Some(format!("{}: not measured", goal.row)),
        Some(gas) => {
            let each = gas.div_ceil(vouchers(goal.row));
            let text = || format!("{}: {each}, at most {}", goal.row, goal.gas_max);
            (each > goal.gas_max).then(text)
        }
    };
    GOALS.iter().filter_map(miss).collect()
}

/// How many vouchers the transaction of a row has.
fn vouchers(row: &str) -> u64 {
    if row.starts_with("claim, 100 ") { 100 } else { 1 }
}

fn page(figures: &Figures) -> String {
    let mut page = String::from(
        "# What transactions cost

Written by `cargo xtask contracts gas` from `snapshots/Gas.json`; don't edit. `cargo xtask contracts
test` fails when a figure changes, `cargo xtask contracts check` when this page isn't what the
figures make it or a goal is missed.

Whole transactions, base fee and calldata included, by `test/Gas.t.sol`, with the settings of
`foundry.toml`. Amounts have the size of a token's with 18 decimals. The token's own share is that of
`lab/TestToken.sol`.

## Goals

| transaction | gas | at most |
|---|--:|--:|
",
    );
    for Goal { row, gas_max } in &GOALS {
        let each = figures.get(*row).map_or(0, |gas| gas.div_ceil(vouchers(row)));
        let what = if vouchers(row) > 1 { ", per voucher" } else { "" };
        let (each, gas_max) = (thousands(each), thousands(*gas_max));
        let _ = writeln!(page, "| {row}{what} | {each} | {gas_max} |");
    }
    page.push_str("\n## All\n\n| transaction | gas | per voucher |\n|---|--:|--:|\n");
    for (row, gas) in figures {
        let each = match vouchers(row) {
            1 => String::new(),
            vouchers => format!(" {}", thousands(gas.div_ceil(vouchers))),
        };
        let _ = writeln!(page, "| {row} | {} |{each} |", thousands(*gas));
    }
    page.push_str(
        "
The first payment to a receiver is dearer than later ones by the slot that the token writes for an
account that never held it: 17,100 gas of the token's, which no escrow can save. A claim on many
channels is dearer than one on many lanes of one channel by four cold slots per channel (signer,
receiver, token, balance), 11,300 gas, and cheaper by the lane's own slot, 5,000.
",
    );
    page
}

/// 1234567 as 1,234,567.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
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

    fn figures(claim: u64) -> Figures {
        let rows = [(GOALS[0].row, claim), ("settle, later", 41_000), ("anchor", 47_000)];
        rows.into_iter().map(|(row, gas)| (row.to_owned(), gas)).collect()
    }

    #[test]
    fn a_missed_goal_and_a_missing_row_are_named() {
        assert_eq!(missed(&figures(1_800_000)), [""; 0]);
        let over = "claim, 100 lanes of one channel, later: 18001, at most 18000";
        assert_eq!(missed(&figures(1_800_001)), [over]);
        let mut without = figures(1);
        without.remove("anchor");
        assert_eq!(missed(&without), ["anchor: not measured"]);
    }

    #[test]
    fn a_stale_page_is_refused() {
        let dir = std::env::temp_dir().join(format!("weir-gas-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("snapshots")).unwrap();
        let snapshot = |claim: u64| {
            let rows: BTreeMap<String, String> =
                figures(claim).into_iter().map(|(row, gas)| (row, gas.to_string())).collect();
            let text = serde_json::to_string(&rows).unwrap();
            std::fs::write(dir.join("snapshots/Gas.json"), text).unwrap();
        };
        snapshot(1_700_000);
        write(&dir).unwrap();
        check(&dir).unwrap();
        let page = std::fs::read_to_string(dir.join("GAS.md")).unwrap();
        assert!(page.contains("| claim, 100 lanes of one channel, later | 1,700,000 | 17,000 |"));
        snapshot(1_700_001);
        assert!(check(&dir).unwrap_err().to_string().contains("cargo xtask contracts gas"));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn digits_are_grouped() {
        assert_eq!([1, 12, 123, 1234].map(thousands), ["1", "12", "123", "1,234"]);
        assert_eq!(thousands(1_234_567), "1,234,567");
    }
}
