//! The relay's own resources below `/.well-known/weir/`: what a payer owes, its vouchers, and its
//! samples of the service.

mod sample;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use weir_core::Grant;
use weir_usage::{
    Ask, ChannelId, Digest, Refusal, Signature, SignedVoucher, SlaId, Voucher, VoucherAck,
    VoucherRefused,
};

pub(crate) use sample::SampleJob;

use super::access::Watch;
use super::grants::Lane;

/// How long a payer waits for the sidecar's word on a voucher: an fsync and, rarely, a chain call.
const VOUCHER_TIMEOUT: Duration = Duration::from_secs(10);

/// The ways to the sidecar for what clients post.
#[derive(Debug)]
pub(crate) struct Ways {
    pub vouchers: mpsc::Sender<VoucherJob>,
    pub samples: mpsc::Sender<SampleJob>,
}

/// A voucher on its way to the sidecar.
#[derive(Debug)]
pub(crate) struct VoucherJob {
    pub signed: SignedVoucher,
    pub up_bytes: u64,
    pub down_bytes: u64,
    pub answer: oneshot::Sender<Result<VoucherAck, VoucherRefused>>,
}

/// A complete response; the body is JSON.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// What the resources know. The settlement link fills it in.
#[derive(Debug)]
pub(crate) struct Resources {
    asks: Mutex<HashMap<Lane, Ask>>,
    /// The agreements whose samples the sidecar takes, by channel.
    services: Mutex<HashMap<[u8; 32], SlaId>>,
    connected: AtomicBool,
    /// Nothing is asked while this alarm stands; `None` if it is no reason not to.
    strict: Option<Arc<Watch>>,
    /// `None` when no settlement is configured.
    ways: Option<Ways>,
}

impl Resources {
    pub(crate) fn new(ways: Option<Ways>, strict: Option<Arc<Watch>>) -> Self {
        Self {
            asks: Mutex::default(),
            services: Mutex::default(),
            connected: AtomicBool::new(false),
            strict,
            ways,
        }
    }

    /// The sidecar takes samples of this agreement.
    pub(crate) fn set_service(&self, channel: ChannelId, sla: SlaId) {
        self.services.lock().expect("no holder of this lock panics").insert(channel.0, sla);
    }

    /// The sidecar asks for this now.
    pub(crate) fn set_ask(&self, ask: Ask) {
        let lane = (ask.channel.0, ask.lane);
        self.asks.lock().expect("no holder of this lock panics").insert(lane, ask);
    }

    /// Whether the sidecar is there; without it an ask would be stale.
    pub(crate) fn set_connected(&self, connected: bool) {
        // The next sidecar may be another one, which says itself what it takes.
        self.services.lock().expect("no holder of this lock panics").clear();
        self.connected.store(connected, Ordering::Release);
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    /// Answers a request that showed a valid credential.
    pub(crate) async fn answer(
        &self,
        grant: &Grant,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Answer {
        let path = path.split('?').next().unwrap_or_default();
        // Whoever shows a token is one of its issuer's many customers: what the issuer owes is none
        // of its business, how far its own token goes is.
        if let Some(allowance) = &grant.allowance {
            return match (method, path) {
                ("GET", "/.well-known/weir/allowance") => {
                    let (left, used) = (allowance.left(), allowance.used());
                    let body = json!({
                        "left_bytes": left.to_string(), "used_bytes": used.to_string(),
                    });
                    Answer { status: 200, body: body.to_string().into_bytes() }
                }
                _ => error(404, "a token gives access to `allowance` only"),
            };
        }
        match (method, path) {
            ("GET", "/.well-known/weir/usage") => self.usage(grant),
            ("POST", "/.well-known/weir/voucher") => self.voucher(grant, body).await,
            ("POST", "/.well-known/weir/sample") => self.sample(grant, body).await,
            (
                _,
                "/.well-known/weir/usage"
                | "/.well-known/weir/voucher"
                | "/.well-known/weir/sample",
            ) => error(405, "GET usage, POST voucher, POST sample"),
            _ => error(404, "no such resource"),
        }
    }

    fn usage(&self, grant: &Grant) -> Answer {
        let Some(channel) = grant.channel else {
            return error(404, "this grant is not billed");
        };
        if !self.connected.load(Ordering::Acquire) {
            return error(503, "the settlement service is away");
        }
        // What was signed before is still taken, and nobody's tunnels end but by the credit window.
        if let Some(finding) = self.strict.as_ref().and_then(|watch| watch.finding()) {
            return error(503, &format!("nothing is asked for: {finding}"));
        }
        let asks = self.asks.lock().expect("no holder of this lock panics");
        match asks.get(&(channel, grant.lane)) {
            Some(ask) => Answer { status: 200, body: ask_json(ask).to_string().into_bytes() },
            None => error(503, "nothing was counted for this channel yet"),
        }
    }

    async fn voucher(&self, grant: &Grant, body: &[u8]) -> Answer {
        let (Some(channel), Some(ways)) = (grant.channel, &self.ways) else {
            return error(404, "this grant is not billed");
        };
        let job = match serde_json::from_slice::<VoucherJson>(body)
            .map_err(|error| error.to_string())
            .and_then(VoucherJson::parse)
        {
            Ok(parsed) => parsed,
            Err(reason) => return error(422, &reason),
        };
        let (signed, up_bytes, down_bytes) = job;
        if signed.voucher.channel.0 != channel || signed.voucher.lane != grant.lane {
            return error(422, "the voucher is for another channel or lane than the credential");
        }
        let (answer, answered) = oneshot::channel();
        let job = VoucherJob { signed, up_bytes, down_bytes, answer };
        if !self.connected.load(Ordering::Acquire) || ways.vouchers.try_send(job).is_err() {
            return error(503, "the settlement service is away");
        }
        match tokio::time::timeout(VOUCHER_TIMEOUT, answered).await {
            Ok(Ok(Ok(ack))) => {
                let body = json!({
                    "accepted_amount": ack.amount.to_string(), "seq": ack.seq.to_string(),
                });
                Answer { status: 200, body: body.to_string().into_bytes() }
            }
            Ok(Ok(Err(refused))) if refused.refusal == Refusal::Storage => {
                error(503, &refused.reason)
            }
            Ok(Ok(Err(refused))) => error(422, &refused.reason),
            Ok(Err(_)) | Err(_) => error(503, "the settlement service did not answer"),
        }
    }
}

fn error(status: u16, text: &str) -> Answer {
    Answer { status, body: json!({ "error": text }).to_string().into_bytes() }
}

/// Numbers are strings: JavaScript and JSON have no 64-bit integers.
fn ask_json(ask: &Ask) -> serde_json::Value {
    let last = ask.last.as_ref().map(|last| {
        json!({
            "amount": last.voucher.amount.to_string(),
            "seq": last.voucher.seq.to_string(),
            "usage_head": last.voucher.usage_head.to_string(),
            "signature": hex(&last.signature.0),
        })
    });
    json!({
        "chain_id": ask.domain.chain_id.to_string(),
        "escrow": hex(&ask.domain.escrow.0),
        "channel": ask.channel.to_string(),
        "lane": ask.lane,
        "price_per_gib": ask.price.units_per_gib().to_string(),
        "seq": ask.seq.to_string(),
        "up_bytes": ask.up_bytes.to_string(),
        "down_bytes": ask.down_bytes.to_string(),
        "amount": ask.amount.to_string(),
        "usage_head": ask.usage_head.to_string(),
        "last": last,
    })
}

/// The body of `POST voucher`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VoucherJson {
    channel: String,
    lane: u32,
    amount: String,
    seq: String,
    usage_head: String,
    signature: String,
    up_bytes: String,
    down_bytes: String,
}

impl VoucherJson {
    fn parse(self) -> Result<(SignedVoucher, u64, u64), String> {
        let number = |name: &str, text: &str| {
            text.parse::<u64>().map_err(|_| format!("{name}: not a decimal number"))
        };
        let channel: ChannelId = self.channel.parse().map_err(|error| format!("{error}"))?;
        let usage_head: Digest = self.usage_head.parse().map_err(|error| format!("{error}"))?;
        let signature = unhex(&self.signature).ok_or("signature: not 65 bytes in hex")?;
        let voucher = Voucher {
            channel,
            lane: self.lane,
            amount: self.amount.parse().map_err(|_| "amount: not a decimal number")?,
            seq: number("seq", &self.seq)?,
            usage_head,
        };
        let signed = SignedVoucher { voucher, signature: Signature(signature) };
        Ok((signed, number("up_bytes", &self.up_bytes)?, number("down_bytes", &self.down_bytes)?))
    }
}

/// `0x` and two digits per byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold("0x".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.strip_prefix("0x")?.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = (high << 4 | low) as u8;
    }
    Some(bytes)
}
