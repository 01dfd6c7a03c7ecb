//! The promises: the table of `bench/SLA.md`, read and judged.
//!
//! ```text
//! | promise | scenario | subject | metric | bound | state |
//! |---|---|---|---|---|---|
//! | a datagram of 1200 bytes | udp-1200 | weir | cpu_ns_per_unit | <= 1200 | holds |
//! ```
//! The page is the only place where a bound stands. `state` is `holds`, or `pending` with what was
//! reached; a row that is pending is measured and printed, and doesn't fail.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::report::{Outcome, Run};
use crate::run::cell::{GENERATOR_LIMIT, NOISY};
use crate::run::scenario::{SUBJECTS, Scenario};

/// One promise.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub promise: String,
    pub scenario: String,
    pub subject: String,
    pub metric: String,
    pub bound: Bound,
    pub pending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

const COLUMNS: [&str; 6] = ["promise", "scenario", "subject", "metric", "bound", "state"];

/// Reads the table of the page.
///
/// # Errors
/// When the page can't be read, or a row says something that isn't there; with its line.
pub fn load(page: &Path) -> Result<Vec<Row>> {
    let text = fs::read_to_string(page).with_context(|| format!("{}", page.display()))?;
    parse(&text).with_context(|| format!("{}", page.display()))
}

fn parse(text: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut in_table = false;
    for (index, line) in text.lines().enumerate() {
        let Some(cells) = cells(line) else {
            in_table = false;
            continue;
        };
        if cells == COLUMNS {
            in_table = true;
        } else if in_table && !cells.iter().all(|cell| cell.starts_with("---")) {
            rows.push(row(&cells).with_context(|| format!("line {}", index + 1))?);
        }
    }
    if rows.is_empty() {
        bail!("no table with the columns {}", COLUMNS.join(" | "));
    }
    Ok(rows)
}

fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(|cell| cell.trim().trim_matches('`')).collect())
}

fn row(cells: &[&str]) -> Result<Row> {
    let [promise, scenario, subject, metric, bound, state] = cells else {
        bail!("{} columns instead of {}", cells.len(), COLUMNS.len());
    };
    if Scenario::find(scenario).is_none() {
        bail!("no scenario is called {scenario:?}");
    }
    if !SUBJECTS.contains(subject) {
        bail!("no subject is called {subject:?}");
    }
    let pending = match state.split_whitespace().next() {
        Some("holds") => false,
        Some("pending") => true,
        _ => bail!("the state is `holds` or `pending`, not {state:?}"),
    };
    Ok(Row {
        promise: (*promise).to_owned(),
        scenario: (*scenario).to_owned(),
        subject: (*subject).to_owned(),
        metric: (*metric).to_owned(),
        bound: Bound::parse(bound)?,
        pending,
    })
}

impl Bound {
    fn parse(text: &str) -> Result<Bound> {
        let (sign, number) =
            text.split_once(' ').context("a bound is `<= NUMBER` or `>= NUMBER`")?;
        let number = number.replace(',', "");
        let number = number.parse().with_context(|| format!("{number:?} is not a number"))?;
        match sign {
            "<=" => Ok(Bound::AtMost(number)),
            ">=" => Ok(Bound::AtLeast(number)),
            other => bail!("a bound is `<= NUMBER` or `>= NUMBER`, not {other:?}"),
        }
    }

    pub fn holds(self, figure: f64) -> bool {
        match self {
            Bound::AtMost(limit) => figure <= limit,
            Bound::AtLeast(limit) => figure >= limit,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bound::AtMost(limit) => write!(f, "<= {limit}"),
            Bound::AtLeast(limit) => write!(f, ">= {limit}"),
        }
    }
}

impl Row {
    /// Whether this row can't be judged without the scenario.
    pub fn needs(&self, scenario: &str) -> bool {
        self.scenario == scenario || self.metric.strip_prefix("ratio_to_") == Some(scenario)
    }

    /// The subjects that it compares, in a scenario that it needs.
    pub fn subjects(&self) -> Vec<&str> {
        let other = match self.metric.strip_prefix("ratio_to_") {
            Some(other) if SUBJECTS.contains(&other) => Some(other),
            // A paced scenario's latency is that of the direct way at the relay's own rate.
            _ if self.metric.starts_with("added_") => Some("direct"),
            _ => None,
        };
        [Some(self.subject.as_str()), other].into_iter().flatten().collect()
    }
}

/// What a run says about a promise.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement<'a> {
    pub row: &'a Row,
    /// `None`: the run has no such figure.
    pub figure: Option<f64>,
    /// Why the figure says nothing of the relay, if it is one that a host without time for it can
    /// spoil.
    pub spoilt: Option<&'a str>,
}

impl Judgement<'_> {
    pub fn holds(&self) -> bool {
        self.figure.is_some_and(|figure| self.row.bound.holds(figure))
    }

    /// Whether the run fails by it.
    pub fn fails(&self) -> bool {
        !self.row.pending && !self.holds() && !self.is_unclear()
    }

    /// Whether the figure misses the bound, and may do so for the host's sake.
    pub fn is_unclear(&self) -> bool {
        !self.row.pending && !self.holds() && self.figure.is_some() && self.spoilt.is_some()
    }
}

/// Who doesn't get the CPU for tens of milliseconds is late, and loses what no queue can hold. CPU
/// per unit, memory and counts don't depend on it.
fn needs_the_cpu_in_time(metric: &str) -> bool {
    matches!(metric, "lost" | "polite_lost_percent") || metric.ends_with("_us")
}

/// Every row against a run.
pub fn judge<'a>(rows: &'a [Row], run: &'a Run) -> Vec<Judgement<'a>> {
    rows.iter()
        .map(|row| {
            let figure = run.metric(&row.scenario, &row.subject, &row.metric);
            let outcome = run.outcome(&row.scenario, &row.subject);
            let spoilt = outcome.filter(|_| needs_the_cpu_in_time(&row.metric)).and_then(spoilt);
            Judgement { row, figure, spoilt }
        })
        .collect()
}

/// The note that says that the host had no time for what was measured.
fn spoilt(outcome: &Outcome) -> Option<&str> {
    let all = format!("{GENERATOR_LIMIT} in {0} of {0} repeats", outcome.repeats);
    let mut notes = outcome.notes.iter().map(String::as_str);
    notes.find(|note| note.starts_with(NOISY) || *note == all)
}

/// A table of verdicts.
pub fn render(judgements: &[Judgement]) -> String {
    let mut text = String::new();
    for judgement in judgements {
        let row = judgement.row;
        let verdict = match (judgement.holds(), row.pending) {
            (true, false) => "holds",
            (true, true) => "holds (was pending)",
            (false, true) => "pending",
            (false, false) if judgement.is_unclear() => "UNCLEAR",
            (false, false) => "FAILS",
        };
        let figure = judgement.figure.map_or("not measured".to_owned(), short);
        let _ = writeln!(
            text,
            "{verdict:<20} {:<52} {:<18} {:<7} {:>12} {}",
            row.promise, row.scenario, row.subject, figure, row.bound
        );
        if let (true, Some(why)) = (judgement.is_unclear(), judgement.spoilt) {
            let _ = writeln!(text, "{:<20} {why}: measure again on a quiet host", "");
        }
    }
    text
}

fn short(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{outcome, run};

    fn page() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("SLA.md")
    }

    #[test]
    fn the_page_parses_and_every_row_can_be_measured() {
        let rows = load(&page()).unwrap();
        assert!(rows.len() >= 20, "{} rows", rows.len());
        for row in &rows {
            let scenario = Scenario::find(&row.scenario).unwrap();
            for subject in row.subjects() {
                assert!(scenario.subjects.contains(&subject), "{row:?}: {subject}");
            }
            if let Some(other) = row.metric.strip_prefix("ratio_to_") {
                let known = SUBJECTS.contains(&other) || Scenario::find(other).is_some();
                assert!(known, "{row:?}: {other} is neither a subject nor a scenario");
            }
        }
    }

    fn one(row: &str) -> Result<Vec<Row>> {
        parse(&format!("# Page\n\n| {} |\n|---|---|---|---|---|---|\n{row}\n", COLUMNS.join(" | ")))
    }

    #[test]
    fn a_row_that_says_nothing_real_is_refused() {
        assert!(one("| a | `udp-64` | weir | `cpu_ns_per_unit` | <= 1,200 | holds |").is_ok());
        for (row, why) in [
            ("| a | udp-65 | weir | cpu_ns_per_unit | <= 1 | holds |", "udp-65"),
            ("| a | udp-64 | weird | cpu_ns_per_unit | <= 1 | holds |", "weird"),
            ("| a | udp-64 | weir | cpu_ns_per_unit | < 1 | holds |", "<= NUMBER"),
            ("| a | udp-64 | weir | cpu_ns_per_unit | <= x | holds |", "not a number"),
            ("| a | udp-64 | weir | cpu_ns_per_unit | <= 1 | soon |", "soon"),
            ("| a | udp-64 | weir | <= 1 | holds |", "5 columns"),
        ] {
            let error = format!("{:#}", one(row).unwrap_err());
            assert!(error.contains(why) && error.contains("line 5"), "{row}: {error}");
        }
        assert!(parse("# nothing here\n").is_err());
    }

    #[test]
    fn what_a_busy_host_loses_or_delays_is_unclear_and_its_cpu_time_is_not() {
        let text = [
            "| a | reload | weir | lost | <= 0 | holds |",
            "| b | reload | weir | cpu_ns_per_unit | <= 800 | holds |",
            "| c | fairness | weir | polite_lost_percent | <= 0.5 | holds |",
            "| d | fairness-shared | weir | polite_lost_percent | <= 0.5 | holds |",
        ]
        .join("\n");
        let rows = one(&text).unwrap();
        let with = |scenario, lost, notes: &[&str]| {
            let mut found = outcome(scenario, "weir", &[850.0, 850.0]);
            found.lost = lost;
            found.figures.insert("polite_lost_percent".to_owned(), lost as f64);
            found.notes = notes.iter().map(|note| (*note).to_owned()).collect();
            found
        };
        let judge_all = |notes: [&str; 3]| {
            let run = run(vec![
                with("reload", 7, &[notes[0]]),
                with("fairness", 7, &[notes[1]]),
                with("fairness-shared", 7, &[notes[2]]),
            ]);
            let judged = judge(&rows, &run);
            (judged.iter().map(Judgement::fails).collect::<Vec<_>>(), render(&judged))
        };
        let busy = "noisy host: 17 % of the CPU time went to other virtual machines (steal)";
        let limit = "the generator was the limit in 2 of 2 repeats";
        let once = "the generator was the limit in 1 of 2 repeats";
        let (fails, text) = judge_all([busy, limit, once]);
        assert_eq!(fails, [false, true, false, true], "{text}");
        assert!(text.contains("UNCLEAR") && text.contains("17 %"), "{text}");
        assert_eq!(judge_all(["x", "y", "z"]).0, [true; 4]);
    }

    #[test]
    fn what_is_not_measured_fails_and_what_is_pending_does_not() {
        let text = [
            "| a | udp-64 | weir | cpu_ns_per_unit | <= 900 | holds |",
            "| b | udp-64 | weir | ratio_to_floor | <= 2.0 | holds |",
            "| c | udp-64 | weir | p99_us | <= 5 | holds |",
            "| d | udp-64 | weir | cpu_ns_per_unit | <= 1 | pending 850 |",
            "| e | udp-64 | weir | per_cpu_second | >= 1,000,000 | holds |",
        ]
        .join("\n");
        let rows = one(&text).unwrap();
        let run =
            run(vec![outcome("udp-64", "weir", &[850.0]), outcome("udp-64", "floor", &[400.0])]);
        let judged = judge(&rows, &run);
        let fails: Vec<bool> = judged.iter().map(Judgement::fails).collect();
        assert_eq!(fails, [false, true, true, false, false]);
        let text = render(&judged);
        assert!(text.contains("not measured") && text.contains("pending"), "{text}");
    }
}
