//! QUIC as the generator speaks it.

mod config;
mod steady;
mod tls;

pub(crate) use config::{TRAIN_PACKETS, client, endpoint};
pub(crate) use tls::{Trust, client as tls_client};
