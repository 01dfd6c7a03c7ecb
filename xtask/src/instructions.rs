//! `cargo xtask instructions`: how many instructions the hot paths take, against the committed
//! figures. Time on shared machines is noise; instructions of the same program are not.
//!
//! Small programs run a fixed amount of work under callgrind, which counts inside the functions
//! that are named here. `bench/instructions.json` has the figures; more than the tolerance above
//! them fails, and `--update` writes them anew, for a commit that says why.
//!
//! **What is counted.** Everything of the program itself but ring: the relay's crates, quinn-proto,
//! rustls, bytes, collections, the allocator. ring and libc pick their code by the CPU's features,
//! so their counts belong to a machine and not to a change; valgrind has features of its own, too.
//! What they cost is measured as time, by `cargo xtask bench`.

mod callgrind;
mod figures;
mod scenario;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::sh;
use figures::{Figures, PerUnit};
use scenario::{SCENARIOS, Scenario};

/// The committed figures.
const FILE: &str = "bench/instructions.json";

pub fn run(args: &[String]) -> Result<()> {
    let mut update = false;
    let mut only = Vec::new();
    for arg in args {
        match arg.as_str() {
            "--update" => update = true,
            name if SCENARIOS.iter().any(|scenario| scenario.name == name) => only.push(name),
            other => {
                let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
                bail!("instructions has no option or scenario {other:?}: --update, {names:?}");
            }
        }
    }
    if update && !only.is_empty() {
        bail!("--update is for all scenarios: the figures of a file belong together");
    }
    if !sh::has("valgrind") {
        if update {
            bail!("valgrind is missing (Debian, Ubuntu: apt-get install valgrind)");
        }
        eprintln!(
            "SKIP: instructions are not counted, valgrind is missing (Debian, Ubuntu: apt-get \
             install valgrind)"
        );
        return Ok(());
    }
    let committed = Figures::load(&sh::root().join(FILE))?;
    if !update && let Some(reason) = committed.incomparable()? {
        eprintln!("SKIP: instructions are not compared, {reason}");
        return Ok(());
    }
    let chosen: Vec<&Scenario> = SCENARIOS
        .iter()
        .filter(|scenario| only.is_empty() || only.contains(&scenario.name))
        .collect();
    let counted = count(&chosen)?;
    if update {
        Figures::here(counted)?.save(&sh::root().join(FILE))?;
        eprintln!("    {FILE} is written: say in the commit why");
        return Ok(());
    }
    let report = committed.compare(&counted);
    print!("{}", report.table);
    if !report.regressions.is_empty() {
        bail!(
            "more instructions than {FILE} has, beyond {} %: {}. If the change is worth them, \
             `cargo xtask instructions --update` and say why in the commit",
            committed.tolerance * 100.0,
            report.regressions.join("; ")
        );
    }
    Ok(())
}

/// Builds the programs and runs the scenarios, as many at a time as there are CPUs.
fn count(chosen: &[&Scenario]) -> Result<BTreeMap<String, PerUnit>> {
    let examples = build(chosen)?;
    let dir = sh::target_dir().join("instructions");
    std::fs::create_dir_all(&dir)?;
    eprintln!("==> count instructions ({} scenarios under callgrind)", chosen.len());
    let start = Instant::now();
    let waiting = Mutex::new(chosen.iter());
    let done = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().ok().and_then(|mut waiting| waiting.next());
                    let Some(scenario) = next else { return };
                    let counted = one(scenario, &examples, &dir);
                    if let Ok(mut done) = done.lock() {
                        done.push((scenario.name.to_owned(), counted));
                    }
                }
            });
        }
    });
    let done = done.into_inner().map_err(|_| anyhow::anyhow!("a scenario's thread panicked"))?;
    eprintln!("    count instructions: {:.1} s", start.elapsed().as_secs_f64());
    done.into_iter().map(|(name, counted)| Ok((name, counted?))).collect()
}

fn one(scenario: &Scenario, examples: &Path, dir: &Path) -> Result<PerUnit> {
    let program = examples.join(scenario.program.example);
    let out = dir.join(format!("{}.callgrind", scenario.name));
    let mut valgrind = sh::cmd("valgrind");
    valgrind
        .args(["--quiet", "--tool=callgrind", "--collect-atstart=no"])
        .args(["--compress-strings=no", "--compress-pos=no"])
        .arg(format!("--toggle-collect={}", scenario.program.toggle))
        .arg(format!("--callgrind-out-file={}", out.display()));
    if let Some(function) = scenario.program.zero_before {
        valgrind.arg(format!("--zero-before={function}"));
    }
    valgrind.arg(&program).args(scenario.args);
    let said = sh::read(&mut valgrind)?;
    let units = scenario::units(&said)?;
    let costs = callgrind::parse(&std::fs::read_to_string(&out)?, &program)?;
    if costs.is_empty() {
        bail!("{}: callgrind counted nothing in {}", scenario.name, scenario.program.toggle);
    }
    Ok(PerUnit::new(&costs, scenario.program.example, units))
}

fn build(chosen: &[&Scenario]) -> Result<PathBuf> {
    let mut build = sh::cargo();
    build.args(["build", "--release", "--locked"]);
    let mut programs: Vec<_> = chosen.iter().map(|scenario| &scenario.program).collect();
    programs.dedup();
    for program in programs {
        build.args(["-p", program.package, "--example", program.example]);
    }
    sh::step("build the programs whose instructions are counted", &mut build)?;
    Ok(sh::target_dir().join("release/examples"))
}
