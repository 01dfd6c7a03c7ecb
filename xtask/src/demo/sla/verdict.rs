//! From what was signed to what is paid: the operator's verdict, the payer's own, and the chain's.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::agreement::{self, Agreement};
use super::measurers::Measurers;
use crate::demo::chain::{RPC, Who};
use crate::demo::lab::Host;
use crate::demo::report::{Breach, Report};
use crate::demo::scene::{SAMPLES, Scene};
use crate::sh;

/// Whole intervals that the outage has at least.
const BAD_MIN: u64 = 2;

pub fn credit(
    scene: &Scene,
    report: &mut Report,
    agreement: &Agreement,
    measurers: &Measurers,
) -> Result<()> {
    eprintln!("==> the credit");
    let settle = |words: &[&str]| -> Command {
        let mut command = scene.lab.on(Host::Relay, &scene.binaries.settle);
        command.args(words);
        command
    };
    let (dir, config) = (&scene.dir, scene.dir.join("settle.toml"));
    let imported =
        sh::read(settle(&["sla", "import", "-c"]).arg(&config).args(&measurers.statements))?;
    let count = measurers.count()?;
    report.check(
        "the sidecar takes what measurers say",
        imported.starts_with(&format!("{count} imported")),
        imported.trim(),
    );

    let made = sh::read(settle(&["sla", "report", "--period", "0", "--json", "-c"]).arg(&config))?;
    let sealed: Value = serde_json::from_str(&made)?;
    let figures = &sealed["report"]["figures"];
    let number = |key: &str| figures[key].as_u64().with_context(|| format!("no {key}: {figures}"));
    let (good, bad) = (number("good")?, number("bad")?);
    let breach = Breach {
        agreement: agreement.id.clone(),
        interval_s: agreement::INTERVAL_S,
        intervals: number("intervals")?,
        good,
        bad,
        co_signed: co_signed(&dir.join(SAMPLES))?,
        statements: count as u64,
        fee: agreement::FEE,
        credit: Agreement::credit(bad),
        credited: 0,
    };
    report.check("client and exit sign samples", breach.co_signed > 0, format!("{breach:?}"));
    report.check("an exit that serves is good", good >= 2, format!("{good} intervals"));
    report.check("an exit that is gone is bad", bad >= BAD_MIN, format!("{bad} intervals"));

    let verdict = dir.join("verdict.json");
    let mut operators = settle(&["sla", "verdict", "--period", "0", "-c"]);
    sh::read(operators.arg(&config).arg("-o").arg(&verdict))?;
    // The payer takes nobody's word: its own samples, and what measurers gave it.
    let own = dir.join("verdict-payer.json");
    let payer = dir.join("payer-wallet.key");
    let mut payers = settle(&["sla", "judge", "--period", "0", "--client", &scene.chain.signer]);
    payers.arg(&agreement.file).arg("--key-file").arg(&payer).arg("-o").arg(&own);
    payers.arg("--samples").arg(dir.join(SAMPLES));
    for file in &measurers.statements {
        payers.arg("--statements").arg(file);
    }
    sh::read(&mut payers)?;
    let (theirs, ours) = (verdict_of(&verdict)?, verdict_of(&own)?);
    report.check("payer and exit come to one verdict", theirs == ours, format!("{theirs} {ours}"));

    sh::read(settle(&["sla", "sign", "--key-file"]).arg(&payer).arg(&verdict))?;
    let (buyer, _) = scene.chain.accounts().of(Who::Payer)?;
    scene.chain.mine(&scene.lab)?;
    let before = scene.chain.balance(&scene.lab, &buyer)?;
    // Anybody may bring it; here it is the one who pays for the measurers.
    let mut submit = settle(&["sla", "submit", "--rpc", &format!("http://{RPC}"), "--key-file"]);
    let done: Value = serde_json::from_str(&sh::read(
        submit.arg(dir.join("measurers-wallet.key")).arg(&verdict),
    )?)?;
    let credited = scene.chain.balance(&scene.lab, &buyer)?.saturating_sub(before);
    report.check(
        "the buyer's balance grows by the credit",
        credited == breach.credit && credited > 0,
        format!("{credited} of {}; {done}", breach.credit),
    );
    let mut show = settle(&["terms", "show", "--rpc", &format!("http://{RPC}")]);
    let shown: Value = serde_json::from_str(&sh::read(show.arg(&agreement.file))?)?;
    let left = &shown["on_chain"]["balance"];
    report.check(
        "the bond falls by the credit",
        *left == (agreement::BOND - credited).to_string(),
        format!("{left} of {}", agreement::BOND),
    );
    report.breach = Breach { credited, ..breach };
    Ok(())
}

/// Intervals of the period that client and exit both signed a sample of.
fn co_signed(file: &Path) -> Result<u64> {
    let mut intervals = BTreeSet::new();
    for line in std::fs::read_to_string(file)?.lines() {
        let signed: Value = serde_json::from_str(line)?;
        let interval = signed["sample"]["interval"].as_u64().context("a sample of no interval")?;
        intervals.extend((interval < agreement::INTERVALS).then_some(interval));
    }
    Ok(intervals.len() as u64)
}

fn verdict_of(file: &Path) -> Result<Value> {
    let mut held: Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    Ok(held["verdict"].take())
}
