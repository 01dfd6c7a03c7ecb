//! What the generator itself costs.

use std::fs;
use std::time::{Duration, Instant};

use crate::spec::Report;

/// The part of its time that the generator may be running, or waiting for its CPU, before it says
/// that it may be the limit.
const BUSY_MAX: f64 = 0.9;

/// A reading of the process's and the calling thread's times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    at: Instant,
    /// CPU time of all threads.
    process: Duration,
    /// What the calling thread ran, and what it waited for a CPU while it could have run.
    ran: Duration,
    waited: Duration,
}

impl Reading {
    pub(crate) fn now() -> Reading {
        let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let process = tasks.map(|task| schedstat(&task.path().join("schedstat")).0).sum();
        let (ran, waited) = schedstat("/proc/thread-self/schedstat".as_ref());
        Reading { at: Instant::now(), process, ran, waited }
    }

    /// Enters what was used since then into a report.
    pub(crate) fn charge(&self, report: &mut Report) {
        let now = Reading::now();
        let wall = (now.at - self.at).as_secs_f64().max(1e-9);
        let ran = (now.ran - self.ran).as_secs_f64() / wall;
        let waited = (now.waited - self.waited).as_secs_f64() / wall;
        report.generator_cpu_ns = (now.process - self.process).as_nanos() as u64;
        report.generator_limited = is_limit(ran, waited);
        report.notes.push(format!(
            "generator: {:.0} % running, {:.0} % waiting for its CPU",
            100.0 * ran,
            100.0 * waited,
        ));
    }
}

/// Whether a thread that ran and waited for its CPU for these parts of the time had none to spare.
fn is_limit(ran: f64, waited: f64) -> bool {
    ran + waited > BUSY_MAX
}

/// Time on a CPU and time waiting for one, of a thread (Documentation/scheduler/sched-stats.rst).
/// Zero for a thread that ended in the meantime, or on a kernel without CONFIG_SCHED_INFO.
fn schedstat(path: &std::path::Path) -> (Duration, Duration) {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut numbers = text.split_ascii_whitespace().map(|n| n.parse().unwrap_or(0));
    let mut next = || Duration::from_nanos(numbers.next().unwrap_or(0));
    (next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_used_is_charged_and_sleep_is_not() {
        let mut busy = Report::default();
        let used = Duration::from_millis(50);
        let start = Reading::now();
        let before = weir_io::affinity::thread_cpu_time();
        while weir_io::affinity::thread_cpu_time() - before < used {}
        start.charge(&mut busy);
        // The kernel brings the times of a running thread up to date at its ticks.
        let tick = Duration::from_millis(10);
        assert!(u128::from(busy.generator_cpu_ns) >= (used - tick).as_nanos(), "{busy:?}");
        let (ran, _) = schedstat("/proc/thread-self/schedstat".as_ref());
        std::thread::sleep(used);
        let (after, _) = schedstat("/proc/thread-self/schedstat".as_ref());
        assert!(after - ran < used / 2 + tick);
    }

    #[test]
    fn a_thread_that_waits_for_its_cpu_has_none_to_spare() {
        assert!(is_limit(0.95, 0.0) && is_limit(0.5, 0.45));
        assert!(!is_limit(0.5, 0.3));
    }
}
