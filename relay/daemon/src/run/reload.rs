//! SIGHUP: a new certificate, new grants, a new exit policy, without touching a connection.

use std::sync::Arc;

use weir_core::Command;

use crate::config::{Config, check};
use crate::state::State;
use crate::{policy, tls};

/// Reads the configuration again. One that is wrong changes nothing.
pub(super) fn reload(state: &State) {
    let old = state.config.load_full();
    let new = match Config::load(&old.file).and_then(|config| {
        check::environment(&config)?;
        Ok(config)
    }) {
        Ok(new) => new,
        Err(report) => {
            tracing::error!("the old configuration stays in force:\n{report}");
            return;
        }
    };
    let identity = match tls::load(&new.tls, &old.relay.run_dir) {
        Ok(identity) => identity,
        Err(error) => {
            tracing::error!("the old configuration stays in force: {error}");
            return;
        }
    };
    for section in fixed(&old, &new) {
        tracing::warn!("[{section}] changed; that takes effect at the next start");
    }
    let mut merged = Config::clone(&old);
    merged.tls = new.tls;
    merged.exit = new.exit;
    merged.grants = new.grants;
    let peers = &state.peers;
    peers.command(&Command::Tls(identity.server));
    peers.command(&Command::Policy(Arc::new(policy::from_config(&merged.exit, &merged.relay))));
    peers.command(&Command::Grants(Arc::new(
        state.accounts.grants(&merged.grants, merged.tokens.as_ref()),
    )));
    tracing::info!(
        grants = merged.grants.len(),
        sha256 = identity.fingerprint,
        "configuration reloaded"
    );
    state.fingerprint.store(Arc::new(identity.fingerprint));
    state.config.store(Arc::new(merged));
}

/// The sections that changed although only a start reads them.
fn fixed(old: &Config, new: &Config) -> Vec<&'static str> {
    let mut limits = new.limits.clone();
    // The running value may have been lowered to fit the limit of open files.
    limits.sockets = old.limits.sockets;
    [
        ("relay", old.relay != new.relay),
        ("log", old.log != new.log),
        ("io", old.io != new.io),
        ("xdp", old.xdp != new.xdp),
        ("dns", old.dns != new.dns),
        ("limits", old.limits != limits),
        ("settle", old.settle != new.settle),
        ("access", old.tokens != new.tokens),
    ]
    .into_iter()
    .filter_map(|(section, changed)| changed.then_some(section))
    .collect()
}
