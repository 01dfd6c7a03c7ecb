//! Pays for what was received and for nothing else: asks the relay what it counted, compares, signs
//! a voucher for the smaller number, and never loses what it signed.

mod book;
mod json;
mod state;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};
use weir_usage::{Ask, Domain, SignedVoucher, SigningKey};

use crate::meter::Meters;
use crate::relay::Pool;
use crate::usage::{PaymentUsage, SettleReport};
use crate::{Error, PayerConfig, hex};
use book::{Book, Decision, Paid, Terms};
use state::{State, StateFile};

pub(crate) use json::error_text;

const USAGE_PATH: &str = "/.well-known/weir/usage";
const VOUCHER_PATH: &str = "/.well-known/weir/voucher";

/// While both sides don't agree though nothing moves, the pause between asks doubles up to this.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Between the rounds of a settlement: the relay exports its counters once a turn.
const SETTLE_PAUSE: Duration = Duration::from_millis(50);

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

/// The task behind it. It alone signs and saves.
pub(crate) struct Worker {
    book: Book,
    key: SigningKey,
    file: Arc<StateFile>,
    saved: State,
    pool: Arc<Pool>,
    meters: Arc<Meters>,
    period: Duration,
    vouched_file: Option<PathBuf>,
    inbox: mpsc::Receiver<(Duration, oneshot::Sender<SettleReport>)>,
    view: watch::Sender<View>,
}

/// How far one round of ask and voucher got.
struct Round {
    /// Both count the same, and all of it is paid.
    settled: bool,
}

/// Opens key and state, before anything is sent over the network.
pub(crate) fn open(config: &PayerConfig) -> Result<Opened, Error> {
    let key = session_key(config)?;
    let terms = Terms {
        domain: Domain { chain_id: config.chain_id, escrow: config.escrow },
        channel: config.channel,
        lane: config.lane,
        price_max: config.price_max,
        budget: config.budget,
        signer: key.address(),
    };
    let (file, state) = StateFile::open(&config.state_file, &terms)?;
    let book = Book::new(terms, &state, config.crash_allowance_bytes);
    let vouched_file = config.vouched_file.clone();
    Ok(Opened { book, key, file: Arc::new(file), state, period: config.period, vouched_file })
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
    book: Book,
    key: SigningKey,
    file: Arc<StateFile>,
    state: State,
    period: Duration,
    vouched_file: Option<PathBuf>,
}

impl Opened {
    pub(crate) fn into_parts(self, pool: Arc<Pool>, meters: Arc<Meters>) -> (Payer, Worker) {
        let terms = &self.book.terms;
        let paid = self.book.last();
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
        };
        let (view, watcher) = watch::channel(View { base: self.book.own((0, 0)), payment });
        let (settle, inbox) = mpsc::channel(SETTLEMENTS_MAX);
        let Opened { book, key, file, state, period, vouched_file } = self;
        let worker = Worker {
            book,
            key,
            file,
            saved: state,
            pool,
            meters,
            period,
            inbox,
            view,
            vouched_file,
        };
        (Payer { settle, view: watcher }, worker)
    }
}

/// Days since 1970, UTC; 0 for a clock before that.
fn today() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() / 86_400)
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
    /// Runs until `stop` completes; then settles once more within `grace` and saves.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>, grace: Duration) {
        tokio::pin!(stop);
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
                    pause = if now == seen { (pause * 2).min(PAUSE_MAX) } else { self.period };
                    seen = now;
                    settled = self.round_or_problem().await.settled;
                }
            }
        }
        let report = self.settle(grace).await;
        if !report.settled {
            warn!(payment = ?report.payment, "stopped before the last bytes were paid for");
        }
        self.save(true).await;
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
        match self.round().await {
            Ok(round) => {
                self.view.send_modify(|view| view.payment.problem = self.book.complaint());
                round
            }
            Err(problem) => {
                if self.view.borrow().payment.problem.as_ref() != Some(&problem) {
                    warn!(%problem, "not paying");
                }
                self.view.send_modify(|view| view.payment.problem = Some(problem));
                // The counts are worth keeping whatever the relay says.
                self.save(false).await;
                Round { settled: false }
            }
        }
    }

    /// What was sold changes while this runs. A file that can't be read changes nothing.
    fn read_vouched(&mut self) {
        let Some(path) = &self.vouched_file else { return };
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
        match text.and_then(|text| text.trim().parse().map_err(|_| "not a number".to_owned())) {
            Ok(bytes) => self.book.vouch(bytes),
            Err(error) => warn!(file = %path.display(), %error, "the sold bytes can't be read"),
        }
    }

    async fn round(&mut self) -> Result<Round, String> {
        let ask = self.ask().await?;
        // Read after the ask arrived: what the relay counted before it was sent is in by now, or
        // still under way.
        let since_start = self.meters.bytes();
        self.book.begin_day(today());
        self.read_vouched();
        let decision = self.book.consider(&ask, since_start, Instant::now());
        let decision = decision.map_err(|objection| objection.to_string());
        let (up, down) = (ask.up_bytes, ask.down_bytes);
        self.view.send_modify(|view| {
            view.base = self.book.own((0, 0));
            view.payment.asked_up_bytes = Some(up);
            view.payment.asked_down_bytes = Some(down);
        });
        match decision? {
            Decision::Sign { voucher, bytes } => {
                let signed = voucher.sign(&self.book.terms.domain, &self.key);
                self.book.record(Paid { signed, bytes, accepted: false });
                self.save_and_send(signed, bytes).await?;
            }
            Decision::Resend(paid) => self.save_and_send(paid.signed, paid.bytes).await?,
            Decision::Nothing => {
                self.save(false).await;
            }
        }
        if let Some(complaint) = self.book.complaint() {
            warn!("{complaint}");
        }
        let own = self.book.own(self.meters.bytes());
        let paid = self.book.last().filter(|paid| paid.accepted);
        let paid = paid.map_or(0, |paid| paid.signed.voucher.amount);
        Ok(Round { settled: own == (ask.up_bytes, ask.down_bytes) && paid == ask.amount })
    }

    async fn ask(&self) -> Result<Ask, String> {
        let answer = self.pool.fetch(Method::GET, USAGE_PATH, Bytes::new()).await;
        let answer = answer.map_err(|refusal| format!("asking for usage: {refusal}"))?;
        match answer.status {
            StatusCode::OK => json::parse_ask(&answer.body)
                .map_err(|error| format!("the relay's usage answer is not valid: {error}")),
            StatusCode::NOT_FOUND => {
                Err("the relay bills nothing to this token's grant; its operator has set no \
                     channel for it"
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

    /// What was sent can be claimed, so it is on disk before: a voucher that can't be saved stays
    /// here, and the next round tries again.
    async fn save_and_send(
        &mut self,
        signed: SignedVoucher,
        bytes: (u64, u64),
    ) -> Result<(), String> {
        if !self.save(false).await {
            return Err("the payer state can't be saved; no voucher is sent before it is".into());
        }
        self.send(signed, bytes).await
    }

    async fn send(&mut self, signed: SignedVoucher, bytes: (u64, u64)) -> Result<(), String> {
        let body = Bytes::from(json::voucher(&signed, bytes));
        let answer = self.pool.fetch(Method::POST, VOUCHER_PATH, body).await;
        let answer = answer.map_err(|refusal| format!("sending a voucher: {refusal}"))?;
        let voucher = signed.voucher;
        let accepted = answer.status == StatusCode::OK;
        if accepted {
            debug!(seq = voucher.seq, amount = %voucher.amount, "voucher accepted");
            self.book.accepted(voucher.seq);
        } else if answer.status == StatusCode::UNPROCESSABLE_ENTITY {
            self.book.rejected(voucher.seq);
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

    /// Saves what changed; returns whether it is on disk. An error is reported and tried again.
    async fn save(&mut self, clean: bool) -> bool {
        let state = self.book.state(self.meters.bytes(), clean);
        if state == self.saved {
            return true;
        }
        let (file, copy) = (Arc::clone(&self.file), state.clone());
        let written = tokio::task::spawn_blocking(move || file.save(&copy)).await;
        match written {
            Ok(Ok(())) => {
                if clean {
                    info!("payer state saved");
                }
                self.saved = state;
                return true;
            }
            Ok(Err(error)) => warn!(%error, "payer state not saved"),
            Err(error) => warn!(%error, "payer state not saved"),
        }
        false
    }
}
