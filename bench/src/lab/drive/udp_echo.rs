//! Datagrams of mixed sizes through an echo server. Nothing is sent twice: what does not come back
//! is lost, and what comes back is compared byte by byte.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use super::Outcome;
use super::latency::Latencies;
use crate::lab::path::{Target, Via};
use crate::lab::pattern;

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub via: Via,
    /// The echo server, host:port.
    #[arg(long)]
    pub target: Target,
    /// Datagrams to send.
    #[arg(long, default_value_t = 1000)]
    pub count: u64,
    /// Payload sizes, MIN..=MAX; chosen by the seed.
    #[arg(long, default_value = "0..=1200", value_parser = parse_sizes)]
    pub sizes: RangeInclusive<usize>,
    /// Datagrams under way at a time.
    #[arg(long, default_value_t = 64)]
    pub window: usize,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// A datagram that is not back after this many milliseconds is lost.
    #[arg(long, default_value_t = 2000)]
    pub loss_ms: u64,
    /// Fail only if more than this many are lost.
    #[arg(long, default_value_t = 0)]
    pub allow_lost: u64,
}

struct Outstanding {
    index: u64,
    size: usize,
    sent: Instant,
}

/// The payload of a datagram: bytes of a stream of its own.
fn content(seed: u64, index: u64, out: &mut [u8]) {
    pattern::fill(seed.wrapping_add(index << 20), 0, out);
}

pub(super) async fn run(args: Args) -> Result<Outcome> {
    let path = args.via.udp(&args.target).await?;
    let loss = Duration::from_millis(args.loss_ms);
    let span = (args.sizes.end() - args.sizes.start() + 1) as u64;
    let mut outstanding: VecDeque<Outstanding> = VecDeque::with_capacity(args.window);
    let mut latencies = Latencies::default();
    let (mut sent, mut received, mut lost, mut alien) = (0, 0u64, 0u64, 0u64);
    let mut payload = vec![0; *args.sizes.end()];
    let mut expected = vec![0; *args.sizes.end()];
    let mut reply = vec![0; 65_536];
    let start = Instant::now();
    while sent < args.count || !outstanding.is_empty() {
        while sent < args.count && outstanding.len() < args.window {
            let size = args.sizes.start() + pattern::choose(args.seed, sent, span) as usize;
            content(args.seed, sent, &mut payload[..size]);
            path.send(&payload[..size]).await?;
            outstanding.push_back(Outstanding { index: sent, size, sent: Instant::now() });
            sent += 1;
        }
        let oldest = outstanding.front().map_or_else(Instant::now, |oldest| oldest.sent);
        let patience = (oldest + loss).saturating_duration_since(Instant::now());
        match tokio::time::timeout(patience, path.receive(&mut reply)).await {
            Err(_) => {
                outstanding.pop_front();
                lost += 1;
            }
            Ok(Err(error)) => return Err(error.into()),
            Ok(Ok(length)) => {
                let reply = &reply[..length];
                // Small datagrams may be alike; the oldest that fits is taken.
                let found = outstanding.iter().position(|candidate| {
                    if candidate.size != length {
                        return false;
                    }
                    let expected = &mut expected[..candidate.size];
                    content(args.seed, candidate.index, expected);
                    expected == reply
                });
                match found.and_then(|at| outstanding.remove(at)) {
                    Some(echoed) => {
                        latencies.record(echoed.sent.elapsed());
                        received += 1;
                    }
                    None => alien += 1,
                }
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let fields = json!({
        "sent": sent,
        "received": received,
        "lost": lost,
        "unexpected": alien,
        "payload": path.counts(),
        "verified": alien == 0,
        "rtt": latencies.json(),
        "seconds": seconds,
        "datagrams_per_s": received as f64 / seconds,
    });
    Ok(Outcome::check(fields, lost <= args.allow_lost && alien == 0, || {
        format!("{lost} of {sent} datagrams lost, {alien} replies that match nothing")
    }))
}

fn parse_sizes(text: &str) -> Result<RangeInclusive<usize>, String> {
    let wrong = || format!("{text:?} is not MIN..=MAX with MAX at most 65507");
    let (low, high) = text.split_once("..=").unwrap_or((text, text));
    let (low, high): (usize, usize) =
        (low.parse().map_err(|_| wrong())?, high.parse().map_err(|_| wrong())?);
    if low > high || high > 65_507 { Err(wrong()) } else { Ok(low..=high) }
}
