//! The conversation with `weir-load run`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use weir_load::spec::{Event, Report, Spec};

use super::lab::{Host, Lab};
use super::process::Process;

/// A generator that holds its connections and tunnels open.
#[derive(Debug)]
pub struct Generator {
    process: Process,
    /// How long it may take from one event to the next, beyond what the spec asks for.
    patience: Duration,
    runs: Duration,
}

/// Opening 15,000 tunnels is the longest preparation; the end waits for late answers.
pub const PATIENCE: Duration = Duration::from_secs(60);

impl Generator {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it can't reach what the spec names; with its own words.
    pub fn ready(lab: &Lab, program: &Path, spec: &Spec, dir: &Path) -> Result<Generator> {
        let mut command = lab.command(Host::Client, &[lab.cpus.generator], program);
        command.arg("run");
        let mut process = Process::start("generator", command, dir)?;
        process.say(&serde_json::to_string(spec)?)?;
        let runs = Duration::from_millis(u64::from(spec.warmup_ms) + u64::from(spec.measure_ms));
        let mut generator = Generator { process, patience: PATIENCE, runs };
        match generator.event(Duration::ZERO)? {
            Event::Ready => Ok(generator),
            other => bail!("the generator said {other:?} instead of being ready"),
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Starts the traffic and calls `begin` when the warm-up is over.
    ///
    /// # Errors
    /// When the generator fails, or `begin` does.
    pub fn begin<T>(&mut self, begin: impl FnOnce() -> Result<T>) -> Result<T> {
        self.process.say("go")?;
        match self.event(self.runs)? {
            Event::Begin => begin(),
            other => bail!("the generator said {other:?} instead of beginning"),
        }
    }

    /// Waits for the end and calls `end` at once.
    ///
    /// # Errors
    /// When the generator fails, or `end` does.
    pub fn end<T>(mut self, end: impl FnOnce() -> Result<T>) -> Result<(Report, T)> {
        match self.event(self.runs)? {
            Event::End { report } => {
                let read = end()?;
                // It closes its connections, so that the relay has nothing to drain.
                self.process.stop(Duration::from_secs(5));
                Ok((*report, read))
            }
            other => bail!("the generator said {other:?} instead of ending"),
        }
    }

    /// Ends an idle run.
    ///
    /// # Errors
    /// When it doesn't.
    pub fn stop(mut self) -> Result<Report> {
        self.process.say("stop")?;
        loop {
            match self.event(self.runs)? {
                Event::End { report } => return Ok(*report),
                Event::Begin => {}
                other => bail!("the generator said {other:?} instead of ending"),
            }
        }
    }

    fn event(&mut self, runs: Duration) -> Result<Event> {
        let line = self.process.line(self.patience + runs)?;
        let event =
            serde_json::from_str(&line).with_context(|| format!("the generator said {line:?}"))?;
        if let Event::Failed { error } = event {
            bail!("the generator failed: {error}");
        }
        Ok(event)
    }
}
