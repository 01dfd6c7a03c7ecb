//! CPU time and memory, as the kernel has them.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};

/// `/proc/stat` counts in these, on every architecture (USER_HZ).
const NS_PER_TICK: u64 = 10_000_000;

/// User and system time of all threads of a process, in nanoseconds: the scheduler's exact sum.
///
/// # Errors
/// When the process is gone.
pub fn cpu_ns(pid: u32) -> Result<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .with_context(|| format!("process {pid} is gone"))?;
    let mut total = 0;
    for thread in threads {
        // A thread that ended in between takes its time with it; the relay's don't end.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let ns = text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
        total += ns.context("/proc/PID/task/TID/schedstat has another form")?;
    }
    Ok(total)
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
        let before = cpu_ns(pid).unwrap();
        let mut hash = 1u64;
        while cpu_ns(pid).unwrap() == before {
            hash = std::hint::black_box(hash.wrapping_mul(31));
        }
        assert!(rss_bytes(pid).unwrap() > 1 << 20);
        assert!(cpu_ns(u32::MAX).unwrap_err().to_string().contains("gone"));
    }
}
