//! One run from set-up to result: repeats of all subjects, interleaved.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::args::Args;
use super::cell::Cell;
use super::lab::{FILES_PREFIX, Lab};
use super::plan::{Budget, Name, Plan, Share, WARMUP};
use super::repeat::load::maximum_per_s;
use super::repeat::{self, Conditions, Ground, Sample};
use super::sample::HostTimes;
use super::scenario::{Kind, SUBJECTS, Scenario};
use super::subject::peer::{External, Tunnel};
use super::subject::{self, Bed, Programs, Subject};
use super::target::Target;
use super::xdp::Costs;
use super::{host, interrupt};
use crate::peers;
use crate::report::{Outcome, Run, SCHEMA};
use crate::sla;
use crate::stats::median;

/// Looks at a subject's maximum, of which the median counts.
const MAXIMUM_LOOKS: usize = 3;

/// Measures what the command line asks for.
///
/// # Errors
/// When the lab can't be made or the run is interrupted.
pub(super) fn run(args: &Args, rows: &[sla::Row]) -> Result<Run> {
    let mut plan = match (&args.scenario[..], args.plan) {
        ([], name) => Plan::named(name.unwrap_or(Name::Quick), rows),
        (names, _) => Plan::of(names)?,
    };
    plan.repeats = args.repeats.unwrap_or(plan.repeats);
    let subjects = subjects(args)?;
    interrupt::listen()?;
    let lab = match &args.peer {
        Some(_) => Lab::loopback("--peer: all subjects are to have the same network")?,
        None if args.loopback => Lab::loopback("--loopback")?,
        None => Lab::new()?,
    };
    if let Some(reason) = &lab.loopback_reason {
        eprintln!("lab: loopback ({reason}); these figures compare with nothing but each other");
    }
    let folder = Folder::new(args.keep_logs.as_deref())?;
    let programs = Programs::copy(&programs_dir(args)?, &folder.programs()?)?;
    let target = Target::start(&lab, &programs.load, &folder.path)?;
    let authorization = subject::write_authorization(&folder.path)?;
    let bed = Bed { lab: &lab, programs: &programs, authorization };
    let mut session = Session {
        ground: Ground { bed, target: &target, costs: Costs::default() },
        budget: Budget::start(&plan),
        folder: &folder,
        maxima: BTreeMap::new(),
        rows: (args.plan == Some(Name::Sla)).then_some(rows),
        runs: 0,
    };
    let mut host = host::facts(&lab, &plan.name);
    let (start, times, own) = (Instant::now(), HostTimes::now()?, Noise::default());
    let (results, noise) = session.measure(&plan, &subjects, own)?;
    host.took_s = start.elapsed().as_secs_f64();
    host.steal_percent = HostTimes::now()?.since(&times).steal_percent();
    host.others_percent = noise.others();
    host.backends = backends(&results);
    let mut run = Run { schema: SCHEMA.to_owned(), host, results };
    run.relate_to_floor();
    Ok(run)
}

fn subjects(args: &Args) -> Result<Vec<Box<dyn Subject>>> {
    let names = match args.subjects.is_empty() {
        true => SUBJECTS.map(str::to_owned).to_vec(),
        false => args.subjects.clone(),
    };
    let mut subjects = subject::by_names(&names)?;
    if let Some(peer) = &args.peer {
        let external = External::parse(peer, args.peer_auth.clone(), args.peer_pid)?;
        subjects.push(Box::new(external));
    }
    if args.with_peers {
        let programs = peers::Programs::find(&args.peers_dir)?;
        for kind in peers::Kind::ALL {
            subjects.push(Box::new(Tunnel { kind, programs: programs.clone() }));
        }
    }
    Ok(subjects)
}

fn programs_dir(args: &Args) -> Result<PathBuf> {
    if let Some(dir) = &args.programs {
        return Ok(dir.clone());
    }
    let own = std::env::current_exe().context("where this program is")?;
    Ok(own.parent().context("a program is in a folder")?.to_owned())
}

/// What the subjects said of their backend, or why they can't run.
fn backends(results: &[Outcome]) -> BTreeMap<String, String> {
    let mut backends = BTreeMap::new();
    for name in ["weir", "noxdp", "allxdp", "poll", "uring", "xsk"] {
        let notes = || results.iter().filter(|of| of.subject == name).flat_map(|of| &of.notes);
        let said = notes()
            .find(|note| note.starts_with("backend "))
            .or_else(|| notes().find(|note| note.starts_with("not measured")));
        let state = said.map(|note| note.strip_prefix("backend ").unwrap_or(note));
        backends.extend(state.map(|state| (name.to_owned(), state.to_owned())));
    }
    backends
}

struct Session<'a> {
    ground: Ground<'a>,
    budget: Budget,
    folder: &'a Folder,
    /// UDP datagrams per second that each subject reached, for the paced scenarios.
    maxima: BTreeMap<String, f64>,
    /// Only what these rows need, if they are what the run is for.
    rows: Option<&'a [sla::Row]>,
    runs: u64,
}

impl Session<'_> {
    fn measure(
        &mut self,
        plan: &Plan,
        subjects: &[Box<dyn Subject>],
        mut noise: Noise,
    ) -> Result<(Vec<Outcome>, Noise)> {
        let takers = |scenario: &Scenario| -> Vec<&dyn Subject> {
            let wanted = |subject: &&dyn Subject| {
                subject.takes_part(scenario) && self.is_needed(scenario, subject.name())
            };
            subjects.iter().map(AsRef::as_ref).filter(wanted).collect()
        };
        let cells: Vec<(&Scenario, Vec<&dyn Subject>)> =
            plan.scenarios.iter().map(|scenario| (*scenario, takers(scenario))).collect();
        let mut left: usize = cells.iter().map(|(scenario, takers)| weigh(scenario, takers)).sum();
        let mut results = Vec::new();
        for (scenario, takers) in &cells {
            let own = weigh(scenario, takers);
            let share = match own {
                0 => Budget::unlimited().share(0, 0, plan.repeats),
                own => self.budget.share(own, left, plan.repeats),
            };
            left -= own;
            eprintln!("==> {}: {}", scenario.name, scenario.about);
            results.extend(self.scenario(scenario, takers, share, &mut noise)?);
        }
        Ok((results, noise))
    }

    fn is_needed(&self, scenario: &Scenario, subject: &str) -> bool {
        self.rows.is_none_or(|rows| {
            rows.iter().any(|row| row.needs(scenario.name) && row.subjects().contains(&subject))
        })
    }

    /// First repeats of all subjects, second repeats of all subjects, and so on; each round begins
    /// with another one, so that none always follows the same.
    fn scenario(
        &mut self,
        scenario: &Scenario,
        takers: &[&dyn Subject],
        share: Share,
        noise: &mut Noise,
    ) -> Result<Vec<Outcome>> {
        let mut cells: Vec<Cell> = takers.iter().map(|_| Cell::default()).collect();
        for round in 0..share.repeats as usize {
            if round >= ROUNDS_MIN && share.until.is_some_and(|until| Instant::now() > until) {
                eprintln!("    no time for more than {round} repeats");
                break;
            }
            for turn in 0..takers.len() {
                let index = (round + turn) % takers.len();
                if cells[index].is_hopeless() {
                    continue;
                }
                let result = self.repeat(scenario, round, takers[index], takers, share.measure);
                interrupt::check()?;
                let result = result.map_err(|error| self.folder.shorten(&error));
                report_progress(round, takers[index].name(), scenario, &result);
                if let Ok(sample) = &result {
                    noise.add(sample);
                }
                cells[index].add(result);
            }
        }
        let outcomes = takers.iter().zip(&cells);
        Ok(outcomes.map(|(subject, cell)| cell.outcome(scenario, subject.name())).collect())
    }

    fn repeat(
        &mut self,
        scenario: &Scenario,
        round: usize,
        subject: &dyn Subject,
        takers: &[&dyn Subject],
        measure: Duration,
    ) -> Result<Sample> {
        let share = scenario.load().and_then(|load| load.share);
        let per_s = match share {
            Some(share) => share * self.maximum(subject, takers)?,
            None => 0.0,
        };
        let start = Instant::now();
        let sample = self.conditions(measure, per_s, |ground, conditions| {
            repeat::run(ground, scenario, subject, &Conditions { round, ..*conditions })
        });
        if scenario.load().is_some() && sample.is_ok() {
            self.budget.took(start.elapsed(), measure);
        }
        sample
    }

    /// The subject's own maximum. The direct way has the relay's, so that what the relay adds is
    /// seen at the same load.
    fn maximum(&mut self, subject: &dyn Subject, takers: &[&dyn Subject]) -> Result<f64> {
        let subject = match subject.name() {
            "direct" => takers.iter().find(|of| of.name() == "weir").copied().unwrap_or(subject),
            _ => subject,
        };
        if let Some(known) = self.maxima.get(subject.name()) {
            return Ok(*known);
        }
        // One look on a shared host may be at half of it, and every paced scenario follows it.
        let mut looks = Vec::new();
        for _ in 0..MAXIMUM_LOOKS {
            let look = self.conditions(Duration::from_secs(1), 0.0, |ground, conditions| {
                maximum_per_s(ground, subject, conditions)
            });
            looks.push(look.context("finding its maximum")?);
        }
        let found = median(&looks).context("no look at its maximum")?;
        eprintln!("    {}: at most {found:.0} datagrams a second each way", subject.name());
        self.maxima.insert(subject.name().to_owned(), found);
        Ok(found)
    }

    fn conditions<T>(
        &mut self,
        measure: Duration,
        per_s: f64,
        run: impl FnOnce(&Ground, &Conditions) -> Result<T>,
    ) -> Result<T> {
        self.runs += 1;
        let dir = self.folder.repeat(self.runs)?;
        let conditions =
            Conditions { warmup: WARMUP, measure, seed: self.runs, round: 0, per_s, dir: &dir };
        let result = run(&self.ground, &conditions);
        self.folder.done(&dir);
        result
    }
}

/// So many repeats are run of everything, however slow the host is.
const ROUNDS_MIN: usize = 2;

/// The kernel program takes no time worth planning.
fn weigh(scenario: &Scenario, takers: &[&dyn Subject]) -> usize {
    match scenario.kind {
        Kind::Xdp(_) => 0,
        // Opening takes longer than any load.
        Kind::Idle { .. } => takers.len() * 3,
        // Once, each one's maximum is to be found.
        Kind::Load(load) if load.share.is_some() => takers.len() + takers.len().div_ceil(4),
        Kind::Load(_) | Kind::Test { .. } | Kind::Bench { .. } => takers.len(),
    }
}

fn report_progress(round: usize, subject: &str, scenario: &Scenario, result: &Result<Sample>) {
    let round = round + 1;
    match result {
        Ok(sample) => {
            let cpu = sample.cpu_ns_per_unit.map_or("-".to_owned(), |ns| format!("{ns:.1}"));
            let unit = scenario.unit;
            let lost = match (sample.lost, sample.corrupt) {
                (0, 0) => String::new(),
                (lost, corrupt) => format!(", {lost} lost, {corrupt} corrupt"),
            };
            eprintln!("    {round} {subject}: {cpu} ns per {unit}{lost}");
        }
        Err(error) => eprintln!("    {round} {subject}: {error:#}"),
    }
}

/// CPU time of the host that went to others, over all repeats.
#[derive(Debug, Default)]
struct Noise {
    percent_seconds: f64,
    seconds: f64,
}

impl Noise {
    fn add(&mut self, sample: &Sample) {
        self.percent_seconds += sample.others_percent * sample.seconds;
        self.seconds += sample.seconds;
    }

    fn others(&self) -> f64 {
        if self.seconds == 0.0 { 0.0 } else { self.percent_seconds / self.seconds }
    }
}

/// The run's files; gone at its end unless its logs are to be kept.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    /// Under the system's temporary folder unless kept: paths of unix sockets are short.
    fn new(keep: Option<&Path>) -> Result<Folder> {
        let path = match keep {
            Some(dir) => dir.to_owned(),
            None => std::env::temp_dir().join(format!("{FILES_PREFIX}{}", std::process::id())),
        };
        fs::create_dir_all(&path).with_context(|| format!("can't make {}", path.display()))?;
        // Programs run inside the lab with another current folder, if any.
        let path = path.canonicalize()?;
        Ok(Folder { path, keep: keep.is_some() })
    }

    fn programs(&self) -> Result<PathBuf> {
        let dir = self.path.join("programs");
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    fn repeat(&self, number: u64) -> Result<PathBuf> {
        let dir = self.path.join(format!("{number:04}"));
        fs::create_dir_all(&dir).with_context(|| format!("can't make {}", dir.display()))?;
        Ok(dir)
    }

    /// An error without this machine's paths: it is kept with the run.
    fn shorten(&self, error: &anyhow::Error) -> anyhow::Error {
        let folder = format!("{}/", self.path.display());
        anyhow::anyhow!("{}", format!("{error:#}").replace(&folder, ""))
    }

    fn done(&self, dir: &Path) {
        if !self.keep {
            // What can't be removed now goes with the whole folder.
            let _ = fs::remove_dir_all(dir);
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let gone = if self.keep { self.path.join("programs") } else { self.path.clone() };
        if let Err(error) = fs::remove_dir_all(&gone) {
            eprintln!("warning: can't remove {}: {error}", gone.display());
        }
    }
}
