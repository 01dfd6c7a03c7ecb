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
        // A minute of what was promised is left for building the lab, and for what runs over.
        let (scenarios, repeats, minutes) = match name {
            Name::Quick => (pick(&|scenario| scenario.quick), 4, 7),
            Name::Full => (pick(&|_| true), 5, 56),
            Name::Sla => (pick(&|scenario| rows.iter().any(|row| row.needs(scenario.name))), 4, 20),
        };
        let name = format!("{name:?}").to_lowercase();
        Plan { name, scenarios, repeats, budget: Some(Duration::from_secs(minutes * 60)) }
    }

    /// Single scenarios, with all the time that they want.
    ///
    /// # Errors
    /// When there is none of a name.
    pub fn of(names: &[String]) -> Result<Plan> {
        let mut scenarios = Vec::new();
        for name in names {
            match Scenario::find(name) {
                Some(scenario) => scenarios.push(scenario),
                None => bail!("no scenario is called {name:?}; --list names them"),
            }
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
}

impl Budget {
    pub fn start(plan: &Plan) -> Budget {
        let end = plan.budget.map(|budget| Instant::now() + budget);
        Budget { end, overhead: OVERHEAD_GUESS }
    }

    /// How to run the next scenario, given that `cells` are left, each to be run `repeats` times.
    pub fn share(&self, cells: usize, repeats: u32) -> Share {
        match self.end {
            None => Share { repeats, measure: MEASURE_MAX },
            Some(end) => {
                let left = end.saturating_duration_since(Instant::now());
                fit(left, cells, repeats, self.overhead + WARMUP)
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
    Share { repeats, measure: run.saturating_sub(overhead).clamp(MEASURE_MIN, MEASURE_MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_time_means_shorter_runs_and_then_fewer() {
        let second = Duration::from_secs(1);
        let share = |left: u64| fit(second * left as u32, 10, 4, second);
        assert_eq!(share(1000), Share { repeats: 4, measure: MEASURE_MAX });
        assert_eq!(share(100), Share { repeats: 4, measure: Duration::from_millis(1500) });
        assert_eq!(share(60).repeats, 3);
        assert_eq!(share(0), Share { repeats: 1, measure: MEASURE_MIN });
        for left in 0..200 {
            let Share { repeats, measure } = share(left);
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
