//! `settle-torture [--runs N] [--seed N] [--json]`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use weir_torture::{Summary, torture};

const USAGE: &str = "\
settle-torture [--runs N] [--seed N] [--json]

  --runs N   courses of events to try, 5000 unless told otherwise
  --seed N   the first seed, 1 unless told otherwise; --runs 1 repeats that course alone, and
             with WEIR_LOG=info it tells its story on stderr
  --json     print the result as JSON";

fn main() -> ExitCode {
    let (mut runs, mut seed, mut json) = (5000, 1, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|value| value.parse::<u64>().ok());
        match arg.as_str() {
            "--json" => json = true,
            "--runs" if let Some(value) = number() => runs = value,
            "--seed" if let Some(value) = number() => seed = value,
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    // The log of one course is the story of that course.
    if let (1, Some(filter)) = (runs, std::env::var_os("WEIR_LOG")) {
        let filter = tracing_subscriber::EnvFilter::new(filter.to_string_lossy());
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let summary = torture(seed, runs, |done| {
        if done % PROGRESS == 0 {
            eprintln!("{done} of {runs}");
        }
    });
    if json {
        match serde_json::to_string_pretty(&summary) {
            Ok(text) => println!("{text}"),
            Err(e) => eprintln!("can't write JSON: {e}"),
        }
    } else {
        show(&summary);
    }
    // A few runs can't crash at every step.
    let covered = runs < COVERING_RUNS || summary.never_crashed_at.is_empty();
    let good = summary.failures.is_empty()
        && summary.lost_beyond_window == 0
        && summary.double_billed == 0
        && covered;
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs between two lines that say how far it is.
const PROGRESS: u64 = 500;

/// From so many runs on every step must have been crashed at.
const COVERING_RUNS: u64 = 200;

fn show(summary: &Summary) {
    println!("runs                {}", summary.runs);
    println!("lost beyond window  {}", summary.lost_beyond_window);
    println!("double billed       {}", summary.double_billed);
    println!("delivered           {} units", summary.delivered);
    println!("received            {} units", summary.received);
    println!("days anchored       {}", summary.days);
    println!("challenges answered {}", summary.answers);
    println!("epochs signed for   {}", summary.statements);
    println!("crashes at");
    for (name, count) in &summary.crash_points {
        println!("  {count:>6}  {name}");
    }
    for name in &summary.never_crashed_at {
        println!("       0  {name}");
    }
    for failure in &summary.failures {
        println!("seed {}: {failure:?}", failure.seed);
    }
}
