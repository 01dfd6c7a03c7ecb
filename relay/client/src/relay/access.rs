//! What requests show to be admitted: the token of a grant, or a blind token from the wallet.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tracing::{info, warn};
use weir_blind::{Wallet, write_token};

use crate::{ClientConfig, Token};

/// Where credentials come from; shared by all connections.
#[derive(Clone)]
pub(super) enum Source {
    Nothing,
    Grant(Token),
    Wallet(Arc<Wallet>),
}

/// The credential of one connection.
pub(super) struct Access {
    source: Source,
    /// The blind token that was taken last, as it is shown.
    blind: Mutex<Option<String>>,
}

impl Source {
    pub(super) fn of(config: &ClientConfig) -> Source {
        match (&config.wallet, &config.token) {
            (Some(path), _) => Source::Wallet(Arc::new(Wallet::new(path))),
            (None, Some(token)) => Source::Grant(token.clone()),
            (None, None) => Source::Nothing,
        }
    }
}

impl Access {
    /// For a new connection. A token is never shown on two: it would tie them together, and the
    /// relay would refuse it.
    pub(super) async fn new(source: Source) -> Access {
        let access = Access { source, blind: Mutex::new(None) };
        access.renew(None).await;
        access
    }

    /// The value of `Authorization` or `Proxy-Authorization`.
    pub(super) fn shown(&self) -> Option<String> {
        match &self.source {
            Source::Nothing => None,
            Source::Grant(token) => Some(format!("Bearer {}", token.reveal())),
            Source::Wallet(_) => self.blind.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    pub(super) fn is_blind(&self) -> bool {
        matches!(self.source, Source::Wallet(_))
    }

    /// Takes another token from the wallet in the place of `old`, unless somebody else did. Returns
    /// whether there is another one to show.
    pub(super) async fn renew(&self, old: Option<&str>) -> bool {
        let Source::Wallet(wallet) = &self.source else { return false };
        if self.shown().as_deref() != old {
            return true;
        }
        let wallet = Arc::clone(wallet);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now_s = now.map_or(0, |since| since.as_secs());
        // It waits for the disk.
        let taken = tokio::task::spawn_blocking(move || wallet.take(now_s)).await;
        match taken {
            Ok(Ok(Some(token))) => {
                info!("a token was taken from the wallet");
                let mut blind = self.blind.lock().unwrap_or_else(PoisonError::into_inner);
                *blind = Some(write_token(&token));
                return true;
            }
            Ok(Ok(None)) => warn!("there is no token in the wallet that is good now"),
            Ok(Err(error)) => warn!(%error, "the wallet can't be used"),
            Err(error) => warn!(%error, "the wallet can't be used"),
        }
        false
    }
}
