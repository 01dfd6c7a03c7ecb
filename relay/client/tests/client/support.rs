//! A small MASQUE relay made of quinn and h3's server, and applications to drive a client with.
//! Everything runs over real sockets on loopback.

pub(crate) mod apps;
pub(crate) mod ledger;
pub(crate) mod relay;

use std::time::{Duration, Instant};

pub(crate) use ledger::Ledger;
pub(crate) use relay::{TOKEN, TestRelay};
use tokio::sync::oneshot;
use weir_client::{Client, ClientConfig, Error, Trust, UsageSnapshot};

/// A running client, stopped by [`Running::stop`].
pub(crate) struct Running {
    pub(crate) socks: std::net::SocketAddr,
    pub(crate) http: std::net::SocketAddr,
    pub(crate) admin: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), Error>>,
}

/// A configuration for the relay with all listeners on free ports.
pub(crate) fn config(relay: &TestRelay) -> ClientConfig {
    let url = format!("https://{}", relay.address);
    let mut config = ClientConfig::new(url.parse().unwrap());
    config.token = Some(TOKEN.parse().unwrap());
    config.trust = Trust::Pinned(relay.pin);
    let any = "127.0.0.1:0".parse().unwrap();
    (config.socks, config.http, config.admin) = (Some(any), Some(any), Some(any));
    config
}

pub(crate) async fn start(config: ClientConfig) -> Running {
    let client = Client::start(config).await.unwrap();
    let (socks, http) = (client.socks_addr().unwrap(), client.http_addr().unwrap());
    let admin = client.admin_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(client.run(async {
        let _ = stopped.await;
    }));
    Running { socks, http, admin, stop, task }
}

impl Running {
    pub(crate) async fn usage(&self) -> UsageSnapshot {
        weir_client::fetch_usage(self.admin).await.unwrap()
    }

    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap().unwrap();
    }

    /// As if the process were killed: nothing is saved or paid on the way out.
    pub(crate) fn kill(self) {
        self.task.abort();
    }
}

/// Polls until the condition holds; the test fails if it never does.
pub(crate) async fn eventually<F: Future<Output = bool>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
