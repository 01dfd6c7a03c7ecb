//! Targets ([`serve`]) and applications ([`drive`]) with deterministic payloads.

pub mod drive;
pub mod path;
pub mod pattern;
pub mod serve;
mod tls;
