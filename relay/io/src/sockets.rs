//! Sockets as the relay needs them: client-facing groups and target-facing connections.

mod client;
mod target;

pub use client::{ClientOptions, ClientSocket, WorkerSockets, bind_workers};
pub(crate) use target::{RouteFinder, open_tcp, open_udp, reset_on_close};
