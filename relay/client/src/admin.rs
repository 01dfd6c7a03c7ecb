//! The loopback endpoint of a running client, and how to ask it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::{Error, SettleReport, UsageSnapshot};

/// Asks a running client for its usage (`weir client usage`).
pub async fn fetch_usage(_admin: SocketAddr) -> Result<UsageSnapshot, Error> {
    unreachable!()
}

/// Makes a running client settle with its relay now: it asks and pays until both sides count the
/// same and all of it is paid, or `timeout` passes.
pub async fn request_settle(
    _admin: SocketAddr,
    _timeout: Duration,
) -> Result<SettleReport, Error> {
    unreachable!()
}
