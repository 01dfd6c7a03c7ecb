//! The relay as a program: configuration, workers, control plane, admin endpoint, commands.
//!
//! Everything meets here. A worker thread runs `weir-core`'s engine over `weir-io`'s backend and
//! never enters tokio; one control thread answers names and resources, exports usage to the
//! settlement sidecar, and serves metrics.
#![forbid(unsafe_code)]

mod admin;
mod cid;
pub mod cli;
pub mod config;
mod control;
pub mod failure;
mod logging;
mod policy;
mod privileges;
mod random;
mod run;
mod run_dir;
mod state;
mod tls;
mod worker;
mod xdp;
