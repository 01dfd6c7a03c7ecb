//! The client as a whole: opened once, run until told to stop.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing::info;

use crate::gate::Gate;
use crate::meter::Meters;
use crate::payer::{self, Payer};
use crate::quality::{self, Watcher};
use crate::relay::{Answer, Pool};
use crate::{ClientConfig, Error, RelayUrl, SettleReport, UsageSnapshot};
use crate::{admin, http_proxy, socks};

/// How long stopping may take to pay for the last bytes.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// A client whose ports are open and whose first connection to the relay stands.
pub struct Client {
    shared: Arc<Shared>,
    worker: Option<payer::Worker>,
    watcher: Option<Watcher>,
    socks: Option<(TcpListener, SocketAddr)>,
    http: Option<(TcpListener, SocketAddr)>,
    admin: Option<(TcpListener, SocketAddr)>,
}

/// What the admin endpoint shows and does.
pub(crate) struct Shared {
    relay: RelayUrl,
    started: Instant,
    pool: Arc<Pool>,
    meters: Arc<Meters>,
    payer: Option<Payer>,
}

impl Client {
    /// Opens the local ports, connects to the relay and checks that it accepts the token, so
    /// that a wrong URL, certificate, token or port is reported here and not by the first tunnel.
    ///
    /// Must be called inside a tokio runtime.
    pub async fn start(config: ClientConfig) -> Result<Client, Error> {
        config.validate()?;
        let socks = listen("SOCKS5", config.socks).await?;
        let http = listen("the HTTP proxy", config.http).await?;
        let admin = listen("the admin endpoint", config.admin).await?;
        let open = |payer| payer::open(payer, &config.relay, config.tolerance);
        let opened = config.payer.as_ref().map(open).transpose()?;
        let measured = match (&config.sla, &config.payer) {
            (Some(sla), Some(payer)) => Some(quality::open(sla, payer)?),
            _ => None,
        };
        let meters = Arc::new(Meters::default());
        let gate = Gate::default();
        let pool = Arc::new(Pool::start(&config, Arc::clone(&meters), gate.clone()).await?);
        let answer = first_answer(&pool, &config).await?;
        if let Some(opened) = &opened {
            opened
                .check_terms(&answer, &gate)
                .map_err(|problem| Error::Terms { relay: config.relay.to_string(), problem })?;
        }
        let (payer, worker) = opened
            .map(|opened| opened.into_parts(Arc::clone(&pool), Arc::clone(&meters), gate))
            .unzip();
        let watcher =
            measured.map(|opened| Watcher::new(opened, Arc::clone(&pool), Arc::clone(&meters)));
        info!(relay = %config.relay, "connected to the relay");
        let started = Instant::now();
        let shared = Arc::new(Shared { relay: config.relay, started, pool, meters, payer });
        Ok(Client { shared, worker, watcher, socks, http, admin })
    }

    /// Where SOCKS5 is served.
    pub fn socks_addr(&self) -> Option<SocketAddr> {
        self.socks.as_ref().map(|(_, address)| *address)
    }

    /// Where the HTTP CONNECT proxy is served.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(|(_, address)| *address)
    }

    /// Where `GET /usage` and `POST /settle` are served.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(_, address)| *address)
    }

    /// What was counted so far.
    pub fn usage(&self) -> UsageSnapshot {
        self.shared.usage()
    }

    /// Serves until `stop` completes; then signs for what is still unpaid (a few seconds at
    /// most), saves the payer's state and closes the connections.
    ///
    /// A lost relay is not an error: the client reconnects until it is stopped.
    ///
    /// # Errors
    /// [`Error::Overbilled`] ends it before, once that lasted.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        let Client { shared, worker, watcher, socks, http, admin } = self;
        let mut servers = JoinSet::new();
        if let Some((listener, _)) = socks {
            servers.spawn(socks::serve(listener, Arc::clone(&shared.pool)));
        }
        if let Some((listener, _)) = http {
            servers.spawn(http_proxy::serve(listener, Arc::clone(&shared.pool)));
        }
        if let Some((listener, _)) = admin {
            servers.spawn(admin::serve(listener, Arc::clone(&shared)));
        }
        if let Some(watcher) = watcher {
            servers.spawn(watcher.run());
        }
        let (stop_payer, stopped) = oneshot::channel::<()>();
        let mut payer = worker.map(|worker| {
            let stopped = async {
                let _ = stopped.await;
            };
            tokio::spawn(worker.run(stopped, STOP_GRACE))
        });
        tokio::pin!(stop);
        let ended = match &mut payer {
            None => {
                stop.await;
                None
            }
            Some(payer) => tokio::select! {
                () = &mut stop => None,
                // It ends by itself only when it is through with the relay.
                ended = payer => Some(ended),
            },
        };
        servers.abort_all();
        drop(stop_payer);
        let ended = match (ended, payer) {
            (Some(ended), _) => Some(ended),
            (None, Some(payer)) => Some(payer.await),
            (None, None) => None,
        };
        shared.pool.close().await;
        match ended {
            Some(Ok(Err(problem))) => {
                Err(Error::Overbilled { relay: shared.relay.to_string(), problem })
            }
            _ => Ok(()),
        }
    }
}

impl Shared {
    pub(crate) fn usage(&self) -> UsageSnapshot {
        let meters = self.meters.snapshot();
        let since_start = (meters.total.up.bytes, meters.total.down.bytes);
        UsageSnapshot {
            relay: self.relay.to_string(),
            connections: self.pool.live(),
            uptime_s: self.started.elapsed().as_secs(),
            tcp: meters.tcp,
            udp: meters.udp,
            total: meters.total,
            targets: meters.targets,
            open: meters.open,
            payment: self.payer.as_ref().map(|payer| payer.usage(since_start)),
        }
    }

    /// `None` without a payer.
    pub(crate) async fn settle(&self, timeout: Duration) -> Option<SettleReport> {
        self.payer.as_ref()?.settle(timeout).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("relay", &self.shared.relay)
            .field("socks", &self.socks_addr())
            .field("http", &self.http_addr())
            .field("admin", &self.admin_addr())
            .finish_non_exhaustive()
    }
}

async fn listen(
    purpose: &'static str,
    address: Option<SocketAddr>,
) -> Result<Option<(TcpListener, SocketAddr)>, Error> {
    let Some(address) = address else { return Ok(None) };
    let failed = |source| Error::Listen { purpose, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok(Some((listener, bound)))
}

/// Any relay answers 401 or 407 to a token that it does not know; whether it has this resource,
/// and whether its sidecar is there, does not matter yet.
async fn first_answer(pool: &Pool, config: &ClientConfig) -> Result<Answer, Error> {
    let answer = pool.fetch(Method::GET, payer::USAGE_PATH, Bytes::new()).await;
    let answer = answer.map_err(|refusal| Error::Relay {
        relay: config.relay.to_string(),
        problem: format!("the first request failed: {refusal}"),
    })?;
    let refused = matches!(
        answer.status,
        StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED
    );
    if !refused {
        return Ok(answer);
    }
    if config.wallet.is_some() {
        let problem = "the relay refused the first token; is it for this exit, and in its epoch?";
        return Err(Error::config("wallet", problem));
    }
    let problem = match config.token {
        Some(_) => "the relay refused it; ask its operator for the token of your grant",
        None => "the relay wants one; ask its operator for the token of your grant",
    };
    Err(Error::config("token", format!("{problem} (relay: {})", answer.status.as_u16())))
}
