//! What the service was like, interval by interval: measured while it is used, signed, given to the
//! exit to sign too, and kept.

mod gauge;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::sync::mpsc;
use tracing::{debug, warn};
use weir_usage::bond::Agreement;
use weir_usage::{CoSigned, Sample, Signature, SigningKey, SlaId};

use crate::meter::Meters;
use crate::payer::error_text;
use crate::relay::Pool;
use crate::{Error, PayerConfig, SlaConfig};
use gauge::{Gauge, Reading};

const SAMPLE_PATH: &str = "/.well-known/weir/sample";
/// Between two looks at the connections.
const TICK: Duration = Duration::from_millis(100);
/// An interval whose first or last look is further than that from its end isn't whole.
const LATE_MS: u64 = 300;
/// The exit's counts of an interval are on their way for a moment after it.
const POST_DELAY: Duration = Duration::from_secs(1);
const POST_ATTEMPTS: u32 = 3;
/// Samples that wait for an exit that doesn't answer; it takes none older than a quarter of an
/// hour.
const SAMPLES_MAX: usize = 16;
/// An agreement is some kilobytes.
const AGREEMENT_LEN_MAX: u64 = 64 << 10;

/// Agreement and key, read before anything is sent over the network.
pub(crate) struct Opened {
    agreement: Agreement,
    key: SigningKey,
    lane: u32,
    file: PathBuf,
}

/// Reads what a watcher needs. The payer's session key signs samples too.
pub(crate) fn open(config: &SlaConfig, payer: &PayerConfig) -> Result<Opened, Error> {
    let path = &config.agreement_file;
    let agreement = read_agreement(path)?;
    let (expected, found) = (payer.channel, agreement.terms.channel);
    if expected != found {
        let problem = format!("is for channel {found}, the payer's is {expected}");
        return Err(Error::file("agreement", path, problem));
    }
    let (key, file) = (crate::payer::session_key(payer)?, config.samples_file.clone());
    Ok(Opened { agreement, key, lane: payer.lane, file })
}

/// Measures and posts. It alone writes the file of samples.
pub(crate) struct Watcher {
    agreement: Agreement,
    sla: SlaId,
    key: SigningKey,
    lane: u32,
    file: PathBuf,
    pool: Arc<Pool>,
    meters: Arc<Meters>,
}

impl Watcher {
    pub(crate) fn new(opened: Opened, pool: Arc<Pool>, meters: Arc<Meters>) -> Watcher {
        let Opened { agreement, key, lane, file } = opened;
        let sla = agreement.id();
        Watcher { agreement, sla, key, lane, file, pool, meters }
    }

    /// Runs until it is dropped.
    pub(crate) async fn run(self) {
        let watcher = Arc::new(self);
        let (sender, samples) = mpsc::channel(SAMPLES_MAX);
        let posting = tokio::spawn(Arc::clone(&watcher).post_all(samples));
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut current: Option<(u64, Gauge, bool)> = None;
        let _stop = AbortOnDrop(posting);
        loop {
            tick.tick().await;
            let Some((interval, since_ms)) = watcher.interval(now_ms()) else { continue };
            let (bytes, paths) = (watcher.meters.bytes(), watcher.readings());
            if current.as_ref().is_none_or(|(number, ..)| *number != interval) {
                let whole = since_ms < LATE_MS;
                if let Some((number, mut gauge, true)) = current.take()
                    && number + 1 == interval
                    && whole
                    && watcher.agreement.terms.all_intervals().is_ok_and(|all| number < all)
                {
                    // This look ends the one interval and begins the next.
                    gauge.look(now_ms(), bytes, &paths);
                    if let Some(sample) = gauge.sample(watcher.sla, watcher.lane, number) {
                        // A full queue means that the exit doesn't sign: those are draws.
                        let _ = sender.try_send(sample);
                    }
                }
                current = Some((interval, Gauge::default(), whole));
            }
            if let Some((_, gauge, _)) = &mut current {
                gauge.look(now_ms(), bytes, &paths);
            }
        }
    }

    /// The interval that runs at a time, and since when; `None` before the first.
    fn interval(&self, at_ms: u64) -> Option<(u64, u64)> {
        let terms = &self.agreement.terms;
        let after_ms = at_ms.checked_sub(terms.start.checked_mul(1_000)?)?;
        let interval_ms = u64::from(terms.interval_s) * 1_000;
        Some((after_ms.checked_div(interval_ms)?, after_ms % interval_ms))
    }

    fn readings(&self) -> Vec<Reading> {
        let stats = self.pool.stats().into_iter();
        stats
            .map(|(connection, stats)| Reading {
                connection,
                rtt_us: u32::try_from(stats.path.rtt.as_micros()).unwrap_or(u32::MAX),
                sent_packets: stats.path.sent_packets,
                lost_packets: stats.path.lost_packets,
                received: stats.udp_rx.datagrams,
            })
            .collect()
    }

    async fn post_all(self: Arc<Self>, mut samples: mpsc::Receiver<Sample>) {
        let mut said = None;
        while let Some(sample) = samples.recv().await {
            tokio::time::sleep(POST_DELAY).await;
            match self.post(sample).await {
                Ok(co_signed) => {
                    said = None;
                    self.keep(co_signed).await;
                }
                Err(problem) => {
                    // Once for each problem: the interval is a draw, and nobody loses by it.
                    if said.as_ref() != Some(&problem) {
                        warn!(interval = sample.interval, %problem, "a sample was not co-signed");
                    }
                    said = Some(problem);
                }
            }
        }
    }

    async fn post(&self, sample: Sample) -> Result<CoSigned, String> {
        let domain = &self.agreement.domain;
        let signed = sample.sign(domain, &self.key);
        let body = serde_json::to_vec(&signed).map_err(|error| error.to_string())?;
        let mut problem = String::new();
        for attempt in 0..POST_ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(POST_DELAY).await;
            }
            let posted = self.pool.fetch(Method::POST, SAMPLE_PATH, Bytes::from(body.clone()));
            let answer = match posted.await {
                Ok(answer) => answer,
                Err(refusal) => {
                    problem = refusal.to_string();
                    continue;
                }
            };
            match answer.status {
                StatusCode::OK => {
                    let body: Body =
                        serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
                    let (signature, exit_signature) = (signed.signature, body.exit_signature);
                    let co_signed = CoSigned { sample, signature, exit_signature };
                    let (client, operator) = (self.key.address(), self.agreement.terms.operator);
                    let checked = co_signed.verify(domain, client, operator);
                    return checked.map(|()| co_signed).map_err(|error| error.to_string());
                }
                status => problem = format!("{status}: {}", error_text(&answer.body)),
            }
            if answer.status != StatusCode::SERVICE_UNAVAILABLE {
                break;
            }
        }
        Err(problem)
    }

    async fn keep(&self, co_signed: CoSigned) {
        debug!(interval = co_signed.sample.interval, "a sample is signed by both");
        let path = self.file.clone();
        let written = tokio::task::spawn_blocking(move || {
            let mut line = serde_json::to_string(&co_signed)?;
            line.push('\n');
            let mut file = OpenOptions::new().create(true).append(true).open(path)?;
            file.write_all(line.as_bytes())
        });
        if let Ok(Err(error)) = written.await {
            warn!(%error, "a sample that both signed could not be kept");
        }
    }
}

/// The answer to a posted sample.
#[derive(Deserialize)]
struct Body {
    exit_signature: Signature,
}

/// Ends a task with its owner.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn read_agreement(path: &std::path::Path) -> Result<Agreement, Error> {
    let wrong = |error: &dyn std::fmt::Display| Error::file("agreement", path, error);
    let length = std::fs::metadata(path).map_err(|e| wrong(&e))?.len();
    if length > AGREEMENT_LEN_MAX {
        return Err(wrong(&"is too long for one"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| wrong(&e))?;
    let agreement: Agreement = serde_json::from_str(&text).map_err(|e| wrong(&e))?;
    agreement.signatures().map_err(|e| wrong(&e))?;
    Ok(agreement)
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock before 1970 is before every agreement.
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
