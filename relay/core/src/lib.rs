//! The sans-IO engine of the relay: QUIC, HTTP/3, CONNECT and CONNECT-UDP tunnels, who may use
//! them and what they carried.
//!
//! One [`Engine`] belongs to one worker. Nothing in here does I/O, reads a clock, starts a thread
//! or draws randomness of its own: time and a seed come in as arguments. A worker's turn is
//!
//! 1. [`port::Io::turn`] waits and feeds events into the engine, which is a [`port::Handler`];
//! 2. [`Engine::handle_control`], [`Engine::handle_command`] with what the control plane sent;
//! 3. [`Engine::handle_timeout`];
//! 4. [`turn::flush`] moves what the engine wants to send into the buffers of the backend;
//! 5. [`Engine::publish`] writes the counters that moved, and gives tunnels that opened in this
//!    turn their slot in the ledger;
//! 6. [`Engine::poll_control`] until it is empty;
//! 7. the next [`port::Io::turn`] waits until [`Engine::poll_timeout`], which is in the past as
//!    long as there is something to flush.
#![forbid(unsafe_code)]

mod admission;
mod answer;
mod chunks;
pub mod config;
mod connection;
pub mod control;
mod core;
pub mod credit;
mod deficit;
mod egress;
mod engine;
mod error;
pub mod grants;
mod held;
pub mod ledger;
mod meter;
pub mod policy;
pub mod port;
mod queries;
mod quic;
pub mod stats;
mod timers;
mod tunnel;
pub mod turn;

pub use config::{CidFactory, CongestionControl, EndpointKeys, EngineConfig, Limits, QuicConfig};
pub use control::{Command, ControlReply, ControlRequest, QueryId, ResolveError, TokenRefusal};
pub use credit::CreditLine;
pub use engine::Engine;
pub use error::Error;
pub use grants::{Grant, Grants};
pub use policy::{Cidr, Policy, Refusal};
pub use stats::EngineStats;

/// Where CONNECT-UDP is served, for [`EngineConfig::templates`].
pub use weir_proto::template::Templates;
