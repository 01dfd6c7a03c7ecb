//! A program of the lab: its lines, its log and its end.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::interrupt;

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// So much of a log is quoted when its program fails.
const LOG_LINES_QUOTED: usize = 6;

/// A running program. Dropping it ends it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Process {
    /// Starts it: its standard output is read line by line, the rest goes to `<dir>/<name>.log`.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(name: &str, mut command: Command, dir: &Path) -> Result<Process> {
        let log = dir.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("can't write {}", log.display()))?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            // Ctrl-C is for the bench, which ends its programs in the right order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("can't start {name}: {command:?}"))?;
        let stdout = child.stdout.take().context("a pipe was asked for")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    // Nobody listens; the pipe is still to be emptied.
                    continue;
                }
            }
        });
        let stdin = child.stdin.take();
        Ok(Process { name: name.to_owned(), child, stdin, lines, log })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its standard output.
    ///
    /// # Errors
    /// When none comes in time, or it ended; with the end of its log.
    pub fn line(&mut self, limit: Duration) -> Result<String> {
        let end = Instant::now() + limit;
        loop {
            interrupt::check()?;
            match self.lines.recv_timeout(LOOK_AGAIN) {
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait()?;
                    bail!("{} ended with {status}{}", self.name, self.quote_log());
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() > end => {
                    bail!("{} says nothing for {limit:?}{}", self.name, self.quote_log());
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Waits until `ready` says so.
    ///
    /// # Errors
    /// When it takes longer than `limit`, or the program ends; with the end of its log.
    pub fn wait_until(&mut self, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let end = Instant::now() + limit;
        while !ready() {
            interrupt::check()?;
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}{}", self.name, self.quote_log());
            }
            if Instant::now() > end {
                bail!("{} is not ready after {limit:?}{}", self.name, self.quote_log());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    /// When it no longer listens.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("its input is closed")?;
        writeln!(stdin, "{line}")
            .and_then(|()| stdin.flush())
            .with_context(|| format!("{} doesn't listen{}", self.name, self.quote_log()))
    }

    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("no process has id 0")?;
        kill_process(pid, signal).with_context(|| format!("signalling {}", self.name))
    }

    /// Closes its standard input and sends SIGTERM; SIGKILL if it takes longer than `limit`.
    /// Whether it ended by itself, and well.
    pub fn stop(&mut self, limit: Duration) -> bool {
        self.stdin = None;
        if let Ok(Some(status)) = self.child.try_wait() {
            return status.success();
        }
        // It may have ended in between; the wait below finds that out.
        let _ = self.signal(Signal::TERM);
        match self.wait(limit) {
            Some(status) => status.success(),
            None => {
                self.kill();
                false
            }
        }
    }

    /// Waits for its end; `None` if it takes longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    }

    fn kill(&mut self) {
        // It may have ended already; either way nothing of it is left after the wait.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// `: ` and the last lines of its log, for an error.
    pub fn quote_log(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let from = lines.len().saturating_sub(LOG_LINES_QUOTED);
        match lines.is_empty() {
            true => String::new(),
            false => format!(": {}", plain(&lines[from..].join(" | "))),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Without terminal colours.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_go_both_ways_and_closing_the_input_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut echo = Process::start("echo", shell("exec cat"), dir.path()).unwrap();
        echo.say("hello").unwrap();
        assert_eq!(echo.line(Duration::from_secs(10)).unwrap(), "hello");
        echo.stdin = None;
        assert!(echo.wait(Duration::from_secs(10)).unwrap().success());
    }

    #[test]
    fn a_program_that_fails_is_quoted_without_colours() {
        let dir = tempfile::tempdir().unwrap();
        let script = r"printf '\033[31mno such port\033[0m\n' >&2; exit 78";
        let mut failing = Process::start("relay", shell(script), dir.path()).unwrap();
        let error = failing.line(Duration::from_secs(10)).unwrap_err().to_string();
        assert!(error.contains("78") && error.ends_with(": no such port"), "{error}");
    }

    #[test]
    fn dropping_it_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::start("sleep", shell("exec sleep 600"), dir.path()).unwrap();
        let proc = PathBuf::from(format!("/proc/{}", process.pid()));
        assert!(proc.exists());
        drop(process);
        assert!(!proc.exists());
    }
}
