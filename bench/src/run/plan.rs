//! Which scenarios, how often, and for how long each: what fits into the time that was promised.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::ValueEnum;

use super::scenario::{SCENARIOS, Scenario};
use crate::sla;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// The data path in 8 minutes
    Quick,
    /// Everything, within an hour
    Full,
    /// What bench/SLA.md promises; fails when a promise isn't kept
    Sla,
}

/// What is to be run.
#[derive(Debug)]
pub struct Plan {
    pub name: String,
    pub scenarios: Vec<&'static Scenario>,
    pub repeats: u32,
    budget: Option<Duration>,
}

impl Plan {
    /// A named plan.
    pub fn named(name: Name, rows: &[sla::Row]) -> Plan {
        let pick = |wanted: &dyn Fn(&Scenario) -> bool| {
            SCENARIOS.iter().filter(|scenario| wanted(scenario)).collect::<Vec<_>>()
        };
        // Some of what was promised is left for building the lab, and for what runs over.
        let (scenarios, repeats, seconds) = match name {
            Name::Quick => (pick(&|scenario| scenario.quick), 4, 390),
            Name::Full => (pick(&|_| true), 5, 56 * 60),
            Name::Sla => {
                (pick(&|scenario| rows.iter().any(|row| row.needs(scenario.name))), 4, 20 * 60)
            }
        };
        let name = format!("{name:?}").to_lowercase();
        Plan { name, scenarios, repeats, budget: Some(Duration::from_secs(seconds)) }
    }

    /// Single scenarios or families of them, with all the time that they want.
    ///
    /// # Errors
    /// When there is none of a name.
    pub fn of(names: &[String]) -> Result<Plan> {
        let mut scenarios = Vec::new();
        for name in names {
            let found = Scenario::find_all(name);
            if found.is_empty() {
                bail!("no scenario is called {name:?}; --list names them");
            }
            scenarios.extend(found);
        }
        Ok(Plan { name: names.join(","), scenarios, repeats: 5, budget: None })
    }
}

/// The shortest measured part that says something, and the longest that says more.
const MEASURE_MIN: Duration = Duration::from_millis(800);
const MEASURE_MAX: Duration = Duration::from_secs(2);
pub const WARMUP: Duration = Duration::from_millis(300);

/// What starting and ending takes, until it is known.
const OVERHEAD_GUESS: Duration = Duration::from_millis(1200);

/// The time that is left.
#[derive(Debug)]
pub struct Budget {
    end: Option<Instant>,
    overhead: Duration,
}

/// How a scenario is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub repeats: u32,
    pub measure: Duration,
    /// When the next scenario should begin: no further round starts after it.
    pub until: Option<Instant>,
}

impl Budget {
    pub fn start(plan: &Plan) -> Budget {
        let end = plan.budget.map(|budget| Instant::now() + budget);
        Budget { end, overhead: OVERHEAD_GUESS }
    }

    /// For what takes no time worth planning.
    pub fn unlimited() -> Budget {
        Budget { end: None, overhead: OVERHEAD_GUESS }
    }

    /// How to run a scenario of `own` cells, given that `cells` are left with it, each to be run
    /// `repeats` times.
    pub fn share(&self, own: usize, cells: usize, repeats: u32) -> Share {
        match self.end {
            None => Share { repeats, measure: MEASURE_MAX, until: None },
            Some(end) => {
                let now = Instant::now();
                let left = end.saturating_duration_since(now);
                let part = left.mul_f64(own as f64 / cells.max(1) as f64);
                let fitting = fit(left, cells, repeats, self.overhead + WARMUP);
                Share { until: Some(now + part), ..fitting }
            }
        }
    }

    /// Learns from a run what is not measuring.
    pub fn took(&mut self, whole: Duration, measured: Duration) {
        let overhead = whole.saturating_sub(measured + WARMUP);
        self.overhead = (self.overhead * 7 + overhead) / 8;
    }
}

/// Shorter runs first, then fewer; one of each is run in any case.
fn fit(left: Duration, cells: usize, repeats: u32, overhead: Duration) -> Share {
    let round = (overhead + MEASURE_MIN) * cells.max(1) as u32;
    let rounds = (left.as_secs_f64() / round.as_secs_f64()) as u32;
    let repeats = rounds.clamp(1, repeats);
    let run = left / (cells.max(1) as u32 * repeats);
    let measure = run.saturating_sub(overhead).clamp(MEASURE_MIN, MEASURE_MAX);
    Share { repeats, measure, until: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_time_means_shorter_runs_and_then_fewer() {
        let second = Duration::from_secs(1);
        let share = |left: u64| fit(second * left as u32, 10, 4, second);
        let fitting = |repeats, measure| Share { repeats, measure, until: None };
        assert_eq!(share(1000), fitting(4, MEASURE_MAX));
        assert_eq!(share(100), fitting(4, Duration::from_millis(1500)));
        assert_eq!(share(60).repeats, 3);
        assert_eq!(share(0), fitting(1, MEASURE_MIN));
        for left in 0..200 {
            let Share { repeats, measure, .. } = share(left);
            let whole = (measure + second) * 10 * repeats;
            assert!(repeats == 1 || whole <= second * left as u32, "{left} s: {whole:?}");
        }
    }

    #[test]
    fn a_scenario_that_is_not_there_is_named() {
        assert!(Plan::of(&["udp-1200".to_owned()]).is_ok());
        let error = Plan::of(&["udp-1201".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("udp-1201"), "{error}");
    }
}
