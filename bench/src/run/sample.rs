//! CPU time and memory, as the kernel has them.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};

/// `/proc/stat` counts in these, on every architecture (USER_HZ).
const NS_PER_TICK: u64 = 10_000_000;

/// User and system time that a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// The scheduler's exact sum over the threads that live.
    live_ns: u64,
    /// All threads that ever lived, in ticks for each of user and system time.
    ever_ns: u64,
}

/// How far two readings in ticks may be off.
const TICKS_OFF_NS: u64 = 4 * NS_PER_TICK;

impl CpuTime {
    /// # Errors
    /// When the process is gone.
    pub fn of(pid: u32) -> Result<CpuTime> {
        let gone = || format!("process {pid} is gone");
        let mut live_ns = 0;
        for thread in fs::read_dir(format!("/proc/{pid}/task")).with_context(gone)? {
            // One that ended in between is seen by the ticks.
            let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            let ns = text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
            live_ns += ns.context("/proc/PID/task/TID/schedstat has another form")?;
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(gone)?;
        let ticks = ticks(&stat).context("/proc/PID/stat has another form")?;
        Ok(CpuTime { live_ns, ever_ns: ticks * NS_PER_TICK })
    }

    /// Nanoseconds between two readings. Exact unless threads ended with time on their account,
    /// which only the ticks have: then to 40 ms.
    pub fn since_ns(self, before: CpuTime) -> u64 {
        let ever = self.ever_ns.saturating_sub(before.ever_ns);
        match self.live_ns.checked_sub(before.live_ns) {
            Some(live) if live + TICKS_OFF_NS >= ever => live,
            _ => ever,
        }
    }
}

/// User and system time of `/proc/PID/stat`; the name before them may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Resident memory of a process, in bytes.
///
/// # Errors
/// When the process is gone.
pub fn rss_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} is gone"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.context("/proc/PID/status has no VmRSS")? * 1024)
}

/// What the CPUs did since boot, in nanoseconds.
#[derive(Clone, Debug)]
pub struct HostTimes {
    at: Instant,
    /// Per CPU: busy, interrupts included, and stolen by the hypervisor.
    cpus: Vec<(u64, u64)>,
}

/// What the CPUs did in an interval.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostUse {
    pub wall_ns: u64,
    pub cpus: u64,
    pub busy_ns: u64,
    pub steal_ns: u64,
}

impl HostTimes {
    /// # Errors
    /// When `/proc/stat` can't be read.
    pub fn now() -> Result<HostTimes> {
        let text = fs::read_to_string("/proc/stat").context("/proc/stat")?;
        Ok(HostTimes { at: Instant::now(), cpus: parse(&text) })
    }

    /// All CPUs since `before`.
    pub fn since(&self, before: &HostTimes) -> HostUse {
        let cpus = self.cpus.iter().zip(&before.cpus);
        cpus.fold(
            HostUse { wall_ns: (self.at - before.at).as_nanos() as u64, ..HostUse::default() },
            |sum, (now, then)| HostUse {
                cpus: sum.cpus + 1,
                busy_ns: sum.busy_ns + now.0.saturating_sub(then.0),
                steal_ns: sum.steal_ns + now.1.saturating_sub(then.1),
                ..sum
            },
        )
    }

    /// Busy time of one CPU since `before`.
    pub fn busy_ns_since(&self, before: &HostTimes, cpu: usize) -> u64 {
        let busy = |of: &HostTimes| of.cpus.get(cpu).map_or(0, |times| times.0);
        busy(self).saturating_sub(busy(before))
    }
}

impl HostUse {
    pub fn steal_percent(&self) -> f64 {
        self.percent(self.steal_ns)
    }

    pub fn percent(&self, ns: u64) -> f64 {
        let all = self.wall_ns * self.cpus;
        if all == 0 { 0.0 } else { ns as f64 * 100.0 / all as f64 }
    }
}

/// user nice system idle iowait irq softirq steal; guest time is within user.
fn parse(text: &str) -> Vec<(u64, u64)> {
    text.lines()
        .filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "))
        .map(|line| {
            let ticks: Vec<u64> =
                line.split_whitespace().skip(1).map(|word| word.parse().unwrap_or(0)).collect();
            let at = |index: usize| ticks.get(index).copied().unwrap_or(0) * NS_PER_TICK;
            (at(0) + at(1) + at(2) + at(5) + at(6), at(7))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_waiting_are_not_busy() {
        let text = "cpu  9 9 9 9 9 9 9 9 0 0\n\
                    cpu0 1 2 3 1000 500 4 5 6 0 0\ncpu1 0 0 0 1 0 0 0 7 0 0\nintr 1 2 3\n";
        assert_eq!(parse(text), [(15 * NS_PER_TICK, 6 * NS_PER_TICK), (0, 7 * NS_PER_TICK)]);
    }

    #[test]
    fn this_process_uses_cpu_and_memory() {
        let pid = std::process::id();
        let before = CpuTime::of(pid).unwrap();
        let mut hash = 1u64;
        while CpuTime::of(pid).unwrap().since_ns(before) == 0 {
            hash = std::hint::black_box(hash.wrapping_mul(31));
        }
        assert!(rss_bytes(pid).unwrap() > 1 << 20);
        assert!(CpuTime::of(u32::MAX).unwrap_err().to_string().contains("gone"));
    }

    #[test]
    fn the_time_of_threads_that_ended_is_not_lost() {
        let at = |live_ns, ever_ns| CpuTime { live_ns, ever_ns };
        let before = at(1_000_000_000, 1_000_000_000);
        assert_eq!(at(1_900_000_001, 1_890_000_000).since_ns(before), 900_000_001, "exact");
        assert_eq!(at(1_100_000_000, 1_890_000_000).since_ns(before), 890_000_000, "one ended");
        assert_eq!(at(100_000_000, 1_890_000_000).since_ns(before), 890_000_000, "many ended");
    }

    #[test]
    fn a_name_with_brackets_confuses_nobody() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 90 0 0 0 123 45 0 0 20 0 9 0 88 1 2";
        assert_eq!(ticks(stat), Some(168));
    }
}
