//! The benchmark: subjects and scenarios, interleaved, from set-up to report.

pub mod args;
pub mod cargo_bench;
pub mod cargo_test;
pub mod cell;
pub mod generator;
pub mod host;
pub mod interrupt;
pub mod lab;
pub mod launch;
pub mod plan;
pub mod process;
pub mod repeat;
pub mod sample;
pub mod scenario;
pub mod session;
pub mod subject;
pub mod target;
pub mod wan;
pub mod xdp;

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::report::{self, Run, compare, html, table};
use crate::sla;
use args::Args;

/// Does what the command line asks for.
///
/// # Errors
/// When the lab can't be made, a file can't be read or written, or the run was interrupted. A
/// subject or scenario that fails is part of the report.
pub fn bench(args: &Args) -> Result<ExitCode> {
    if args.list {
        print!("{}", list());
        return Ok(ExitCode::SUCCESS);
    }
    // What is to be compared or judged is read first: a mistake there is not found after an hour.
    let rows = sla::load(&args.sla)?;
    let before = args.compare.as_deref().map(Run::load).transpose()?;
    for file in [&args.json, &args.html].into_iter().flatten() {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder
            .map_or(Ok(()), std::fs::create_dir_all)
            .with_context(|| format!("can't make the folder of {}", file.display()))?;
    }
    let run = match &args.from {
        Some(file) => Run::load(file)?,
        None => session::run(args, &rows)?,
    };
    if let Some(file) = &args.json {
        run.save(file)?;
    }
    if let Some(file) = &args.html {
        std::fs::write(file, html::render(&run))
            .with_context(|| format!("can't write {}", file.display()))?;
    }
    print!("{}", table::render(&run));
    if let Some(before) = &before {
        println!();
        print!("{}", compare::render(&compare::compare(before, &run), before, &run));
    }
    Ok(verdict(args, &rows, &run))
}

/// Promises that aren't kept, and answers with the wrong content, fail the run.
fn verdict(args: &Args, rows: &[sla::Row], run: &Run) -> ExitCode {
    let mut good = true;
    if args.plan == Some(plan::Name::Sla) {
        let judged = sla::judge(rows, run);
        println!("\nbench/SLA.md");
        print!("{}", sla::render(&judged));
        let failed = judged.iter().filter(|judgement| judgement.fails()).count();
        let unclear = judged.iter().filter(|judgement| judgement.is_unclear()).count();
        if unclear > 0 {
            println!("{unclear} of {} promises can't be judged on this host", judged.len());
        }
        if failed > 0 {
            println!("{failed} of {} promises are broken", judged.len());
            good = false;
        }
    }
    let corrupt: u64 = run.results.iter().map(|outcome: &report::Outcome| outcome.corrupt).sum();
    if corrupt > 0 {
        println!("{corrupt} answers had the wrong content");
        good = false;
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn list() -> String {
    let mut text = String::new();
    for scenario in scenario::SCENARIOS {
        let plan = if scenario.quick { "quick" } else { "full" };
        text.push_str(&format!("{:<20} {plan:<6} {}\n", scenario.name, scenario.about));
        text.push_str(&format!("{:27} {}\n", "", scenario.subjects.join(", ")));
    }
    text
}
