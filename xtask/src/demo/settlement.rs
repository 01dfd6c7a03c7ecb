//! From counted to paid: the client signs all that it owes, the sidecar claims and anchors it, and
//! the chain is asked what it has.

use anyhow::{Context, Result};
use serde_json::Value;

use super::lab::Host;
use super::report::Report;
use super::scene::{CLIENT_ADMIN, Scene};
use crate::{http, sh};

/// What the parties agreed on at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Settled {
    /// The client's own count over its life, both directions.
    pub client_bytes: u64,
    /// What the exit asks for, both directions.
    pub asked_bytes: u64,
    /// What the chain says was claimed, in bytes at the channel's price.
    pub paid_bytes: u64,
}

/// Has the client pay and the sidecar claim. `exact`: nothing was interrupted, so what the exit
/// asks for must be the client's own count.
pub fn settle_all(
    scene: &Scene,
    report: &mut Report,
    when: &'static str,
    exact: bool,
) -> Result<Settled> {
    eprintln!("==> settle ({when})");
    let answer =
        http::request(&scene.lab, Host::Client, "POST", CLIENT_ADMIN.parse()?, "/settle", "")?;
    let payment = &answer["payment"];
    let sum = |up: &str, down: &str| -> Result<u64> {
        let both = payment[up].as_u64().zip(payment[down].as_u64());
        both.map(|(up, down)| up + down).with_context(|| format!("no {up} in {answer}"))
    };
    let client_bytes = sum("up_bytes", "down_bytes")?;
    let asked_bytes = sum("asked_up_bytes", "asked_down_bytes")?;
    if exact {
        report.check(
            "client and exit agree",
            answer["settled"] == true,
            format!("{when}: {answer}"),
        );
    }

    let mut settle = scene.lab.on(Host::Relay, &scene.binaries.settle);
    settle.args(["settle-now", "--json", "--timeout-s", "60", "-c"]);
    settle.arg(scene.dir.join("settle.toml"));
    let done: Value = serde_json::from_str(&sh::read(&mut settle)?)?;
    for tx in done["transactions"].as_array().into_iter().flatten() {
        let text = |key: &str| tx[key].as_str().unwrap_or_default().to_owned();
        let gas = tx["gas_used"].as_u64().unwrap_or_default();
        report.settlement.transactions.push((text("kind"), text("tx"), gas));
    }
    if let Some(root) = done["root"].as_str() {
        report.settlement.anchored_root = root.to_owned();
    }
    let claimed = scene.chain.claimed(&scene.lab)?;
    let signed: u128 = payment["signed_amount"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .context("the client says no signed amount")?;
    report.check(
        "claimed = signed",
        claimed == signed,
        format!("{when}: the chain has {claimed}, the client signed {signed}"),
    );
    let expected = scene.chain.amount_of(client_bytes);
    if exact {
        report.settlement.chain_id = scene.chain.chain_id;
        report.settlement.channel = scene.chain.channel.clone();
        report.settlement.expected = expected;
        report.settlement.claimed = claimed;
        report.check(
            "claimed = expected",
            claimed == expected,
            format!("{when}: claimed {claimed}, the client's count costs {expected}"),
        );
    }
    if scene.xdp && exact {
        check_access(scene, report)?;
    }
    // One unit is one byte at the lab's price.
    let paid_bytes = u64::try_from(claimed).context("more claimed than fits in 64 bits")?;
    Ok(Settled { client_bytes, asked_bytes, paid_bytes })
}

/// The sidecar compares what it asks for with what the kernel saw on the clients' side.
fn check_access(scene: &Scene, report: &mut Report) -> Result<()> {
    let mut settle = scene.lab.on(Host::Relay, &scene.binaries.settle);
    settle.args(["status", "--json", "-c"]).arg(scene.dir.join("settle.toml"));
    // Troubles, if there are any, are its exit code; here it is what it says that counts.
    let output = settle.output().context("weir-settle status")?;
    let status: Value = serde_json::from_slice(&output.stdout)?;
    let access = status["access"].as_object().context("no ledger C in weir-settle status")?;
    let sum = |key: &str| access.values().filter_map(|of| of[key].as_u64()).sum::<u64>();
    let (billed, seen) = (sum("billed_up"), sum("seen_up"));
    let mut lanes = status["lanes"].as_array().into_iter().flatten();
    report.check(
        "billed <= seen from clients",
        billed > 0 && billed <= seen && lanes.all(|lane| lane["held_back"].is_null()),
        format!("the sidecar bills {billed} bytes of {seen} that the kernel saw: {status}"),
    );
    Ok(())
}
