//! A MASQUE relay, as a spec names it.

use std::net::SocketAddr;

use anyhow::{Context, bail, ensure};

use crate::quic::Trust;
use crate::spec;

/// What is known of a relay.
#[derive(Clone, Debug)]
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    pub(super) server_name: String,
    pub(super) authorization: Option<String>,
    pub(super) trust: Trust,
    pub(super) connections: u32,
}

impl Relay {
    /// `connections` overrules the way's own number.
    pub(super) fn new(way: &spec::Way, connections: Option<u32>) -> anyhow::Result<Relay> {
        let spec::Way::Masque { relay, server_name, ca, authorization, connections: own } = way
        else {
            bail!("not a MASQUE relay");
        };
        let connections = connections.unwrap_or(*own);
        ensure!(connections > 0, "no connections");
        let read = |path: &std::path::PathBuf| {
            std::fs::read_to_string(path).with_context(|| path.display().to_string())
        };
        let authorization = authorization.as_ref().map(read).transpose()?;
        Ok(Relay {
            address: *relay,
            server_name: server_name.clone(),
            authorization: authorization.map(|value| value.trim().to_owned()),
            trust: Trust::new(ca.as_deref())?,
            connections,
        })
    }
}
