//! The agreement: its terms, its signatures, its bond, and the operator's stake.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::now_s;
use crate::demo::chain::{MEASURERS, RPC, Who};
use crate::demo::lab::Host;
use crate::demo::report::Report;
use crate::demo::scene::{self, Scene};
use crate::sh;

pub const INTERVAL_S: u64 = 3;
pub const INTERVALS: u64 = 10;
/// What signing, bonding and starting takes; an interval that begins earlier is a draw.
const LEAD_S: u64 = 9;
pub const FEE: u128 = 10_000_000;
pub const BOND: u128 = 30_000_000;
const STAKE: u128 = 1_000_000;
/// Slow for a veth, but the lab shares two CPUs with whatever else runs there.
const COMMITTED_KBPS: u64 = 8_000;
const RTT_P95_US: u64 = 250_000;
const LOSS_PPM: u64 = 100_000;
const AVAILABILITY_PPM: u64 = 950_000;
/// Below the first, the second of the fee is owed, in parts per million.
pub const LADDER: [(u64, u128); 3] =
    [(AVAILABILITY_PPM, 100_000), (850_000, 250_000), (450_000, 1_000_000)];

/// What both sides signed.
pub struct Agreement {
    pub file: PathBuf,
    pub references: PathBuf,
    pub id: String,
    start_s: u64,
}

impl Agreement {
    /// Has it signed by both sides, opened and bonded; and the stake bonded, too.
    pub fn make(scene: &Scene, report: &mut Report) -> Result<Agreement> {
        let references = references(scene)?;
        let settle = |words: &[&str]| -> Command {
            let mut command = scene.lab.on(Host::Relay, &scene.binaries.settle);
            command.args(words);
            command
        };
        let hash = sh::read(settle(&["sla", "references"]).arg(&references))?;
        let start_s = now_s() + LEAD_S;
        let terms = scene.dir.write("sla-terms.toml", &terms(scene, start_s, hash.trim())?)?;
        let file = scene.dir.join("agreement.json");
        let chain = &scene.chain;
        let chain_id = chain.chain_id.to_string();
        let mut make = settle(&["terms", "make", "--chain-id", &chain_id, "--bond", &chain.bond]);
        let made: Value = serde_json::from_str(&sh::read(make.arg(&terms).arg("-o").arg(&file))?)?;
        let id = made["id"].as_str().context("an agreement without an id")?.to_owned();
        for key in ["payer-wallet.key", "operator.key"] {
            let mut sign = settle(&["terms", "sign", "--key-file"]);
            sh::read(sign.arg(scene.dir.join(key)).arg(&file))?;
        }
        let url = format!("http://{RPC}");
        let operator = scene.dir.join("operator.key");
        let mut open = settle(&["terms", "open", "--mint", "--rpc", &url, "--key-file"]);
        let opened: Value = serde_json::from_str(&sh::read(open.arg(&operator).arg(&file))?)?;
        let bonded = &opened["agreement"];
        report.check(
            "an agreement is in force",
            bonded["state"] == "open" && bonded["balance"] == BOND.to_string(),
            format!("{bonded}"),
        );
        let (usage, _) = chain.accounts().of(Who::Operator)?;
        let (payout, _) = chain.accounts().of(Who::Receiver)?;
        let (active, committed) = (STAKE.to_string(), COMMITTED_KBPS.to_string());
        let availability = AVAILABILITY_PPM.to_string();
        let mut stake = settle(&["stake", "open", "--mint", "--rpc", &url, "--bond", &chain.bond]);
        stake.args(["--signer", &usage, "--payout", &payout, "--token", &chain.token]);
        stake.args(["--committed-kbps", &committed, "--availability-ppm", &availability]);
        stake.args(["--active", &active, "--key-file"]).arg(&operator);
        let staked: Value = serde_json::from_str(&sh::read(&mut stake)?)?;
        let staked = &staked["stake"]["active"];
        report.check("the operator has a stake", *staked == active, format!("{staked}"));
        Ok(Agreement { file, references, id, start_s })
    }

    pub fn ends_s(&self) -> u64 {
        self.start_s + INTERVALS * INTERVAL_S
    }

    /// What is owed for so many bad intervals: the ladder, read as the contract reads it.
    pub fn credit(bad: u64) -> u128 {
        let met = INTERVALS.saturating_sub(bad);
        let reached =
            LADDER.iter().take_while(|(below_ppm, _)| met * 1_000_000 < below_ppm * INTERVALS);
        reached.last().map_or(0, |(_, credit_ppm)| FEE * credit_ppm / 1_000_000)
    }
}

/// What measurers probe: the lab's echo server and its web server, as names of its zone.
fn references(scene: &Scene) -> Result<PathBuf> {
    let port = |standard| scene::port(&scene.lab, standard);
    let (echo, web) = (scene::ECHO, scene::WEB);
    // More than a measurer fetches.
    let (echo_port, web_port, bytes) = (port(7), port(80), 8 << 20);
    let list = format!(
        "[\"echo://{echo}:{echo_port}\", \"http://{web}:{web_port}/bytes/{bytes}?seed=1\"]"
    );
    scene.dir.write("references.json", &list)
}

fn terms(scene: &Scene, start_s: u64, references: &str) -> Result<String> {
    let chain = &scene.chain;
    let of = |who| chain.accounts().of(who).map(|(address, _)| address);
    let mut measurers = Vec::new();
    for number in 0..MEASURERS {
        measurers.push(chain.accounts().measurer(number)?.0.to_lowercase());
    }
    measurers.sort();
    let mut terms = format!(
        "payer = \"{}\"\noperator = \"{}\"\npayout = \"{}\"\ntoken = \"{}\"\nchannel = \"{}\"\n\
         committed_kbps = {COMMITTED_KBPS}\nburst_kbps = {COMMITTED_KBPS}\n\
         availability_ppm = {AVAILABILITY_PPM}\nrtt_p95_us = {RTT_P95_US}\n\
         loss_ppm = {LOSS_PPM}\nreferences = \"{references}\"\nstart = {start_s}\n\
         period_s = {}\nperiods = 1\ninterval_s = {INTERVAL_S}\nclaim_s = 86400\n\
         fee = \"{FEE}\"\nbond = \"{BOND}\"\nmeasurers = {measurers:?}\nthreshold = 2\n",
        of(Who::Payer)?,
        of(Who::Operator)?,
        of(Who::Receiver)?,
        chain.token,
        chain.channel,
        INTERVALS * INTERVAL_S,
    );
    for (below, credit) in LADDER {
        terms.push_str(&format!("[[credits]]\nbelow_ppm = {below}\ncredit_ppm = {credit}\n"));
    }
    Ok(terms)
}
