//! A run against an older one: better, worse, no difference, or can't be told.

use std::fmt::Write as _;

use super::{Outcome, Run};
use crate::stats::{mann_whitney, median};

/// A difference that would come by chance less often than this is called one.
const P_LIMIT: f64 = 0.05;

/// What can be said about one figure of one scenario and subject.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    pub scenario: String,
    pub subject: String,
    pub metric: &'static str,
    pub before: f64,
    pub after: f64,
    pub p: f64,
    pub verdict: Verdict,
}

/// The answer, by the Mann-Whitney U test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Better,
    Worse,
    /// As far as these repeats can show.
    NoDifference,
    /// No outcome of so few repeats would be significant.
    TooFewRepeats,
}

/// Every figure that both runs have.
pub fn compare(before: &Run, after: &Run) -> Vec<Comparison> {
    let mut found = Vec::new();
    for new in &after.results {
        let Some(old) = before.outcome(&new.scenario, &new.subject) else { continue };
        for (metric, lower_is_better, pick) in METRICS {
            found.extend(judge(old, new, metric, lower_is_better, pick));
        }
    }
    found
}

type Pick = fn(&Outcome) -> Option<&[f64]>;

const METRICS: [(&str, bool, Pick); 4] = [
    ("cpu_ns_per_unit", true, |of| Some(&of.cpu_ns_per_unit.as_ref()?.all)),
    ("rate_per_s", false, |of| Some(&of.rate_per_s.as_ref()?.all)),
    ("p50_us", true, |of| Some(&of.latency_us.as_ref()?.p50_all)),
    ("p99_us", true, |of| Some(&of.latency_us.as_ref()?.p99_all)),
];

fn judge(
    old: &Outcome,
    new: &Outcome,
    metric: &'static str,
    lower_is_better: bool,
    pick: Pick,
) -> Option<Comparison> {
    let (old_values, new_values) = (pick(old)?, pick(new)?);
    let test = mann_whitney(new_values, old_values)?;
    let (before, after) = (median(old_values)?, median(new_values)?);
    // Which way is decided by the ranks, as the test does; medians may tie where ranks don't.
    let mostly_lower = test.u < new_values.len() as f64 * old_values.len() as f64 / 2.0;
    let verdict = if test.p_smallest >= P_LIMIT {
        Verdict::TooFewRepeats
    } else if test.p >= P_LIMIT {
        Verdict::NoDifference
    } else if mostly_lower == lower_is_better {
        Verdict::Better
    } else {
        Verdict::Worse
    };
    let (scenario, subject) = (new.scenario.clone(), new.subject.clone());
    Some(Comparison { scenario, subject, metric, before, after, p: test.p, verdict })
}

/// A table, the differences first.
pub fn render(comparisons: &[Comparison], before: &Run, after: &Run) -> String {
    let mut text = String::new();
    for (what, old, new) in [
        ("CPU", &before.host.cpu, &after.host.cpu),
        ("kernel", &before.host.kernel, &after.host.kernel),
        ("lab", &before.host.lab, &after.host.lab),
    ] {
        if old != new {
            let _ = writeln!(text, "WARNING: another {what}: {old:?} then, {new:?} now");
        }
    }
    if comparisons.is_empty() {
        return text + "the two runs have no scenario and subject in common\n";
    }
    let _ = writeln!(
        text,
        "{:<18} {:<10} {:<16} {:>12} {:>12} {:>8} {:>7}",
        "scenario", "subject", "figure", "before", "now", "change", "p"
    );
    let mut sorted: Vec<&Comparison> = comparisons.iter().collect();
    sorted.sort_by_key(|of| !matches!(of.verdict, Verdict::Better | Verdict::Worse));
    for of in sorted {
        let change = (of.after / of.before - 1.0) * 100.0;
        let _ = writeln!(
            text,
            "{:<18} {:<10} {:<16} {:>12.1} {:>12.1} {:>+7.1}% {:>7.3}  {}",
            of.scenario,
            of.subject,
            of.metric,
            of.before,
            of.after,
            change,
            of.p,
            of.verdict.words()
        );
    }
    let _ = writeln!(
        text,
        "{} comparisons: about {:.0} would look like a difference at p < {P_LIMIT} by chance alone",
        comparisons.len(),
        (comparisons.len() as f64 * P_LIMIT).ceil()
    );
    text
}

impl Verdict {
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Better => "better",
            Verdict::Worse => "WORSE",
            Verdict::NoDifference => "no difference",
            Verdict::TooFewRepeats => "too few repeats to tell (4 of each are the least)",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{outcome, run};
    use super::*;

    fn verdicts(before: &[f64], after: &[f64]) -> Vec<(&'static str, Verdict)> {
        let before = run(vec![outcome("udp-1200", "weir", before)]);
        let after = run(vec![outcome("udp-1200", "weir", after)]);
        compare(&before, &after).iter().map(|of| (of.metric, of.verdict)).collect()
    }

    #[test]
    fn less_cpu_is_better_and_so_is_a_higher_rate() {
        let slow = [1200.0, 1210.0, 1190.0, 1205.0];
        let fast = [1000.0, 1010.0, 1005.0, 990.0];
        let both = |verdict| vec![("cpu_ns_per_unit", verdict), ("rate_per_s", verdict)];
        assert_eq!(verdicts(&slow, &fast), both(Verdict::Better));
        assert_eq!(verdicts(&fast, &slow), both(Verdict::Worse));
        assert_eq!(
            verdicts(&[1.0, 3.0, 5.0, 7.0], &[2.0, 4.0, 6.0, 6.5]),
            both(Verdict::NoDifference)
        );
    }

    #[test]
    fn three_repeats_never_show_a_difference() {
        for (_, verdict) in verdicts(&[1.0, 2.0, 3.0], &[100.0, 200.0, 300.0]) {
            assert_eq!(verdict, Verdict::TooFewRepeats);
        }
    }

    #[test]
    fn what_only_one_run_has_is_left_out_and_another_host_is_named() {
        let before = run(vec![outcome("udp-64", "weir", &[1.0])]);
        let mut after = run(vec![outcome("udp-1200", "weir", &[1.0])]);
        after.host.kernel = "6.18".to_owned();
        let found = compare(&before, &after);
        assert!(found.is_empty());
        let text = render(&found, &before, &after);
        assert!(
            text.contains("another kernel") && text.contains("nothing")
                || text.contains("no scenario")
        );
    }
}
