//! Names and what they resolve to.

use std::net::IpAddr;
use std::time::Duration;

use weir_core::ResolveError;

/// An entry of the zone. Names that aren't in it don't exist.
#[derive(Clone, Debug)]
pub enum Name {
    Addresses(Vec<IpAddr>),
    Fails(ResolveError),
    /// Never answered.
    Silent,
}

/// How long an answer takes.
pub const DNS_DELAY: Duration = Duration::from_millis(20);
