//! The service, as it is bought: a client of the exit with its proxies on loopback.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::warn;
use weir_client::{Client, ClientConfig};

use crate::Error;

/// Any free port of loopback.
const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A running client. It pays, reconnects and takes tokens as every client does.
#[derive(Debug)]
pub(crate) struct Customer {
    pub(crate) socks: SocketAddr,
    pub(crate) http: SocketAddr,
    admin: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), weir_client::Error>>,
}

impl Customer {
    pub(crate) async fn start(config: &ClientConfig) -> Result<Customer, Error> {
        let mut config = config.clone();
        (config.socks, config.http, config.admin) = (Some(LOCAL), Some(LOCAL), Some(LOCAL));
        let client = Client::start(config).await?;
        // It was told to serve all three.
        let at = |address: Option<SocketAddr>| address.unwrap_or(LOCAL);
        let (socks, http, admin) =
            (at(client.socks_addr()), at(client.http_addr()), at(client.admin_addr()));
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(client.run(async {
            let _ = stopped.await;
        }));
        Ok(Customer { socks, http, admin, stop, task })
    }

    /// Payload up and down since the start, as the client counts it.
    pub(crate) async fn bytes(&self) -> Result<(u64, u64), Error> {
        let total = weir_client::fetch_usage(self.admin).await?.total;
        Ok((total.up.bytes, total.down.bytes))
    }

    /// Pays for the last bytes and ends.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        match self.task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "the client ended badly"),
            Err(error) => warn!(%error, "the client ended badly"),
        }
    }
}
