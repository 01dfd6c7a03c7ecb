//! Commands that talk to a running sidecar, or read its journal.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use weir_settle::chain::Report;
use weir_settle::config::Config;
use weir_settle::control::{self, Request};
use weir_settle::journal::entry::Note;
use weir_settle::storage::ReadOnly;
use weir_usage::ChannelId;

pub(super) async fn status(config: &Config, json: bool) -> Result<ExitCode> {
    let status = control::ask(&config.control, &Request::Status).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        print_status(&status);
    }
    let troubles = status["troubles"].as_array().map_or(0, Vec::len);
    Ok(ExitCode::from(u8::from(troubles > 0)))
}

pub(super) fn explain(config: &Config, channel: ChannelId) -> Result<ExitCode> {
    let storage = ReadOnly::open(&config.journal)?;
    print!("{}", weir_settle::explain::explain(config, &storage, channel)?);
    Ok(ExitCode::SUCCESS)
}

pub(super) fn export(config: &Config, json: bool) -> Result<ExitCode> {
    let storage = ReadOnly::open(&config.journal)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match json {
        true => weir_settle::export::json(&storage, &mut out)?,
        false => weir_settle::export::csv(&storage, &mut out)?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn settle_now(config: &Config, json: bool, timeout_s: u64) -> Result<ExitCode> {
    let answer = control::ask(&config.control, &Request::SettleNow);
    let answer = tokio::time::timeout(Duration::from_secs(timeout_s), answer)
        .await
        .with_context(|| format!("not final after {timeout_s} s; `status` shows the outbox"))??;
    let report: Report = serde_json::from_value(answer.clone())?;
    if json {
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else {
        for done in &report.transactions {
            println!("{:7} {} block {} gas {}", done.kind, done.tx, done.block, done.gas_used);
        }
        println!("claimed {} units, settled {} units", report.claimed, report.settled);
        if let (Some(root), Some(epoch)) = (&report.root, report.epoch) {
            println!("usage root {root} of epoch {epoch}");
        }
    }
    for problem in &report.problems {
        eprintln!("weir-settle: {problem}");
    }
    Ok(ExitCode::from(u8::from(!report.problems.is_empty())))
}

pub(super) async fn waive(config: &Config, id: &str, reason: String) -> Result<ExitCode> {
    let Ok(id) = u128::from_str_radix(id.trim_start_matches("0x"), 16) else {
        bail!(
            "`{id}` isn't what `explain` shows of a tunnel or process: up to 32 hexadecimal digits"
        );
    };
    let note = Note::Waived { tunnel: format!("{id:032x}"), reason };
    control::ask(&config.control, &Request::Note(note)).await?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn write_off(
    config: &Config,
    channel: ChannelId,
    lane: u32,
    amount: u128,
    reason: String,
) -> Result<ExitCode> {
    let note = Note::WrittenOff { channel, lane, amount, reason };
    control::ask(&config.control, &Request::Note(note)).await?;
    Ok(ExitCode::SUCCESS)
}

fn print_status(status: &Value) {
    let troubles = status["troubles"].as_array().map_or(&[][..], Vec::as_slice);
    for trouble in troubles {
        println!("WRONG     {}", trouble["words"].as_str().unwrap_or_default());
    }
    if troubles.is_empty() {
        println!("all is well");
    }
    let text = |value: &Value| match value {
        Value::String(s) => s.clone(),
        Value::Null => "-".into(),
        other => other.to_string(),
    };
    println!("exit      {}", text(&status["exit"]));
    println!("relays    {}", text(&status["relays"]));
    println!("exposure  {} units used and not signed for", text(&status["exposure"]));
    println!("unclaimed {} units signed for and not claimed", text(&status["unclaimed"]));
    let journal = &status["journal"];
    println!("journal   {} bytes, {} entries", text(&journal["bytes"]), text(&journal["entries"]));
    if !journal["error"].is_null() {
        println!("          FAILING: {}", text(&journal["error"]));
    }
    let chain = &status["chain"];
    let reachable = chain["reachable"] == true;
    println!(
        "chain     {} {}, block {}",
        text(&chain["rpc"]),
        if reachable { "reachable" } else { "NOT REACHABLE" },
        text(&chain["block"])
    );
    if !reachable {
        println!("          {}", text(&chain["error"]));
    }
    for endpoint in chain["endpoints"].as_array().into_iter().flatten() {
        println!(
            "rpc       {} {}, block {}, {} behind",
            text(&endpoint["rpc"]),
            if endpoint["up"] == true { "takes part" } else { "OUT" },
            text(&endpoint["block"]),
            text(&endpoint["behind"])
        );
    }
    println!(
        "wallet    {} {} wei, {} days",
        text(&chain["wallet"]),
        text(&chain["wallet_wei"]),
        text(&chain["wallet_days_left"])
    );
    for waiting in chain["waiting"].as_array().into_iter().flatten() {
        let of = waiting["channel"].as_str().map_or(String::new(), |c| format!(" of {c}"));
        println!("waiting   {}{of}: {}", text(&waiting["kind"]), text(&waiting["words"]));
    }
    for leaving in chain["leaving"].as_array().into_iter().flatten() {
        println!(
            "leaving   {} can take its deposit in {} s",
            text(&leaving["channel"]),
            text(&leaving["seconds_left"])
        );
    }
    for day in chain["days"].as_array().into_iter().flatten() {
        let how = if day["anchored"] == true { "anchored" } else { "to be anchored" };
        println!("samples   {} of {} {how}", text(&day["day"]), text(&day["sla"]));
    }
    let challenges = &chain["challenges"];
    if challenges["opened"].as_u64() > Some(0) {
        println!(
            "audits    {} challenges, {} answered, {} not; {} wei of fees to be fetched",
            text(&challenges["opened"]),
            text(&challenges["answered"]),
            text(&challenges["unanswered"]),
            text(&challenges["owed_wei"])
        );
    }
    for open in challenges["open"].as_array().into_iter().flatten() {
        println!(
            "audit     challenge {} of epoch {}, {} s left",
            text(&open["id"]),
            text(&open["epoch"]),
            text(&open["seconds_left"])
        );
    }
    if !chain["vouched"].is_null() {
        println!("signed    statements up to epoch {}", text(&chain["vouched"]));
    }
    for (process, access) in status["access"].as_object().into_iter().flatten() {
        println!(
            "process   {process} bills {} bytes up, {} down; its kernel saw {} from clients, {} to them",
            text(&access["billed_up"]),
            text(&access["billed_down"]),
            text(&access["seen_up"]),
            text(&access["seen_down"])
        );
    }
    for lane in status["lanes"].as_array().into_iter().flatten() {
        println!(
            "\nchannel   {} lane {} ({})",
            text(&lane["channel"]),
            text(&lane["lane"]),
            text(&lane["funding"])
        );
        println!(
            "          {} bytes up, {} down in {} tunnels",
            text(&lane["up_bytes"]),
            text(&lane["down_bytes"]),
            text(&lane["tunnels"])
        );
        println!(
            "          used {}, asked {}, signed for {}, claimed {}, exposure {}",
            text(&lane["used"]),
            text(&lane["asked"]),
            text(&lane["vouchered"]),
            text(&lane["claimed"]),
            text(&lane["exposure"])
        );
        if !lane["held_back"].is_null() {
            println!("          HELD BACK: {}", text(&lane["held_back"]));
        }
    }
    for intent in chain["open"].as_array().into_iter().flatten() {
        println!(
            "\noutbox    {} {} {} nonce {}",
            text(&intent["id"]),
            text(&intent["kind"]),
            text(&intent["state"]),
            text(&intent["nonce"])
        );
        if !intent["refused"].is_null() {
            println!("          REFUSED by the node: {}", text(&intent["refused"]));
        }
    }
}
