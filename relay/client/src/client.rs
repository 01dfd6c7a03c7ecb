//! The client as a whole: opened once, run until told to stop.

use std::net::SocketAddr;

use crate::{ClientConfig, Error, UsageSnapshot};

/// A client whose ports are open and whose first connection to the relay stands.
#[derive(Debug)]
pub struct Client {}

impl Client {
    /// Opens the local ports, connects to the relay and checks that it accepts the token, so
    /// that a wrong URL, certificate, token or port is reported here and not by the first tunnel.
    ///
    /// Must be called inside a tokio runtime.
    pub async fn start(config: ClientConfig) -> Result<Client, Error> {
        config.validate()?;
        unreachable!()
    }

    /// Where SOCKS5 is served.
    pub fn socks_addr(&self) -> Option<SocketAddr> {
        None
    }

    /// Where the HTTP CONNECT proxy is served.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        None
    }

    /// Where `GET /usage` and `POST /settle` are served.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        None
    }

    /// What was counted so far.
    pub fn usage(&self) -> UsageSnapshot {
        unreachable!()
    }

    /// Serves until `stop` completes; then closes the tunnels, signs for what is still unpaid
    /// (a few seconds at most), saves the payer's state and closes the connections.
    ///
    /// A lost relay is not an error: the client reconnects until it is stopped.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        stop.await;
        Ok(())
    }
}
