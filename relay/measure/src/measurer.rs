//! One interval after the other: measured, signed, kept.

use std::fs::OpenOptions;
use std::hash::{BuildHasher, Hasher};
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};
use weir_sla::{Kind, Reference, meets_measured};
use weir_usage::{Sample, SlaId};

use crate::burst::{self, Burst};
use crate::customer::Customer;
use crate::proxy::Association;
use crate::schedule::Schedule;
use crate::{Config, Error, probes, tally};

/// An interval of which more has passed is left out. The same for one that ended early or late by
/// the host's clock: the host slept, or the clock was set.
const LATE_MS: u64 = 300;
/// Between two attempts to become a customer.
const RETRY: Duration = Duration::from_secs(2);
/// Long enough for any host that is not too far away to answer something.
const CONTROL_WAIT: Duration = Duration::from_millis(800);

/// What a measurer has said so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Intervals that met the terms.
    pub good: u64,
    /// Intervals that didn't.
    pub bad: u64,
    /// Intervals of which it couldn't tell.
    pub nothing: u64,
}

/// A measurer of one agreement.
#[derive(Debug)]
pub struct Measurer {
    config: Config,
    sla: SlaId,
    schedule: Schedule,
    echoed: Vec<Reference>,
    said: Said,
}

impl Measurer {
    /// Takes a configuration that was checked.
    pub fn new(config: Config) -> Measurer {
        let schedule = Schedule::new(config.agreement.terms.interval_s, config.probes);
        let all = &config.references;
        let echoed = all.of_kind(Kind::Echo).chain(all.of_kind(Kind::Dns)).cloned().collect();
        Measurer { sla: config.agreement.id(), schedule, echoed, said: Said::default(), config }
    }

    /// Measures until `stop` completes or the agreement is over. It says nothing before the exit
    /// has served it once: until then, the mistake may be its own.
    ///
    /// # Errors
    /// A client that can't be what it is configured to be, or a statement that can't be kept.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<Said, Error> {
        let mut stop = std::pin::pin!(stop);
        let customer = tokio::select! {
            customer = self.become_customer() => customer?,
            () = &mut stop => return Ok(self.said),
        };
        let outcome = tokio::select! {
            outcome = self.measure_all(&customer) => outcome,
            () = &mut stop => Ok(()),
        };
        customer.stop().await;
        outcome.map(|()| self.said)
    }

    async fn become_customer(&self) -> Result<Customer, Error> {
        loop {
            match Customer::start(&self.config.client).await {
                Ok(customer) => return Ok(customer),
                Err(error) if error.is_configuration() => return Err(error),
                Err(error) => warn!(%error, "not served yet; nothing is said until then"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn measure_all(&mut self, customer: &Customer) -> Result<(), Error> {
        let mut last = None;
        while let Some((interval, begins_ms)) = self.next_interval(last) {
            last = Some(interval);
            wait_until(begins_ms).await;
            let late_ms = now_ms().saturating_sub(begins_ms);
            let seen = match late_ms < LATE_MS {
                true => self.measure(customer, interval, begins_ms).await?,
                false => Err(format!("it began {late_ms} ms ago")),
            };
            match seen {
                Ok(sample) => self.say(sample).await?,
                Err(why) => {
                    self.said.nothing += 1;
                    warn!(interval, %why, "nothing is said of an interval");
                }
            }
        }
        Ok(())
    }

    /// The interval that begins next and when, in milliseconds; `None` after the agreement's last.
    fn next_interval(&self, last: Option<u64>) -> Option<(u64, u64)> {
        let terms = &self.config.agreement.terms;
        let interval_ms = u64::from(terms.interval_s) * 1_000;
        let start_ms = terms.start.checked_mul(1_000)?;
        let since_ms = now_ms().saturating_sub(start_ms);
        let by_clock = since_ms.saturating_sub(LATE_MS / 2).div_ceil(interval_ms);
        // An interval is measured once, whatever the clock does.
        let interval = last.map_or(by_clock, |last| by_clock.max(last + 1));
        let begins_ms = start_ms.checked_add(interval.checked_mul(interval_ms)?)?;
        let ends_s = terms.period(terms.periods.checked_sub(1)?).ok()?.ends;
        (begins_ms < ends_s.checked_mul(1_000)?).then_some((interval, begins_ms))
    }

    /// What the interval was like, or why that can't be said.
    async fn measure(
        &self,
        customer: &Customer,
        interval: u64,
        begins_ms: u64,
    ) -> Result<Result<Sample, String>, Error> {
        let begins = Instant::now();
        let before = customer.bytes().await?;
        // A new association, and with it new tunnels: a service that lets nobody in is none.
        let association = Association::open(customer.socks).await?;
        let busy = AtomicBool::new(false);
        let (answers, burst) = tokio::join!(
            probes::run(&association, &self.echoed, random(), &self.schedule, begins, &busy),
            self.burst(customer, interval, begins, &busy),
        );
        let after = customer.bytes().await?;
        let kbps = match burst {
            Burst::Carried { kbps } => kbps,
            Burst::Unknown(why) => return Ok(Err(why)),
        };
        let lasted_ms = now_ms().saturating_sub(begins_ms);
        let ends_ms = self.schedule.ends.as_millis() as u64;
        if lasted_ms + LATE_MS < ends_ms || lasted_ms > ends_ms + LATE_MS {
            return Ok(Err(format!("by this host's clock it lasted {lasted_ms} ms")));
        }
        let bytes = (after.0 - before.0, after.1 - before.1);
        let lane = self.config.lane;
        let sample = tally::sample(self.sla, lane, interval, bytes, &answers, kbps);
        let met = meets_measured(&self.config.agreement.terms, &sample);
        if !met && !self.is_online().await {
            return Ok(Err("no control host answers; this host may be offline".to_owned()));
        }
        Ok(Ok(sample))
    }

    async fn burst(
        &self,
        customer: &Customer,
        interval: u64,
        begins: Instant,
        busy: &AtomicBool,
    ) -> Burst {
        let sources: Vec<&Reference> = self.config.references.of_kind(Kind::Http).collect();
        // In turn, so that one that is down spoils few intervals.
        let turn = interval.checked_rem(sources.len() as u64).unwrap_or(0);
        let Some(source) = sources.get(turn as usize) else { return Burst::Carried { kbps: 0 } };
        // At a moment that an exit can't know.
        let by_ms = self.schedule.burst_by.as_millis().max(1) as u64;
        sleep_until(begins + Duration::from_millis(random() % by_ms)).await;
        let (bytes, limit) = (self.config.burst_bytes, self.schedule.burst_max);
        burst::run(customer.http, source, bytes, limit, busy).await
    }

    /// Whether anything out there answers without the exit.
    async fn is_online(&self) -> bool {
        let control = &self.config.control;
        if control.is_empty() {
            return true;
        }
        let mut checks: tokio::task::JoinSet<bool> =
            control.iter().map(|&at| answers(at)).collect();
        while let Some(answered) = checks.join_next().await {
            if answered.unwrap_or(false) {
                return true;
            }
        }
        false
    }

    /// Signs the sample and keeps it.
    async fn say(&mut self, sample: Sample) -> Result<(), Error> {
        let Sample { interval, rtt_p50_us, rtt_p95_us, loss_ppm, n, .. } = sample;
        let (kbps, terms) = (sample.tput_1s_max_kbps, &self.config.agreement.terms);
        let good = meets_measured(terms, &sample);
        info!(interval, good, rtt_p50_us, rtt_p95_us, loss_ppm, kbps, n, "measured");
        let signed = sample.sign(&self.config.agreement.domain, &self.config.key);
        let path = &self.config.statements;
        let failed = |error: &dyn std::fmt::Display| Error::file("statements", path, error);
        let line = serde_json::to_string(&signed).map_err(|error| failed(&error))? + "\n";
        let mut options = OpenOptions::new();
        let mut file =
            options.create(true).append(true).open(path).map_err(|error| failed(&error))?;
        file.write_all(line.as_bytes()).map_err(|error| failed(&error))?;
        let count = if good { &mut self.said.good } else { &mut self.said.bad };
        *count += 1;
        Ok(())
    }
}

/// A refusal is an answer, too.
async fn answers(at: SocketAddr) -> bool {
    match tokio::time::timeout(CONTROL_WAIT, TcpStream::connect(at)).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        Err(_) => false,
    }
}

/// Sleeps until a time of the host's clock, even if that is set meanwhile.
async fn wait_until(at_ms: u64) {
    loop {
        let left_ms = at_ms.saturating_sub(now_ms());
        if left_ms == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(left_ms.min(1_000))).await;
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock before 1970 is before every agreement.
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// The hasher's keys are the standard library's only source of randomness; nothing here is secret
/// for longer than an interval.
fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
