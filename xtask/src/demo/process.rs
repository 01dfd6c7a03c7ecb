//! Programs of the lab that run in the background, their logs, and their end.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::sh;

/// How often something that has no event to wait for is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A background program. Dropping it ends it.
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    keep: bool,
}

impl Process {
    /// Starts `command` with both outputs in `<dir>/<name>.log`.
    pub fn start(name: &'static str, mut command: Command, dir: &Path) -> Result<Process> {
        let log = dir.join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("can't write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("can't start {name}: {}", sh::line(&command)))?;
        Ok(Process { name, child, log, keep: false })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Leaves the program running when this handle goes.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Waits until `ready` says yes. Fails early, with the end of its log, if the program ends.
    pub fn wait_until(&mut self, limit: Duration, ready: impl Fn() -> bool) -> Result<()> {
        let start = Instant::now();
        loop {
            if ready() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status} before it was ready:\n{}", self.name, self.log_end());
            }
            if start.elapsed() > limit {
                bail!("{} is not ready after {limit:?}:\n{}", self.name, self.log_end());
            }
            std::thread::park_timeout(LOOK_AGAIN);
        }
    }

    /// SIGTERM, and SIGKILL if it takes longer than `limit`. Whether it ended by itself, well.
    pub fn terminate(&mut self, limit: Duration) -> Result<bool> {
        if self.child.try_wait()?.is_some() {
            return Ok(false);
        }
        sh::read(sh::cmd("kill").args(["-TERM", &self.child.id().to_string()]))?;
        let well = self.ends(limit)?;
        self.kill();
        Ok(well)
    }

    /// Waits until it ends by itself. Whether it did within `limit`, and well.
    pub fn ends(&mut self, limit: Duration) -> Result<bool> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.success());
            }
            std::thread::park_timeout(LOOK_AGAIN);
        }
        Ok(false)
    }

    /// SIGKILL: no chance to clean up.
    pub fn kill(&mut self) {
        // It may have ended already; either way nothing of it is left after the wait.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// User and system CPU time so far, in nanoseconds: all threads, from the scheduler's exact
    /// sum.
    pub fn cpu_ns(&self) -> Result<u64> {
        let mut total = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            let ns = text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
            total += ns.context("/proc/PID/task/TID/schedstat has another form")?;
        }
        Ok(total)
    }

    /// The last lines of what it said.
    pub fn log_end(&self) -> String {
        let Ok(file) = File::open(&self.log) else { return String::new() };
        let lines: Vec<String> = BufReader::new(file).lines().map_while(Result::ok).collect();
        let from = lines.len().saturating_sub(15);
        lines[from..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.keep {
            self.kill();
        }
    }
}
