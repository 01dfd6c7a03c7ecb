//! Pays for what was received and for nothing else: asks the relay what it counted, compares, signs
//! a voucher for the smaller number, and never loses what it signed.

mod json;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};
use weir_blind::spent::DirDisk;
use weir_usage::{Ask, Domain, SignedVoucher, SigningKey};

use crate::gate::Gate;
use crate::meter::Meters;
use crate::purse::{Answer, Now, Options, Problem, Purse, Terms, Tolerance};
use crate::relay::{self, Pool};
use crate::usage::{PaymentUsage, SettleReport};
use crate::{Error, PayerConfig, RelayUrl, hex};

pub(crate) use json::error_text;

pub(crate) const USAGE_PATH: &str = "/.well-known/weir/usage";
const VOUCHER_PATH: &str = "/.well-known/weir/voucher";

/// While both sides don't agree though nothing moves, the pause between asks doubles up to this.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Between the rounds of a settlement: the relay exports its counters once a turn.
const SETTLE_PAUSE: Duration = Duration::from_millis(50);

/// Between two log lines about over-billing that lasts.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);

/// Settlements waiting for the one that runs.
const SETTLEMENTS_MAX: usize = 32;

/// A running payer.
pub(crate) struct Payer {
    settle: mpsc::Sender<(Duration, oneshot::Sender<SettleReport>)>,
    view: watch::Receiver<View>,
}

/// What of the payer's state is shown; own counts are added when it is looked at.
#[derive(Clone)]
struct View {
    base: (u64, u64),
    payment: PaymentUsage,
}

/// The task behind it. It alone signs.
pub(crate) struct Worker {
    purse: Shared,
    pool: Arc<Pool>,
    meters: Arc<Meters>,
    gate: Gate,
    period: Duration,
    vouched_file: Option<PathBuf>,
    inbox: mpsc::Receiver<(Duration, oneshot::Sender<SettleReport>)>,
    view: watch::Sender<View>,
    /// When over-billing was last said in the log.
    complained: Option<Instant>,
}

/// Used where blocking is allowed: it waits for the disk.
type Shared = Arc<Mutex<Purse<DirDisk>>>;

/// How far one round of ask and voucher got.
struct Round {
    /// Both count the same, and all of it is paid.
    settled: bool,
}

/// Opens key and journal, before anything is sent over the network.
pub(crate) fn open(
    config: &PayerConfig,
    relay: &RelayUrl,
    tolerance: Tolerance,
) -> Result<Opened, Error> {
    let key = session_key(config)?;
    let terms = Terms {
        domain: Domain { chain_id: config.chain_id, escrow: config.escrow },
        channel: config.channel,
        lane: config.lane,
        price_max: config.price_max,
        budget: config.budget,
    };
    let path = &config.state_file;
    let wrong = |problem: String| Error::file("payer journal", path, problem);
    let (disk, name) = lock(path).map_err(wrong)?;
    let options = Options {
        crash_allowance_bytes: config.crash_allowance_bytes,
        tolerance,
        ..Options::new(relay.to_string())
    };
    let purse = Purse::open(disk, &name, terms, key, &options, now());
    let purse = purse.map_err(|error| wrong(error.to_string()))?;
    let vouched_file = config.vouched_file.clone();
    let journal = std::path::absolute(path).unwrap_or_else(|_| path.clone());
    Ok(Opened { purse, period: config.period, vouched_file, journal })
}

/// The directory of the journal, which no other client may write to, and its name there.
fn lock(path: &Path) -> Result<(DirDisk, String), String> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or("has no name in UTF-8")?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(format!("there is no directory {}", folder.display()));
    }
    match DirDisk::open_with(folder, &format!("{name}.lock")) {
        Ok(disk) => Ok((disk, name.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err("is in use by another running client; one client per channel lane".into())
        }
        Err(error) => Err(error.to_string()),
    }
}

fn now() -> Now {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let unix_ms = since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    Now { instant: Instant::now(), unix_ms }
}

/// The key that signs vouchers, and samples.
pub(crate) fn session_key(config: &PayerConfig) -> Result<SigningKey, Error> {
    let path = &config.signing_key_file;
    let text = std::fs::read_to_string(path).map_err(|e| Error::file("signing key", path, e))?;
    let bytes = hex::decode_array::<32>(text.trim())
        .ok_or_else(|| Error::file("signing key", path, "holds no 64 hexadecimal digits"))?;
    SigningKey::from_bytes(&bytes).map_err(|e| Error::file("signing key", path, e))
}

/// A payer that is not running yet.
pub(crate) struct Opened {
    purse: Purse<DirDisk>,
    period: Duration,
    vouched_file: Option<PathBuf>,
    journal: PathBuf,
}

impl Opened {
    /// Looks at the relay's first answer to [`USAGE_PATH`], before any tunnel: with other terms
    /// than those agreed nothing goes through, and without any nothing before they are known.
    pub(crate) fn check_terms(&self, answer: &relay::Answer, gate: &Gate) -> Result<(), String> {
        match read_ask(answer) {
            Ok(ask) => match self.purse.terms().check(&ask) {
                Err(objection) if objection.is_about_terms() => {
                    Err(format!("{objection}. What to do: {}", objection.remedy()))
                }
                _ => Ok(()),
            },
            // Nothing is billed, so there is nothing to agree to.
            Err(_) if answer.status == StatusCode::NOT_FOUND => Ok(()),
            Err(problem) => {
                warn!(%problem, "the relay's price is not known yet; no tunnel is opened before");
                gate.wait(problem);
                Ok(())
            }
        }
    }

    pub(crate) fn into_parts(
        self,
        pool: Arc<Pool>,
        meters: Arc<Meters>,
        gate: Gate,
    ) -> (Payer, Worker) {
        let terms = self.purse.terms();
        let paid = self.purse.last();
        let payment = PaymentUsage {
            channel: terms.channel.to_string(),
            lane: terms.lane,
            up_bytes: 0,
            down_bytes: 0,
            asked_up_bytes: None,
            asked_down_bytes: None,
            signed_amount: paid.map_or(0, |paid| paid.signed.voucher.amount).to_string(),
            signed_seq: paid.map_or(0, |paid| paid.signed.voucher.seq),
            accepted: paid.is_some_and(|paid| paid.accepted),
            problem: None,
            overbilled_asks: 0,
            overbilled_in_a_row: 0,
            journal: self.journal,
        };
        let (view, watcher) = watch::channel(View { base: self.purse.own((0, 0)), payment });
        let (settle, inbox) = mpsc::channel(SETTLEMENTS_MAX);
        let purse = Arc::new(Mutex::new(self.purse));
        let (period, vouched_file) = (self.period, self.vouched_file);
        let worker = Worker {
            purse,
            pool,
            meters,
            gate,
            period,
            inbox,
            view,
            vouched_file,
            complained: None,
        };
        (Payer { settle, view: watcher }, worker)
    }
}

impl Payer {
    /// How payment stands, given the bytes since the start.
    pub(crate) fn usage(&self, since_start: (u64, u64)) -> PaymentUsage {
        self.view.borrow().show(since_start)
    }

    /// Settles now; `None` if the payer has stopped.
    pub(crate) async fn settle(&self, timeout: Duration) -> Option<SettleReport> {
        let (reply, answer) = oneshot::channel();
        self.settle.send((timeout, reply)).await.ok()?;
        answer.await.ok()
    }
}

impl View {
    fn show(&self, since_start: (u64, u64)) -> PaymentUsage {
        let mut payment = self.payment.clone();
        payment.up_bytes = self.base.0 + since_start.0;
        payment.down_bytes = self.base.1 + since_start.1;
        payment
    }
}

impl Worker {
    /// Runs until `stop` completes or it is through with the relay, which is an error in words;
    /// then settles once more within `grace` and closes the journal.
    pub(crate) async fn run(
        mut self,
        stop: impl Future<Output = ()>,
        grace: Duration,
    ) -> Result<(), String> {
        tokio::pin!(stop);
        let mut ended = Ok(());
        let mut seen = (0, 0);
        let mut pause = self.period;
        let mut settled = false;
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some((timeout, reply)) = self.inbox.recv() => {
                    let report = self.settle(timeout).await;
                    settled = report.settled;
                    let _ = reply.send(report);
                }
                () = tokio::time::sleep(pause) => {
                    let now = self.meters.bytes();
                    if now == seen && settled {
                        pause = self.period;
                        continue;
                    }
                    let is_quiet = now == seen && !self.gate.is_waiting();
                    pause = if is_quiet { (pause * 2).min(PAUSE_MAX) } else { self.period };
                    seen = now;
                    settled = self.round_or_problem().await.settled;
                    if let Some(problem) = self.is_through().await {
                        self.gate.close(&problem);
                        ended = Err(problem);
                        break;
                    }
                }
            }
        }
        let report = self.settle(grace).await;
        if !report.settled {
            warn!(payment = ?report.payment, "stopped before the last bytes were paid for");
        }
        let counted = self.meters.bytes();
        match self.with_purse(move |purse| purse.stop(counted, now())).await {
            Ok(()) => info!("the payer's journal is complete"),
            Err(error) => warn!(%error, "the payer's journal was not closed"),
        }
        ended
    }

    /// Why nothing more is bought from this relay.
    async fn is_through(&self) -> Option<String> {
        self.with_purse(|purse| {
            let overbilling = purse.overbilling().filter(|_| purse.is_through());
            overbilling.map(ToString::to_string)
        })
        .await
    }

    async fn settle(&mut self, timeout: Duration) -> SettleReport {
        let start = Instant::now();
        let mut rounds = 0;
        let settled = loop {
            rounds += 1;
            let left = timeout.saturating_sub(start.elapsed());
            let round = tokio::time::timeout(left, self.round_or_problem()).await;
            match round {
                Ok(Round { settled: true }) => break true,
                Err(_) => break false,
                Ok(_) if start.elapsed() + SETTLE_PAUSE >= timeout => break false,
                Ok(_) => tokio::time::sleep(SETTLE_PAUSE).await,
            }
        };
        let payment = self.view.borrow().show(self.meters.bytes());
        let elapsed_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        SettleReport { settled, rounds, elapsed_ms, payment }
    }

    async fn round_or_problem(&mut self) -> Round {
        let round = match self.round().await {
            Ok(round) => {
                self.complain().await;
                round
            }
            Err(problem) => {
                if self.view.borrow().payment.problem.as_ref() != Some(&problem) {
                    warn!(%problem, "not paying");
                }
                self.view.send_modify(|view| view.payment.problem = Some(problem));
                // The counts are worth keeping whatever the relay says.
                let counted = self.meters.bytes();
                if let Err(error) = self.with_purse(move |purse| purse.note(counted, now())).await {
                    warn!(%error, "the own counts are not written down");
                }
                Round { settled: false }
            }
        };
        self.gate.unpaid(self.view.borrow().payment.problem.clone());
        round
    }

    /// What was sold changes while this runs. A file that can't be read changes nothing.
    fn sold(&self) -> Option<u64> {
        let path = self.vouched_file.as_ref()?;
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
        match text.and_then(|text| text.trim().parse().map_err(|_| "not a number".to_owned())) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                warn!(file = %path.display(), %error, "the sold bytes can't be read");
                None
            }
        }
    }

    async fn round(&mut self) -> Result<Round, String> {
        let ask = self.ask().await?;
        // Read after the ask arrived: what the relay counted before it was sent is in by now, or
        // still under way.
        let counted = self.meters.bytes();
        let sold = self.sold();
        let (answer, base) = self
            .with_purse(move |purse| {
                if let Some(bytes) = sold {
                    purse.vouch(bytes);
                }
                (purse.consider(&ask, counted, now()), purse.own((0, 0)))
            })
            .await;
        self.view.send_modify(|view| {
            view.base = base;
            view.payment.asked_up_bytes = Some(ask.up_bytes);
            view.payment.asked_down_bytes = Some(ask.down_bytes);
        });
        match &answer {
            Err(Problem::Objection(objection)) if objection.is_about_terms() => {
                self.gate.close(objection);
            }
            _ => self.gate.open(),
        }
        if let Answer::Send(signed, bytes) = answer.map_err(|problem| problem.to_string())? {
            self.send(signed, bytes).await?;
        }
        let counted = self.meters.bytes();
        let (own, paid) = self
            .with_purse(move |purse| {
                let paid = purse.last().filter(|paid| paid.accepted);
                (purse.own(counted), paid.map_or(0, |paid| paid.signed.voucher.amount))
            })
            .await;
        Ok(Round { settled: own == (ask.up_bytes, ask.down_bytes) && paid == ask.amount })
    }

    /// Shows how the relay's counts stand to the own ones, and warns: at first, and once a minute.
    async fn complain(&mut self) {
        let (overbilling, asks) =
            self.with_purse(|purse| (purse.overbilling().copied(), purse.overbilled_asks())).await;
        self.view.send_modify(|view| {
            view.payment.problem = overbilling.map(|overbilling| overbilling.to_string());
            view.payment.overbilled_asks = asks;
            view.payment.overbilled_in_a_row = overbilling.map_or(0, |found| found.asks);
        });
        let Some(overbilling) = overbilling else { return };
        if self.complained.is_some_and(|at| at.elapsed() < COMPLAINT_PAUSE) {
            return;
        }
        self.complained = Some(Instant::now());
        let view = self.view.borrow();
        let (asked, own) = (overbilling.asked, overbilling.own);
        warn!(
            exit = %self.pool.relay(),
            channel = view.payment.channel,
            lane = view.payment.lane,
            asked_up = asked.0,
            asked_down = asked.1,
            own_up = own.0,
            own_down = own.1,
            asks_in_a_row = overbilling.asks,
            "the exit bills more than this client can confirm; only the own counts are paid"
        );
    }

    /// Runs it where it may wait for the disk. A caller that stops waiting doesn't stop it.
    async fn with_purse<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Purse<DirDisk>) -> T + Send + 'static,
    ) -> T {
        let purse = Arc::clone(&self.purse);
        let done = tokio::task::spawn_blocking(move || {
            work(&mut purse.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match done.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is going down, and this task with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    async fn ask(&self) -> Result<Ask, String> {
        let answer = self.pool.fetch(Method::GET, USAGE_PATH, Bytes::new()).await;
        read_ask(&answer.map_err(|refusal| format!("asking for usage: {refusal}"))?)
    }

    async fn send(&mut self, signed: SignedVoucher, bytes: (u64, u64)) -> Result<(), String> {
        let body = Bytes::from(json::voucher(&signed, bytes));
        let answer = self.pool.fetch(Method::POST, VOUCHER_PATH, body).await;
        let answer = answer.map_err(|refusal| format!("sending a voucher: {refusal}"))?;
        let voucher = signed.voucher;
        let accepted = answer.status == StatusCode::OK;
        if accepted {
            debug!(seq = voucher.seq, amount = %voucher.amount, "voucher accepted");
            self.with_purse(move |purse| purse.accepted(voucher.seq)).await;
        } else if answer.status == StatusCode::UNPROCESSABLE_ENTITY {
            self.with_purse(move |purse| purse.rejected(voucher.seq)).await;
        }
        self.view.send_modify(|view| {
            view.payment.signed_amount = voucher.amount.to_string();
            view.payment.signed_seq = voucher.seq;
            view.payment.accepted = accepted;
        });
        if accepted {
            return Ok(());
        }
        Err(format!(
            "the relay did not take voucher {} ({}): {}",
            voucher.seq,
            answer.status,
            error_text(&answer.body)
        ))
    }
}

fn read_ask(answer: &relay::Answer) -> Result<Ask, String> {
    match answer.status {
        StatusCode::OK => json::parse_ask(&answer.body)
            .map_err(|error| format!("the relay's usage answer is not valid: {error}")),
        StatusCode::NOT_FOUND => {
            Err("the relay bills nothing to this token's grant; its operator has set no channel \
                 for it"
                .into())
        }
        StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            Err("the relay refused the token when asked for usage".into())
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            Err("the relay's settlement sidecar is away; trying again".into())
        }
        status => Err(format!("the relay answered {status} when asked for usage")),
    }
}
