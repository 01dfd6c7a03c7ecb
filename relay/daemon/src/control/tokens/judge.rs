//! Whether a token is good, apart from whether it was spent. The cheap questions come first, so
//! that junk costs no signature check unless it is made for this exit and epoch.

use weir_blind::{
    Binding, Epoch, Epochs, ExitId, IssuerKey, Nullifier, parse_token, write_challenge,
};
use weir_core::TokenRefusal;
use weir_proto::request::Credential;

use crate::config::TokensConfig;

/// A token that may be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Which issuer, in the order of the configuration.
    pub issuer: usize,
    pub epoch: Epoch,
    pub nullifier: Nullifier,
}

#[derive(Debug)]
pub(super) struct Judge {
    exit: ExitId,
    epochs: Epochs,
    issuers: Vec<(String, IssuerKey)>,
    /// What is accepted now: the digest of the challenge, by issuer and epoch.
    good: Vec<([u8; 32], usize, Epoch)>,
    accepted: Option<(Epoch, Epoch)>,
    checks: Checks,
}

/// A bound on signature checks, 30 to 35 us each (`cargo bench -p weir-blind`).
#[derive(Debug)]
struct Checks {
    per_s: u32,
    second: u64,
    left: u32,
}

impl Judge {
    pub(super) fn new(config: &TokensConfig, exit: ExitId) -> Self {
        let issuers = config.issuers.iter().map(|i| (i.name.clone(), i.key.clone())).collect();
        let checks = Checks { per_s: config.checks_per_s, second: 0, left: 0 };
        Judge { exit, epochs: config.epochs, issuers, good: Vec::new(), accepted: None, checks }
    }

    /// Sets the time, in seconds since 1970. Returns whether other epochs are accepted now.
    pub(super) fn turn(&mut self, unix_s: u64) -> bool {
        self.checks.turn(unix_s);
        let accepted = self.epochs.accepted(unix_s);
        if self.accepted.replace(accepted) == Some(accepted) {
            return false;
        }
        self.good.clear();
        for epoch in (accepted.0.0..=accepted.1.0).map(Epoch) {
            for at in 0..self.issuers.len() {
                // A name that a challenge has no room for is none that the configuration takes.
                if let Ok(digest) = self.binding(at, epoch).challenge().digest() {
                    self.good.push((digest, at, epoch));
                }
            }
        }
        true
    }

    /// The first epoch that is still accepted.
    pub(super) fn first(&self) -> Epoch {
        self.accepted.map_or(Epoch(0), |(first, _)| first)
    }

    /// What clients are asked for: a token of the current epoch, of any issuer.
    pub(super) fn challenges(&self) -> Vec<String> {
        let Some((_, epoch)) = self.accepted else { return Vec::new() };
        let written = self
            .issuers
            .iter()
            .enumerate()
            .map(|(at, (_, key))| write_challenge(&self.binding(at, epoch).challenge(), key));
        written.flatten().collect()
    }

    /// Looks at a credential. `spent` tells whether a token is known to be spent.
    pub(super) fn look(
        &mut self,
        credential: &Credential,
        spent: impl Fn(Epoch, &Nullifier) -> bool,
    ) -> Result<Verdict, TokenRefusal> {
        let Credential::PrivateToken(text) = credential else { return Err(TokenRefusal::Invalid) };
        let token = parse_token(text).map_err(|_| TokenRefusal::Invalid)?;
        let issuer = self.issuers.iter().position(|(_, key)| *key.id() == token.key_id);
        let issuer = issuer.ok_or(TokenRefusal::WrongIssuer)?;
        let mut good = self.good.iter();
        let found = good.find(|(digest, of, _)| *of == issuer && *digest == token.challenge_digest);
        let epoch = found.ok_or(TokenRefusal::WrongEpoch)?.2;
        let nullifier = token.nullifier();
        if spent(epoch, &nullifier) {
            return Err(TokenRefusal::Spent);
        }
        if !self.checks.take() {
            return Err(TokenRefusal::Unavailable);
        }
        self.issuers[issuer].1.verify(&token).map_err(|_| TokenRefusal::Invalid)?;
        Ok(Verdict { issuer, epoch, nullifier })
    }

    fn binding(&self, issuer: usize, epoch: Epoch) -> Binding {
        let issuer_name = self.issuers[issuer].0.clone();
        Binding { issuer_name, exit: self.exit, epochs: self.epochs, epoch }
    }
}

impl Checks {
    fn turn(&mut self, unix_s: u64) {
        if self.second != unix_s {
            (self.second, self.left) = (unix_s, self.per_s);
        }
    }

    fn take(&mut self) -> bool {
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_counted_by_the_second() {
        let mut checks = Checks { per_s: 2, second: 0, left: 0 };
        checks.turn(7);
        assert_eq!([(); 4].map(|()| checks.take()), [true, true, false, false]);
        checks.turn(7);
        assert!(!checks.take());
        checks.turn(8);
        assert!(checks.take());
    }
}
