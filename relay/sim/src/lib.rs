//! A world around one real engine: clients, a network, targets and a clock, all in memory and all
//! driven by one seed. For tests; nothing here is part of the relay.
//!
//! Time is virtual: [`World::run_for`] and [`World::run_until`] jump from event to event. Clients
//! are quinn-proto clients that speak HTTP/3 by weir-proto. The I/O side ([`io::SimIo`]) checks
//! that the engine keeps the rules of [`weir_core::port`], and the ledger ([`ledger::SimLedger`])
//! that the counters always add up.
#![forbid(unsafe_code)]

pub mod client;
pub mod config;
pub mod dns;
pub mod io;
pub mod ledger;
pub mod network;
pub mod rng;
pub mod scenario;
pub mod tcp;
pub mod tls;
pub mod udp;
pub mod world;

pub use client::{Client, ClientOptions, Stream};
pub use config::{GRANT_TOKEN, relay_config};
pub use dns::Name;
pub use network::{Bottleneck, Link};
pub use tcp::TcpTarget;
pub use udp::UdpTarget;
pub use world::{ClientId, World};
