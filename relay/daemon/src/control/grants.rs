//! Grants of the configuration to grants of the engine, keeping their credit over reloads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use weir_core::{CreditLine, Grant, Grants};

use crate::config::{GrantConfig, IssuerConfig, TokensConfig};

/// A payer's account with this exit.
pub(crate) type Lane = ([u8; 32], u32);

/// The credit lines of all lanes that were ever configured, and the names of all grants. A grant
/// that is removed and comes back finds its account as it was.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Of grants that are billed: several may share an account.
    lines: HashMap<Lane, Arc<CreditLine>>,
    /// Of grants that aren't: they only count what is used.
    free: HashMap<String, Arc<CreditLine>>,
    ids: HashMap<String, u32>,
    /// The largest of those that the configuration in force says of a lane's grants.
    committed_kbps: HashMap<Lane, u64>,
}

impl Accounts {
    /// The engine's view of the configured grants, with those of token issuers.
    pub(crate) fn grants(
        &self,
        configured: &[GrantConfig],
        tokens: Option<&TokensConfig>,
    ) -> Grants {
        let secrets = configured.iter().map(|config| config.token_sha256);
        self.inner.lock().expect("no holder of this lock panics").commit(configured);
        let issuers = tokens.map(|tokens| self.issuers(tokens)).unwrap_or_default();
        Grants::new(secrets.zip(self.configured(configured)))
            .with_issuers(issuers.iter().map(|grant| grant.id))
    }

    /// What token issuers pay with, in the order of the configuration. Nothing is granted by these
    /// but through a token.
    pub(crate) fn issuers(&self, tokens: &TokensConfig) -> Vec<Grant> {
        let mut inner = self.inner.lock().expect("no holder of this lock panics");
        let as_grant = |issuer: &IssuerConfig| GrantConfig {
            // Apart from the names of [[grant]]: an issuer may have one of those too.
            name: format!("token:{}", issuer.name),
            token_sha256: [0; 32],
            channel: Some(issuer.channel),
            lane: issuer.lane,
            committed_kbps: None,
            tunnels: None,
        };
        tokens.issuers.iter().map(|issuer| inner.grant(&as_grant(issuer))).collect()
    }

    /// The configured grants with their accounts, in the order of the configuration.
    pub(crate) fn configured(&self, configured: &[GrantConfig]) -> Vec<Arc<Grant>> {
        let mut inner = self.inner.lock().expect("no holder of this lock panics");
        configured.iter().map(|config| Arc::new(inner.grant(config))).collect()
    }

    /// All lanes, their lines, and the rates that were agreed on.
    pub(crate) fn lanes(&self) -> Vec<(Lane, Arc<CreditLine>, Option<u64>)> {
        let inner = self.inner.lock().expect("no holder of this lock panics");
        let rate = |lane| inner.committed_kbps.get(lane).copied();
        inner.lines.iter().map(|(lane, line)| (*lane, Arc::clone(line), rate(lane))).collect()
    }
}

impl Inner {
    fn commit(&mut self, configured: &[GrantConfig]) {
        self.committed_kbps.clear();
        for grant in configured {
            if let (Some(channel), Some(kbps)) = (grant.channel, grant.committed_kbps) {
                let rate = self.committed_kbps.entry((channel, grant.lane)).or_default();
                *rate = kbps.max(*rate);
            }
        }
    }

    fn grant(&mut self, config: &GrantConfig) -> Grant {
        let next = self.ids.len() as u32;
        let id = *self.ids.entry(config.name.clone()).or_insert(next);
        let line = match config.channel {
            None => self
                .free
                .entry(config.name.clone())
                .or_insert_with(|| Arc::new(CreditLine::unlimited())),
            // Nothing is forwarded on credit until the sidecar has said how much is left.
            Some(channel) => self
                .lines
                .entry((channel, config.lane))
                .or_insert_with(|| Arc::new(CreditLine::new(0))),
        };
        Grant {
            id,
            name: config.name.clone(),
            channel: config.channel,
            lane: config.lane,
            max_tunnels: config.tunnels,
            credit: Arc::clone(line),
            allowance: None,
        }
    }
}
