//! Keeps the configured number of connections up and spreads tunnels over them.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::access::Source;
use super::datagram::Deliver;
use super::dial::Dialer;
use super::link::{Answer, Link, OpenError, TcpTunnel, UdpTunnel};
use crate::gate::Gate;
use crate::meter::Meters;
use crate::refusal::Refusal;
use crate::target::Target;
use crate::{ClientConfig, Error, RelayUrl};

/// Pauses between attempts to reconnect: doubled up to a ceiling that a restarted relay and its
/// many clients both live with, and spread by half so that they don't come all at once.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// A new tunnel waits this long for a connection before it is refused: a relay's restart is
/// shorter, and applications give up later.
const LINK_WAIT: Duration = Duration::from_secs(5);

/// A request that met a dying connection is tried on one other.
const ATTEMPTS: usize = 2;

/// The connections of a client.
pub(crate) struct Pool {
    relay: RelayUrl,
    links: watch::Receiver<Vec<Arc<Link>>>,
    next: AtomicUsize,
    gate: Gate,
    keepers: std::sync::Mutex<JoinSet<()>>,
}

struct Keeper {
    dialer: Arc<Dialer>,
    source: Source,
    meters: Arc<Meters>,
    links: watch::Sender<Vec<Arc<Link>>>,
}

impl Pool {
    /// Makes the first connection, whose failure is the caller's to report, and keeps all of them
    /// up from then on.
    pub(crate) async fn start(
        config: &ClientConfig,
        meters: Arc<Meters>,
        gate: Gate,
    ) -> Result<Pool, Error> {
        let dialer = Arc::new(Dialer::new(config)?);
        let source = Source::of(config);
        let first = Link::establish(&dialer, source.clone(), Arc::clone(&meters)).await?;
        let (sender, links) = watch::channel(vec![Arc::clone(&first)]);
        let mut keepers = JoinSet::new();
        let mut established = Some(first);
        for _ in 0..config.connections {
            let keeper = Keeper {
                dialer: Arc::clone(&dialer),
                source: source.clone(),
                meters: Arc::clone(&meters),
                links: sender.clone(),
            };
            keepers.spawn(keeper.keep(established.take()));
        }
        let keepers = std::sync::Mutex::new(keepers);
        let (relay, next) = (config.relay.clone(), AtomicUsize::new(0));
        Ok(Pool { relay, links, next, gate, keepers })
    }

    pub(crate) fn relay(&self) -> &RelayUrl {
        &self.relay
    }

    /// Live connections.
    pub(crate) fn live(&self) -> usize {
        self.links.borrow().len()
    }

    /// What QUIC says of each live connection, by a number that tells them apart.
    pub(crate) fn stats(&self) -> Vec<(usize, quinn::ConnectionStats)> {
        self.links.borrow().iter().map(|link| link.stats()).collect()
    }

    pub(crate) async fn open_tcp(&self, target: &Target) -> Result<TcpTunnel, Refusal> {
        self.gate.pass()?;
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            let link = self.link().await?;
            let shown = link.shown();
            match link.open_tcp(target).await {
                Ok(tunnel) => return Ok(tunnel),
                Err(OpenError::Refused(refusal)) => {
                    match link.renew(shown.as_deref(), &refusal).await {
                        true => last = refusal.to_string(),
                        false => return Err(self.gate.explain(refusal)),
                    }
                }
                Err(OpenError::LinkGone(why)) => last = why,
            }
        }
        Err(Refusal::unavailable(last))
    }

    pub(crate) async fn open_udp(
        &self,
        target: &Target,
        deliver: Deliver,
    ) -> Result<UdpTunnel, Refusal> {
        self.gate.pass()?;
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            let link = self.link().await?;
            let shown = link.shown();
            match link.open_udp(target, Arc::clone(&deliver)).await {
                Ok(tunnel) => return Ok(tunnel),
                Err(OpenError::Refused(refusal)) => {
                    match link.renew(shown.as_deref(), &refusal).await {
                        true => last = refusal.to_string(),
                        false => return Err(self.gate.explain(refusal)),
                    }
                }
                Err(OpenError::LinkGone(why)) => last = why,
            }
        }
        Err(Refusal::unavailable(last))
    }

    pub(crate) async fn fetch(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Answer, Refusal> {
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            match self.link().await?.fetch(method.clone(), path, body.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(OpenError::Refused(refusal)) => return Err(refusal),
                Err(OpenError::LinkGone(why)) => last = why,
            }
        }
        Err(Refusal::unavailable(last))
    }

    /// Closes all connections and makes no new ones.
    pub(crate) async fn close(&self) {
        self.keepers.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).abort_all();
        let links = self.links.borrow().clone();
        for link in links {
            link.close().await;
        }
    }

    async fn link(&self) -> Result<Arc<Link>, Refusal> {
        let mut links = self.links.clone();
        let waiting = links.wait_for(|links| links.iter().any(|link| link.usable()));
        let links = match tokio::time::timeout(LINK_WAIT, waiting).await {
            Ok(Ok(links)) => links.clone(),
            _ => return Err(Refusal::unavailable("the relay can't be reached at the moment")),
        };
        let start = self.next.fetch_add(1, Relaxed);
        let turn = (0..links.len()).map(|offset| &links[(start + offset) % links.len()]);
        let mut usable = turn.filter(|link| link.usable()).cloned();
        usable.next().ok_or_else(|| Refusal::unavailable("the connection to the relay just ended"))
    }
}

impl Keeper {
    async fn keep(self, mut established: Option<Arc<Link>>) {
        loop {
            let link = match established.take() {
                Some(link) => link,
                None => {
                    let link = self.reconnect().await;
                    self.links.send_modify(|links| links.push(Arc::clone(&link)));
                    link
                }
            };
            let why = link.unusable().await;
            self.links.send_modify(|links| links.retain(|other| !Arc::ptr_eq(other, &link)));
            info!(relay = %self.dialer.relay(), %why, "connection to the relay ended, reconnecting");
        }
    }

    async fn reconnect(&self) -> Arc<Link> {
        let mut pause = BACKOFF_FIRST;
        loop {
            let source = self.source.clone();
            match Link::establish(&self.dialer, source, Arc::clone(&self.meters)).await {
                Ok(link) => {
                    info!(relay = %self.dialer.relay(), "connected to the relay");
                    return link;
                }
                Err(error) => warn!(%error, retry_in_ms = pause.as_millis(), "no connection"),
            }
            tokio::time::sleep(spread(pause)).await;
            pause = (pause * 2).min(BACKOFF_MAX);
        }
    }
}

/// Between half and the whole of `pause`.
fn spread(pause: Duration) -> Duration {
    // The hasher's keys are the standard library's only source of randomness; this is no secret.
    let random = RandomState::new().build_hasher().finish() % 1024;
    pause / 2 + pause / 2 * u32::try_from(random).unwrap_or(0) / 1024
}
