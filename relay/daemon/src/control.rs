//! The control plane: answers what engines ask, and everything else that isn't a packet.
//! One thread, one tokio runtime.

pub mod credit;
pub mod export;
pub mod grants;
pub mod questions;
pub mod resolver;
pub mod resources;
pub mod settle;
