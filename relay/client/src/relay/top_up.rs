//! Spends a further blind token before the last one of a connection is used up: tunnels that are
//! open would stand still otherwise.

use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tracing::debug;

use super::link::Link;

/// At 1 Gbit/s, 25 MB pass between two looks.
const PERIOD: Duration = Duration::from_millis(200);

/// Bytes on the wire below which another look is not worth a request.
const TRAFFIC_MIN: u64 = 64 << 10;

const ALLOWANCE: &str = "/.well-known/weir/allowance";

/// Runs as long as the connection.
pub(super) async fn keep(link: Weak<Link>) {
    let mut seen = 0;
    loop {
        tokio::time::sleep(PERIOD).await;
        let Some(link) = link.upgrade().filter(|link| link.usable()) else { return };
        let bytes = link.wire_bytes();
        if bytes < seen + TRAFFIC_MIN {
            continue;
        }
        seen = bytes;
        let Some((left, used)) = allowance(&link).await else { continue };
        // A quarter of what was bought so far.
        if left < used / 3 && link.add_token().await {
            // Any request that shows it adds it to the session.
            if let Err(error) = link.fetch(Method::GET, ALLOWANCE, Bytes::new()).await {
                debug!(?error, "a further token was not taken");
            }
        }
    }
}

async fn allowance(link: &Link) -> Option<(u64, u64)> {
    let answer = link.fetch(Method::GET, ALLOWANCE, Bytes::new()).await.ok()?;
    let body: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    let number = |name: &str| body[name].as_str()?.parse().ok();
    Some((number("left_bytes")?, number("used_bytes")?))
}
