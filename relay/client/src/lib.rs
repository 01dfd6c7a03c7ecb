//! The payer's side of a relay: a local SOCKS5 and HTTP CONNECT proxy whose tunnels leave through
//! a MASQUE relay over one QUIC connection, and which counts, checks and pays for what it got.
//!
//! TCP goes through CONNECT (RFC 9114 section 4.4), UDP through CONNECT-UDP (RFC 9298) with HTTP
//! Datagrams (RFC 9297). Names are resolved by the relay, never here.
//!
//! The crate is built on quinn and h3 and shares no protocol code with the relay, so each checks
//! the other.
//!
//! ```no_run
//! # async fn example() -> Result<(), weir_client::Error> {
//! use weir_client::{Client, ClientConfig};
//!
//! let mut config = ClientConfig::new("https://exit.example:4433".parse()?);
//! config.token = Some("secret".parse()?);
//! config.socks = Some("127.0.0.1:1080".parse().unwrap());
//! let client = Client::start(config).await?;
//! println!("SOCKS5 on {:?}", client.socks_addr());
//! client.run(async { tokio::signal::ctrl_c().await.unwrap() }).await?;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod admin;
mod client;
mod config;
mod error;
mod gate;
mod hex;
mod http1;
mod http_proxy;
mod meter;
mod payer;
pub mod purse;
mod quality;
mod refusal;
mod relay;
mod socks;
mod target;
mod tcp;
mod usage;

pub use admin::{fetch_usage, request_settle};
pub use client::Client;
pub use config::{Budget, ClientConfig, PayerConfig, RelayUrl, SlaConfig, Token, Trust};
pub use error::Error;
pub use usage::{
    DirectionUsage, KindUsage, PaymentUsage, SettleReport, TargetUsage, TunnelKind, TunnelUsage,
    UsageSnapshot,
};
