//! Round-trip time of one datagram at a time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use super::Outcome;
use super::latency::Latencies;
use crate::lab::path::{Target, UdpPath, Via};
use crate::lab::pattern;

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub via: Via,
    /// The echo server as the proxy names it, host:port.
    #[arg(long)]
    pub target: Target,
    /// The echo server as this host reaches it without the proxy. Both are then probed in turn,
    /// so that both see the same load.
    #[arg(long)]
    pub direct: Option<Target>,
    /// Probes per path.
    #[arg(long, default_value_t = 1000)]
    pub count: u64,
    /// Payload bytes of a probe.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(8..=1200))]
    pub size: u16,
}

const LOSS: Duration = Duration::from_secs(2);

/// Tunnels are opened and caches warmed before anything is measured.
const WARM_UP: u64 = 10;

struct Probe {
    path: UdpPath,
    latencies: Latencies,
    lost: u64,
}

impl Probe {
    fn new(path: UdpPath) -> Probe {
        Probe { path, latencies: Latencies::default(), lost: 0 }
    }

    /// One round trip; `None` if it was lost.
    async fn once(&mut self, index: u64, size: usize) -> Result<Option<Duration>> {
        let mut payload = vec![0; size];
        pattern::fill(index, 0, &mut payload);
        let start = Instant::now();
        self.path.send(&payload).await?;
        let deadline = tokio::time::Instant::from_std(start + LOSS);
        let mut reply = vec![0; 65_536];
        loop {
            match tokio::time::timeout_at(deadline, self.path.receive(&mut reply)).await {
                Err(_) => return Ok(None),
                Ok(Err(error)) => return Err(error.into()),
                // Late replies to earlier probes are passed over.
                Ok(Ok(length)) if reply[..length] == payload[..] => {
                    return Ok(Some(start.elapsed()));
                }
                Ok(_) => {}
            }
        }
    }

    async fn measure(&mut self, index: u64, size: usize) -> Result<()> {
        match self.once(index, size).await? {
            Some(latency) if index >= WARM_UP => self.latencies.record(latency),
            Some(_) => {}
            None => self.lost += 1,
        }
        Ok(())
    }
}

pub(super) async fn run(args: Args) -> Result<Outcome> {
    let size = usize::from(args.size);
    let mut proxied = Probe::new(args.via.udp(&args.target).await?);
    let mut direct = match &args.direct {
        Some(target) => {
            let path = Via::default().udp(target).await.context("the direct path")?;
            Some(Probe::new(path))
        }
        None => None,
    };
    for index in 0..args.count + WARM_UP {
        proxied.measure(index, size).await?;
        if let Some(direct) = &mut direct {
            direct.measure(index, size).await?;
        }
    }
    let mut fields = json!({
        "size": size,
        "payload": proxied.path.counts(),
        "rtt": proxied.latencies.json(),
        "lost": proxied.lost,
    });
    if let Some(direct) = &direct {
        fields["direct"] = direct.latencies.json();
        fields["direct_lost"] = direct.lost.into();
        let added = |q| proxied.latencies.us(q) - direct.latencies.us(q);
        fields["added_us"] = json!({ "p50": added(0.5), "p99": added(0.99) });
    }
    let lost = proxied.lost + direct.map_or(0, |direct| direct.lost);
    Ok(Outcome::check(fields, lost == 0, || format!("{lost} probes lost")))
}
