//! The control plane: answers what engines ask, and everything else that isn't a packet.
//! One thread, one tokio runtime.

pub(crate) mod access;
pub(crate) mod credit;
pub(crate) mod export;
pub(crate) mod grants;
pub(crate) mod questions;
pub(crate) mod resolver;
pub(crate) mod resources;
pub(crate) mod settle;
pub(crate) mod tokens;
